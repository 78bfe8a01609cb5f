"""Distribution of samples over threads, those of torch where they can be called, and aligned scratch memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["aligned", "item", "on_line", "share_out", "worth"]

MOST = 1024  # threads that wait
WORTH = 2**22  # numbers read: 0.4 ms, about what a second thread takes to start and to wait for Python's lock
LINE = 64  # bytes; rows that straddle cache lines cost half as much again


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that wait for work: starting one takes half a millisecond, and more while torch's own poll. They begin when first needed."""
    return ThreadPoolExecutor(MOST, "sparsecode")


@cache
def _team() -> Any:
    """`GOMP_parallel(function, data, threads, flags)` of the OpenMP library that torch uses; None where it has no such function.

    After each product its threads poll for milliseconds, and other threads beside them would share the cores with that.
    """
    import torch

    try:
        call = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).GOMP_parallel
    except (OSError, AttributeError):
        return None
    call.argtypes, call.restype = (_FUNCTION, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return call


def _after_fork() -> None:
    """A forked process has none of its parent's threads, and OpenMP's would be waited for forever."""
    global _forked
    _forked = True
    _pool.cache_clear()


_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_forked = False
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def item(n: int, threads: int) -> int:
    """Rows per work item of a thread: four items for each, since a thread may wait for Python between two."""
    return -(-n // (4 * threads)) or 1


def worth(threads: int, numbers: int) -> int:
    """`threads`, or 1 for work that reads so few `numbers` that more threads would take longer."""
    return threads if numbers >= WORTH else 1


def share_out(n: int, block: int, threads: int, work: Callable[[Iterable[slice]], None]) -> None:
    """Run `work` in so many threads, the caller's among them, on an iterator over blocks of 0..n; a free thread takes the next block.

    numba's own pool would change torch's number of threads and compete with it for the cores.
    """
    size = block if threads > 1 else max(n, 1)
    starts = range(0, n, size)
    slices: Iterator[slice] = iter([slice(start, start + size) for start in starts])
    count = min(threads, len(starts))
    if count < 2:
        work(slices)
    elif not _forked and (team := _team()) is not None:
        _in_team(team, count, work, slices)
    else:
        _in_pool(count, work, slices)


def _in_team(team: Any, count: int, work: Callable[[Iterable[slice]], None], slices: Iterator[slice]) -> None:
    errors: list[BaseException] = []

    def member(data: int | None) -> None:  # noqa: ARG001 - the library's contract
        try:
            work(slices)
        except BaseException as error:  # an interrupt of the caller's thread, too: none can pass through the library
            errors.append(error)
            for _ in slices:  # no thread begins another block
                pass

    team(_FUNCTION(member), None, count, 0)
    if errors:
        raise errors[0]


def _in_pool(count: int, work: Callable[[Iterable[slice]], None], slices: Iterator[slice]) -> None:
    others = [_pool().submit(work, slices) for _ in range(count - 1)]
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
