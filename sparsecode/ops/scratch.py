"""Large arrays that are used again: every fresh one costs a page fault per 4 KiB, which is more than a pass over it."""

from __future__ import annotations

import weakref
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["borrowed"]

KEPT = 8  # arrays at most that wait to be used again
Bytes = NDArray[np.uint8]

_arrays: list[tuple[Bytes, weakref.ref[Bytes]]] = []
_lock = Lock()


def borrowed(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor on the CPU; once nothing refers to its memory, a later call of that size gets it again."""
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    with _lock:
        free = [i for i, (_, lent) in enumerate(_arrays) if lent() is None]
        at = next((i for i in free if _arrays[i][0].nbytes == n_bytes), None)
        array = np.empty(n_bytes, np.uint8) if at is None else _arrays.pop(at)[0]
        if at is None and len(free) >= KEPT:
            del _arrays[free[0]]
        view = array[:]  # what the tensor keeps alive
        _arrays.append((array, weakref.ref(view)))
    return torch.from_numpy(view).view(dtype).view(shape)
