"""Distribution of samples over plain threads, and aligned scratch memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["aligned", "on_line", "share_out"]

LINE = 64  # bytes; rows that straddle cache lines cost half as much again


def share_out(n: int, block: int, threads: int, work: Callable[[Iterable[slice]], None]) -> None:
    """Run `work` in each thread on an iterator over blocks of 0..n; a free thread takes the next block.

    Plain threads: numba's own pool would change torch's number of threads and compete with it for the cores.
    """
    size = block if threads > 1 else max(n, 1)
    slices: Iterator[slice] = iter([slice(start, start + size) for start in range(0, n, size)])
    if threads == 1:
        return work(slices)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, [slices] * threads))
    return None


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
