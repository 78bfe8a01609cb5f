"""Arrays in, matplotlib figures out.

What is public stands in `__init__.pyi`, and is imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
