"""Locating files: first below SPARSECODE_DATA, else by download into the user's cache; always by checksum."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import NamedTuple

from sparsecode.data.fetch import DownloadError, fetch, mismatch, partial
from sparsecode.files import cache_folder

__all__ = ["VARIABLE", "Remote", "contents", "downloaded", "home", "located", "present", "published", "verified"]

VARIABLE = "SPARSECODE_DATA"


class Remote(NamedTuple):
    """A file to be had: its name, the folder it is kept in, where to get it, and checksums.

    `packed` ("sha256:..." or "md5:...") is of the file as published; `content` is the SHA-256 sum of what is inside a
    gzipped file, the same however it was packed. `size`, in bytes, is about that of the published file.
    """

    name: str
    folder: str
    url: str
    packed: str
    content: str = ""
    size: int = 0


def contents(remote: Remote) -> bytes:
    """The unpacked, verified contents of a file.

    Looked for as `$SPARSECODE_DATA/<folder>/<name>`, gzipped or not; if that variable is not set, downloaded
    once to the cache. Raises FileNotFoundError or ValueError saying which file, where it was looked for and
    what to do.
    """
    path = located(remote)
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged or cut short ({error}); {_remedy(remote)}") from None
    actual = hashlib.sha256(data).hexdigest()
    if actual != remote.content:
        raise ValueError(
            f"{path}: not the published file (SHA-256 of its contents {actual[:12]}..., expected "
            f"{remote.content[:12]}...); {_remedy(remote)}"
        )
    return data


def verified(remote: Remote) -> None:
    """Raise ValueError naming a file unless it is the published one, however packed; FileNotFoundError as `contents`."""
    if remote.content:
        contents(remote)
    else:
        published(remote)


def published(remote: Remote) -> Path:
    """The path of a file as it was published, verified by `packed`; looked for, and errors, as in `contents`."""
    path = located(remote)
    if wrong := mismatch(path, remote.packed):
        raise ValueError(f"{path}: not the published file ({wrong}); {_remedy(remote)}")
    return path


def home(remote: Remote) -> Path:
    """The folder that a file is kept in: below `$SPARSECODE_DATA`, or below the cache if that is not set."""
    return Path(os.environ.get(VARIABLE) or cache_folder()) / remote.folder


def present(remote: Remote) -> Path | None:
    """The path of a file, as published or unpacked, if it is there; not verified."""
    names = (remote.name, remote.name.removesuffix(".gz")) if os.environ.get(VARIABLE) else (remote.name,)
    return next((home(remote) / name for name in names if (home(remote) / name).is_file()), None)


def located(remote: Remote) -> Path:
    """The path of a file, as in `contents`; not verified, unless it had to be downloaded."""
    if path := present(remote):
        return path
    if os.environ.get(VARIABLE):
        unpacked = " (neither gzipped nor unpacked)" if remote.name.endswith(".gz") else ""
        raise FileNotFoundError(
            f"{remote.name}: not in {home(remote)}{unpacked}. Put it there from {remote.url}, as `sparsecode data get` does, or "
            f"unset {VARIABLE} to download it into the cache"
        )
    return downloaded(remote)


def downloaded(remote: Remote) -> Path:
    """The path of a file, downloaded into its `home` whatever lies elsewhere, unless it is there.

    Raises FileNotFoundError naming the file if it cannot be had; what arrived is kept, and continued by the next call.
    """
    path = home(remote) / remote.name
    if not path.is_file():
        try:
            fetch(remote.url, path, remote.packed)
        except DownloadError as error:
            kept = partial(path).stat().st_size if partial(path).exists() else 0
            later = f"; {kept} bytes are kept, the same command continues from there" if kept else ""
            raise FileNotFoundError(
                f"{remote.name}: not in {path.parent}, and the download from {remote.url} failed ({error}){later}. Check the "
                f"network, or set {VARIABLE} to a folder that holds {remote.folder}/{remote.name}"
            ) from error
    return path


def _remedy(remote: Remote) -> str:
    if os.environ.get(VARIABLE):
        return f"replace it with the file from {remote.url}"
    return f"delete it to download it again from {remote.url}"
