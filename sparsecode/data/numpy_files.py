"""Arrays in `.npy` and `.npz` files: a header is checked before anything is allocated, and pickles are never loaded."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from sparsecode.files import absent
from sparsecode.ops.memory import require_memory

__all__ = ["NpyRows", "map_npy", "read_npy", "read_npz"]

ZIP = b"PK"
# Version 3 differs from 2 in the names of the fields of structured arrays, which are refused.
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}
ALL: Callable[[list[str]], list[str]] = list


def read_npy(path: Path) -> NDArray[Any] | None:
    """The numbers in a `.npy` file, of any type, in the order of this machine's bytes; None if this is a `.npz` file.

    Raises FileNotFoundError, or ValueError naming the file if it is in another format, holds anything but numbers, announces
    more of them than it holds or than fit in memory, or is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(absent(path, "a .npy or .npz file"))
    with path.open("rb") as file:
        if file.read(len(ZIP)) == ZIP:
            return None
        file.seek(0)
        return _array(file, path.stat().st_size, str(path))


class NpyRows(NamedTuple):
    """The numbers in a `.npy` file, read when they are asked for."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """A copy of rows `start` to `stop` - 1. The file is mapped anew each time: pages of one map would stay in this process."""
        return np.array(np.lib.format.open_memmap(self.path, mode="r")[start:stop])


def map_npy(path: Path) -> NpyRows | None:
    """`read_npy` of a file of any size, of which nothing but the header is read now."""
    if not path.is_file():
        raise FileNotFoundError(absent(path, "a .npy or .npz file"))
    with path.open("rb") as file:
        if file.read(len(ZIP)) == ZIP:
            return None
        file.seek(0)
        return NpyRows(path, *_checked_header(file, path.stat().st_size, str(path)))


def read_npz(path: Path, choose: Callable[[list[str]], list[str]] = ALL) -> dict[str, NDArray[Any]]:
    """The arrays that `choose` picks of the names in a `.npz` file; by default all.

    Errors as in `read_npy`, and KeyError for a name that is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(absent(path, "a .npz file"))
    try:
        with ZipFile(path) as archive:
            members = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if i.filename.endswith(".npy")}
            results: dict[str, NDArray[Any]] = {}
            for name in choose(list(members)):
                where, size = f"{path}: array {name}", members[name].file_size
                with archive.open(members[name]) as file:
                    results[name] = _array(file, size, where)
    except (BadZipFile, EOFError, NotImplementedError, RuntimeError, OverflowError, zlib.error) as error:
        raise ValueError(
            f"{path}: not a .npz file, or damaged or cut short ({error}); restore it from a copy"
        ) from None
    return results


def _array(file: Any, size: int, where: str) -> NDArray[Any]:
    """The array in `file`, which holds `size` bytes."""
    shape, kind = _checked_header(file, size, where)
    require_memory(math.prod(shape) * kind.itemsize, f"{where}: {kind} {shape}", "take fewer samples")
    file.seek(0)
    try:
        array = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{where}: {kind} {shape} cannot be read ({error}); restore it from a copy") from None
    return array.astype(kind.newbyteorder("="), copy=False)


def _checked_header(file: Any, size: int, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array of numbers, all of which the `size` bytes of `file` hold."""
    shape, kind = _header(file, where)
    if kind.hasobject:
        raise ValueError(f"{where}: holds Python objects; expected real numbers")
    if kind.kind not in "fiubc":
        raise ValueError(f"{where}: values of type {kind}; expected real numbers")
    needed, there = math.prod(shape) * kind.itemsize, size - file.tell()
    if (
        min(shape, default=1) < 0 or needed > there or bool in map(type, shape)
    ):  # True is an int to the parser of headers
        raise ValueError(
            f"{where}: damaged or cut short: its header announces {kind} {shape}, {needed} bytes, and {there} follow; "
            "restore it from a copy"
        )
    return shape, kind


def _header(file: Any, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that Python 2 wrote
        try:
            shape, _, kind = HEADERS[np.lib.format.read_magic(file)](file)
        except Exception as error:  # the header is a Python literal, whose parsers raise errors of many kinds
            reason = str(error).strip().split("\n")[0]
            raise ValueError(
                f"{where}: not a .npy or .npz file, or it is damaged or cut short ({reason:.120})"
            ) from None
    return shape, kind
