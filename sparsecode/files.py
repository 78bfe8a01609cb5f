"""Files that are either whole or not there: write aside, flush to disk, rename."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Protocol

import platformdirs
from filelock import FileLock, Timeout

__all__ = [
    "CACHE_VARIABLE",
    "LOCK",
    "TEMPORARY",
    "cache_folder",
    "locked",
    "remove_leftovers",
    "save_atomic",
    "write_atomic",
]

TEMPORARY, LOCK = ".partial", ".lock"
CACHE_VARIABLE = "SPARSECODE_CACHE"


def cache_folder() -> Path:
    """Where downloads, what was built from data and compiled functions are kept: `$SPARSECODE_CACHE`, else the user's cache.

    Raises FileNotFoundError if the variable is not set and there is no home folder.
    """
    try:
        return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("sparsecode")).expanduser()
    except RuntimeError:
        raise FileNotFoundError(f"there is no home folder for a cache; set {CACHE_VARIABLE} to a folder") from None


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a crash at any moment leaves the old file or the new one.

    Raises OSError naming the file if the folder cannot be written or the disk is full; the old file stays.
    """
    aside = path.with_name(path.name + TEMPORARY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise OSError(
            error.errno, f"cannot write {path}: {error.strerror}; free some space, or write somewhere else"
        ) from error
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Let the names in `folder` survive a power cut, where the system can: Windows opens no folders, some disks refuse."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def remove_leftovers(folder: Path) -> None:
    """Delete what interrupted `write_atomic` calls left below `folder`."""
    for path in folder.rglob("*" + TEMPORARY):
        path.unlink()


class Savable(Protocol):
    """Something that writes itself to an open binary file."""

    def __call__(self, file: BytesIO, /) -> object: ...


def save_atomic(path: Path, save: Savable) -> None:
    """`write_atomic` of what `save(file)` writes."""
    buffer = BytesIO()
    save(buffer)
    write_atomic(path, buffer.getvalue())


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold `folder` for this process; the system releases it when the process ends, however it ends.

    Raises BlockingIOError if another process holds it, OSError naming the folder if it cannot be written.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise BlockingIOError(
            f"{folder}: another process is training here; wait for it or choose another folder"
        ) from None
    except OSError as error:
        raise OSError(error.errno, f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    try:
        yield
    finally:
        lock.release()
