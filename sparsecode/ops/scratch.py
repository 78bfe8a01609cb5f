"""Large arrays that are used again: every fresh one costs a page fault per 4 KiB, which is more than a pass over it."""

from __future__ import annotations

import weakref
from threading import Lock, local

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.kernels.threads import aligned

__all__ = ["Scratch", "borrowed"]

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
        array = aligned((n_bytes,), np.dtype(np.uint8)) if at is None else _arrays.pop(at)[0]
        if at is None and len(free) >= KEPT:
            del _arrays[free[0]]
        view = array[:]  # what the tensor keeps alive
        _arrays.append((array, weakref.ref(view)))
    return torch.from_numpy(view).view(dtype).view(shape)


class Scratch:
    """Uninitialised tensors on the CPU by name, which each thread gets again as long as it asks for the same dtype and shape."""

    def __init__(self) -> None:
        self._memory = local()

    def __call__(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        kept: dict[str, Tensor] = self._memory.__dict__
        if name not in kept or kept[name].shape != shape or kept[name].dtype != dtype:
            kept[name] = torch.empty(shape, dtype=dtype)
        return kept[name]
