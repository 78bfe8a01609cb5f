"""Sparse representation learning: explain data by codes in which almost everything is zero.

What is public stands in `__init__.pyi`, here and in each room, and is imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
