"""Files that are either whole or not there: write aside, flush to disk, rename."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Protocol

__all__ = ["LOCK", "TEMPORARY", "locked", "remove_leftovers", "save_atomic", "write_atomic"]

TEMPORARY, LOCK = ".partial", ".lock"


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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must survive a power cut
    finally:
        os.close(folder)


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
    """Hold `folder` for this process; the system lets go of it when the process ends, however it ends.

    Raises BlockingIOError if another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise OSError(error.errno, f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"{folder}: another process is training here; wait for it or choose another folder"
            ) from None
        yield
