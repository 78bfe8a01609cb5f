"""Compiled versions of a few operations, each tested against its eager counterpart. Imported only when used.

An operation of tensors asks `on_device` for a kernel where its CPU kernel does not serve: the function of its name in the file
beside the CPU's whose name ends in the type of the device, `unit_rows_cuda.py` beside `unit_rows.py`, with the operation's own
arguments. Without such a file plain torch computes it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["on_device"]


@cache
def on_device(file: str, operation: str, device: str) -> Callable[..., Any] | None:
    """The kernel of `operation` for a type of device ("cuda", "mps") in `kernels/{file}_{device}.py`; None without that file."""
    name = f"{__name__}.{file}_{device}"
    try:
        return getattr(import_module(name), operation)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None
