"""Atomic writing of files (temporary file, flush to disk, rename) that never replaces a file of another program."""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata
import zlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import msgspec
import platformdirs
from filelock import FileLock, Timeout

from sparsecode.hub import refuse_hub

__all__ = [
    "CACHE_VARIABLE",
    "LOCK",
    "TEMPORARY",
    "absent",
    "cache_folder",
    "held",
    "is_own",
    "locked",
    "printable",
    "remove_leftovers",
    "require_own",
    "save_atomic",
    "whole_folder",
    "without_new_empty",
    "write_atomic",
]

TEMPORARY, LOCK = ".sparsecode.partial", ".lock"
NAME = b"sparsecode"
PNG, HEADER = b"\x89PNG\r\n\x1a\n", 33  # the signature; its length with that of the chunk that comes first
HEAD = 4096  # bytes in which marks stand
RECORD = b'{"kind":"'  # the beginning of a line of metrics
UNSIGNED = (b"PK", b"\x93NUMPY", b"II*\0", b"MM\0*", b"BM")  # .npz and .pt, .npy, TIFF, BMP
CACHE_VARIABLE = "SPARSECODE_CACHE"


def cache_folder() -> Path:
    """Where downloads, what was built from data and compiled functions are kept: `$SPARSECODE_CACHE`, else the user's cache.

    Raises FileNotFoundError if the variable is not set and there is no home folder.
    """
    try:
        return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("sparsecode")).expanduser()
    except RuntimeError:
        raise FileNotFoundError(f"there is no home folder for a cache; set {CACHE_VARIABLE} to a folder") from None


