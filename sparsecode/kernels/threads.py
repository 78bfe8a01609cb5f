"""Distribution of samples over plain threads, and aligned scratch memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["aligned", "item", "on_line", "share_out"]

MOST = 1024  # threads that wait
LINE = 64  # bytes; rows that straddle cache lines cost half as much again


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that wait for work: starting one takes half a millisecond, and more while torch's own poll. They begin when first needed."""
    return ThreadPoolExecutor(MOST, "sparsecode")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of its parent's threads


def item(n: int, threads: int) -> int:
    """Rows per work item of a thread: four items for each, since a thread may wait for Python between two."""
    return -(-n // (4 * threads)) or 1


def share_out(n: int, block: int, threads: int, work: Callable[[Iterable[slice]], None]) -> None:
    """Run `work` in so many threads, the caller's among them, on an iterator over blocks of 0..n; a free thread takes the next block.

    Plain threads: numba's own pool would change torch's number of threads and compete with it for the cores.
    """
    size = block if threads > 1 else max(n, 1)
    starts = range(0, n, size)
    slices: Iterator[slice] = iter([slice(start, start + size) for start in starts])
    others = [_pool().submit(work, slices) for _ in range(min(threads, len(starts)) - 1)]
    try:
        work(slices)
    finally:
        for _ in slices:  # after an error no thread begins another block
            pass
        for other in others:
            if not other.cancel():  # those that have not begun are not waited for
                other.exception()
    for other in others:
        if not other.cancelled():
            other.result()


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any], fill: NDArray[Any] | None = None) -> NDArray[Any]:
    """An array that begins at a cache line: uninitialised, or a copy of `fill`."""
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(n_bytes + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    array = raw[start : start + n_bytes].view(dtype).reshape(shape)
    if fill is not None:
        array[...] = fill
    return array


def on_line(array: NDArray[Any]) -> NDArray[Any]:
    """The array, or a copy if it does not begin at a cache line; torch's do."""
    return array if array.ctypes.data % LINE == 0 else aligned(array.shape, array.dtype, array)
