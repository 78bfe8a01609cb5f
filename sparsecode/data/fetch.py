"""Downloads over HTTP that go on where they were interrupted, verified by checksum."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from filelock import FileLock
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from sparsecode.files import TEMPORARY, printable
from sparsecode.version import __version__

__all__ = ["DownloadError", "fetch", "mismatch", "partial"]

ATTEMPTS = 5  # in a row that bring no new byte
PAUSE = 1.0  # seconds before the second of these, twice as long before each further one
TIMEOUT = 60  # seconds without an answer
BLOCK = 2**18
BUSY = (408, 429)  # statuses below 500 that a later attempt may not meet

Report = Callable[[int, int | None], None]  # bytes so far, and of the whole where the server says


class DownloadError(Exception):
    """A download that did not end in the published file; the message is the reason alone."""


class _BrokenOff(Exception):
    """An attempt that failed, where another may not."""


def partial(path: Path) -> Path:
    """The file beside `path` that holds what has arrived of it."""
    return path.with_name(path.name + TEMPORARY)


def mismatch(path: Path, packed: str) -> str:
    """What is wrong with a file's checksum ("sha256:..." or "md5:..."): "" if nothing is."""
    kind, _, expected = packed.rpartition(":")
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, kind or "sha256").hexdigest()
    return "" if actual == expected else f"{kind.upper()} {actual[:12]}..., expected {expected[:12]}..."


def fetch(url: str, path: Path, packed: str) -> None:
    """Download `url` to `path`, which is there only once its checksum is `packed`.

    What an interrupted download left is continued where the server sends parts (HTTP `Range`), else begun anew; a lost
    connection is tried again, while bytes arrive as often as it takes. Processes that want the same file wait for one.
    Raises `DownloadError` if the file cannot be had, OSError if the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not path.is_file():  # else another process was quicker
                _verified(url, partial(path), packed).replace(path)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write {path}: {error.strerror}; free some space, or choose another folder"
        ) from error


def _verified(url: str, aside: Path, packed: str) -> Path:
    with _bar() as bar:
        task = bar.add_task(escape(printable(aside.name.removesuffix(TEMPORARY))), total=None)

        def report(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        continued = aside.exists()
        _complete(url, aside, report)
        if continued and mismatch(aside, packed):  # of another version of the file, or damaged: once more, whole
            aside.unlink()
            _complete(url, aside, report)
    if wrong := mismatch(aside, packed):
        kind = ": a web page" if _is_page(aside) else ""
        aside.unlink()
        raise DownloadError(f"what came is not the published file{kind} ({wrong})")
    return aside


def _complete(url: str, aside: Path, report: Report) -> None:
    """Attempts until the server has no more to send."""
    most, failures = -1, 0
    while True:
        try:
            _attempt(url, aside, report)
            return
        except _BrokenOff as problem:
            size = aside.stat().st_size if aside.exists() else 0
            failures = 0 if size > most else failures + 1
            most = max(most, size)
            if failures + 1 >= ATTEMPTS:
                raise DownloadError(str(problem)) from problem
            if failures:
                time.sleep(PAUSE * 2 ** (failures - 1))


def _attempt(url: str, aside: Path, report: Report) -> None:
    start = aside.stat().st_size if aside.exists() else 0
    headers = {"User-Agent": f"sparsecode/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response: HTTPResponse = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # nothing lies beyond: the checksum says whether this is all of it
            return
        if error.code < 500 and error.code not in BUSY:
            raise DownloadError(f"HTTP {error.code}, {error.reason}") from error
        raise _BrokenOff(f"HTTP {error.code}, {error.reason}") from error
    except (URLError, HTTPException, OSError) as error:
        raise _BrokenOff(_reason(error)) from error
    with response:
        start = start if response.status == 206 and _first(response) == start else 0
        if response.status == 206 and not start:
            aside.unlink(missing_ok=True)
            raise _BrokenOff("the server sent another part than the one asked for")
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        with aside.open("ab" if start else "wb") as file:
            done = start
            while block := _read(response):
                file.write(block)
                done += len(block)
                report(done, total)
    if total is not None and done < total:
        raise _BrokenOff(f"the connection ended after {done} of {total} bytes")


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read1(BLOCK)
    except (HTTPException, OSError) as error:
        raise _BrokenOff(_reason(error)) from error


def _first(response: HTTPResponse) -> int:
    """The first byte of a part, by its `Content-Range`; -1 if it does not say."""
    content_range = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(content_range[1]) if content_range else -1


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    return str(reason) or type(reason).__name__


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