def write_atomic(path: Path, data: bytes, *, checked: bool = False) -> None:
    """Write `data` to `path` so that a crash at any moment leaves the old file or the new one; pictures are marked as ours.

    Only our own file is replaced (`is_own`), unless the caller has `checked` that this one may be. Through a link, the file
    that it leads to is replaced. Raises FileExistsError naming the file if it is somebody else's, OSError if the folder
    cannot be written or the disk is full; the old file stays.
    """
    refuse_hub(path)
    if not checked:
        require_own(path)
    path = path.resolve() if path.is_symlink() else path
    aside = path.with_name(path.name + TEMPORARY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.unlink(missing_ok=True)
        with aside.open("xb") as file:
            file.write(_marked(data))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        number = errno.ENOTDIR if isinstance(error, FileExistsError) else error.errno  # a file in place of the folder
        raise OSError(
            number, f"cannot write {path}: {error.strerror}; free some space, or write somewhere else"
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


def absent(path: Path, expected: str) -> str:
    """Words for what stands at `path`, or in the place of one of its folders, where a file is `expected`."""
    for folder in path.parents:
        if folder.is_file():
            return f"{folder}: is a file; expected {expected}"
    if path.is_dir():
        what = "is a folder"
    elif path.is_symlink():
        what = "is a link to a file that does not exist"
    else:
        what = "is no regular file" if path.exists() else "no such file"
    return f"{path}: {what}; expected {expected}"


def remove_leftovers(folder: Path) -> None:
    """Delete what interrupted `write_atomic` calls left below `folder`."""
    for path in folder.rglob("*" + TEMPORARY):
        if path.is_symlink() or not path.is_dir():
            path.unlink()


def require_own(*paths: Path, force: bool = False) -> None:
    """Raise FileExistsError naming the first path that holds a file not written by sparsecode."""
    for path in paths:
        if path.is_symlink() and not path.exists():
            raise FileExistsError(
                f"{path}: is a link to a file that does not exist; delete the link or choose another name"
            )
        if not path.exists() or path.is_dir():  # the system refuses to put a file in a folder's place
            continue
        ours = is_own(path) if path.is_file() else False
        if not ours and not (force and ours is None):
            raise FileExistsError(
                f"{path}: is there already and was not written by sparsecode; move it away or choose another name"
            )


def is_own(path: Path) -> bool | None:
    """Whether sparsecode wrote this file, by its content; None if files of its kind do not say.

    JSON is ours by its form, tensors by their metadata, pictures and pages by a mark. Pictures of versions that marked none
    are ours in the folder of a sweep and in the figures of a run.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            if path.suffix == ".jsonl" and RECORD.startswith(head[: len(RECORD)]) and b"\n" not in head:
                return True  # no whole record yet
            if head.lstrip()[:1] == b"{":
                line = head.partition(b"\n")[0] if b"\n" in head else head + file.readline(16 * HEAD)
                record = _decoded(line)
                if record is None:
                    file.seek(0)
                    record = _decoded(file.read())
                return record is not None and _is_record(record)
    except OSError:
        return False
    if head.startswith(PNG):
        homes = (path.parent / "results.jsonl", path.parent.parent / "config.json")
        return NAME in head or (b"Matplotlib" in head and any(home.is_file() and is_own(home) for home in homes))
    if head[8:9] == b"{":  # a length, then a header with the metadata in front
        marked = b'"__metadata__"' in head and (b'"sparsecode"' in head or b'"sha256"' in head)
        config = path.with_name("cfg.json")  # versions before marked no weights
        return marked or (config.is_file() and is_own(config) is True)
    if head.startswith((b"GIF8", b"<!doctype html")):
        return NAME in head
    return None if head.startswith(UNSIGNED) else False


def _decoded(data: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        return None


def _is_record(record: dict[str, Any]) -> bool:
    """Whether this is the JSON of a spec, of a model, of the proof of a conversion, or a line of metrics or results."""
    spec, metadata = record.get("spec"), record.get("metadata")
    return (
        ("format" in record and isinstance(spec, dict) and isinstance(spec.get("type"), str))
        or (isinstance(metadata, dict) and "sparsecode" in metadata)
        or "sparsecode" in record
        or (record.get("kind") in ("train", "evaluate") and "step" in record)
        or record.get("type") == "sweep_result"
    )


def _marked(data: bytes) -> bytes:
    """A picture with a text chunk that says who wrote it; anything else as it is."""
    if not data.startswith(PNG):
        return data
    chunk = b"tEXtSoftware\0" + NAME
    text = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return data[:HEADER] + text + data[HEADER:]


@contextmanager
def whole_folder(folder: Path) -> Generator[Path]:
    """An empty folder beside `folder` to write files into, which takes its name when all is done; nothing is left of it after an error.

    Raises FileExistsError if `folder` is there.
    """
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder}: is there already; choose another name, or delete it")
    aside = folder.with_name(folder.name + TEMPORARY)
    shutil.rmtree(aside, ignore_errors=True)
    with without_new_empty(folder.parent):
        aside.mkdir(parents=True)
        try:
            yield aside
            aside.replace(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    _sync(folder.parent)


class Savable(Protocol):
    """Something that writes itself to an open binary file."""

    def __call__(self, file: BytesIO, /) -> object: ...


def save_atomic(path: Path, save: Savable, *, checked: bool = False) -> None:
    """`write_atomic` of what `save(file)` writes."""
    buffer = BytesIO()
    save(buffer)
    write_atomic(path, buffer.getvalue(), checked=checked)


@contextmanager
def locked(folder: Path, name: str = LOCK, doing: str = "training") -> Generator[None]:
    """Hold `folder`, or what its file `name` stands for, for this process; the system releases it when the process ends.

    Raises BlockingIOError if another process holds it, OSError naming the folder if it cannot be written.
    """
    lock = FileLock(folder / name, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise BlockingIOError(
            f"{folder}: another process is {doing} here; wait for it or choose another folder"
        ) from None
    except OSError as error:
        raise OSError(error.errno, f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def held(folder: Path, results: Path | None = None, *others: Path, doing: str = "training") -> Generator[None]:
    """`locked`; nothing is left of what is new when nothing has come of it: while `results` is empty and `folder` holds it and `others` alone."""
    files = {*others, *(() if results is None else (results,)), folder / LOCK}
    new = not any(file.exists() for file in files - {folder / LOCK})
    with without_new_empty(folder), locked(folder, doing=doing):
        try:
            yield
        finally:
            empty = results is None or not results.exists() or not results.stat().st_size
            if new and empty and files.issuperset(folder.glob("*")):
                for file in files:
                    with suppress(OSError):  # Windows deletes the lock when it is released
                        file.unlink()


@contextmanager
def without_new_empty(folder: Path) -> Generator[None]:
    """At the end `folder` and those that it is in are deleted, if they were not there before and are empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in new:
            with suppress(OSError):  # not empty
                path.rmdir()


# Unicode's control and format characters, halves of characters, breaks of lines
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str, kept: str = "") -> str:
    """`text` with every character that is not seen as an escape, `\\x1b` or `\\u202e`, but those in `kept`; bytes that are not UTF-8 as `\\xff`.

    For names of files and folders: they may hold all but `/` and the zero byte, and are shown, stored as JSON and drawn.
    """
    if text.isprintable():
        return text
    return "".join(c if c in kept or unicodedata.category(c) not in UNSEEN else _escape(c) for c in text)


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte of a name that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
