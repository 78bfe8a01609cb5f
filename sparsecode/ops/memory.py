"""The memory of this machine, and checks that sizes fit in it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["AllocationsFit", "memory_of_machine", "require_memory"]

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


@cache
def memory_of_machine() -> int | None:
    """Bytes of memory that this process may have in all; None where the system does not say."""
    results: list[int] = []
    if hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        results.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in map(Path, LIMITS):
        text = limit.read_text().strip() if limit.is_file() else ""
        results += [int(text)] if text.isdigit() else []
    return min(results, default=None)


def require_memory(n_bytes: int, what: str, remedy: str) -> None:
    """Raise ValueError "WHAT needs ... GB of memory ...: REMEDY" for more bytes than this machine has."""
    there = memory_of_machine()
    if there is not None and n_bytes > there:
        raise ValueError(
            f"{what} needs {n_bytes / 1e9:.3g} GB of memory, and this machine has {there / 1e9:.3g}; {remedy}"
        )


class AllocationsFit(TorchFunctionMode):
    """A context in which all created float32 tensors must together fit in memory: errors as `require_memory`, before allocation.

    A lower bound: it counts tensors from torch's creation functions, and none of the results computed from them.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__()
        self._what, self._remedy, self._bytes = what, remedy, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in CREATE:
            sizes = args[0] if args and isinstance(args[0], tuple | list) else args[: 1 if func is torch.full else None]
            n = math.prod(size for size in sizes if isinstance(size, int))
            self._bytes += 4 * (n * n if func is torch.eye and len(sizes) == 1 else n)
            require_memory(self._bytes, self._what, self._remedy)
        return func(*args, **(kwargs or {}))


CREATE = {torch.empty, torch.eye, torch.full, torch.ones, torch.rand, torch.randn, torch.randperm, torch.zeros}
