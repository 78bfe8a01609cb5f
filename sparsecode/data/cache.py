"""Arrays that are built once and cached on disk atomically, read through a memory map."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from sparsecode.files import CACHE_VARIABLE, LOCK, TEMPORARY, cache_folder, locked

__all__ = ["built", "cached", "key_of", "mapped", "require_space", "written"]


def key_of(*parts: bytes) -> str:
    """A hash of the arguments, the name of what is built from them."""
    hasher = hashlib.blake2b(digest_size=12)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little") + part)
    return hasher.hexdigest()


def cached(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder `<cache>/<kind>/<key>`, filled by `build(folder)` unless it is there.

    Built aside and renamed, so that it is whole whenever it exists; processes that want the same wait for one builder.
    Raises OSError naming the folder if it cannot be written.
    """
    home = cache_folder() / kind
    path, aside = home / key, home / (key + TEMPORARY)
    if path.is_dir():
        return path
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / f"{key}.lock").acquire()
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write to {home}: {error.strerror}; set {CACHE_VARIABLE} to another folder"
        ) from error
    with lock:
        if path.is_dir():  # another process was quicker
            return path
        _build_aside(path, aside, build)
    return path


def built(path: Path, build: Callable[[Path], None]) -> None:
    """The folder `path`, which is not there yet or is empty, filled by `build(folder)`: whole, or not at all.

    Raises FileExistsError if a file is there, BlockingIOError if another process builds it, OSError naming the folder if it cannot be
    written.
    """
    path = path.absolute()
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path}: is a file; expected a folder, or a new name")
    name = f".{path.name}{LOCK}"
    with locked(path.parent, name, f"building {path.name}"):
        if path.is_dir():
            path.rmdir()
        try:
            _build_aside(path, path.with_name(path.name + TEMPORARY), build)
        finally:
            with suppress(OSError):  # Windows removes no open file
                (path.parent / name).unlink()


def _build_aside(path: Path, aside: Path, build: Callable[[Path], None]) -> None:
    """Fill a folder beside `path`, and rename it when it is complete; what an interrupted call left is removed."""
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        build(aside)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    aside.rename(path)


def require_space(folder: Path, n_values: int) -> None:
    """Raise OSError unless `n_values` float32 numbers fit on the disk."""
    needed, free = 4 * n_values, shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{folder.parent}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free; make room, write to another disk "
            f"(the cache: set {CACHE_VARIABLE}), or ask for fewer samples"
        )


@contextmanager
def written(path: Path, shape: tuple[int, ...]) -> Generator[Callable[[Tensor], None]]:
    """A function that appends rows to a float32 `.npy` file of this final shape.

    Rows go through the file, not through a memory map: on a full disk that is an OSError and not a crash.
    Raises ValueError if the rows do not add up to the shape.
    """
    count = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})

        def append(rows: Tensor) -> None:
            nonlocal count
            count += rows.numel()
            file.write(np.ascontiguousarray(rows.numpy(), np.float32).data)

        yield append
        if count != math.prod(shape):
            raise ValueError(f"{path}: {count} values were written; expected {shape}")
        file.flush()
        os.fsync(file.fileno())


def mapped(path: Path) -> Tensor:
    """The array in a `.npy` file as a memory-mapped tensor.

    Raises ValueError naming the file if it is damaged or gone; OSError, as of a disk that fails, says nothing of the file.
    """
    try:
        # Copy-on-write, because torch wants memory that could be written to; the file never changes.
        return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    except (EOFError, FileNotFoundError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: damaged or gone ({error}); delete the folder {path.parent} to build it again"
        ) from None
