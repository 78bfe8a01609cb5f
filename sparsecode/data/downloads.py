"""Locating files: first below SPARSECODE_DATA, else by download into the user's cache; always by checksum."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import pooch

from sparsecode.files import cache_folder

__all__ = ["VARIABLE", "Remote", "contents", "published"]

VARIABLE = "SPARSECODE_DATA"


class Remote(NamedTuple):
    """A file to be had: its name, the folder it is kept in, where to get it, and checksums.

    `packed` ("sha256:..." or "md5:...") is of the file as published; `content` is the SHA-256 sum of what is inside a
    gzipped file, the same however it was packed.
    """

    name: str
    folder: str
    url: str
    packed: str
    content: str = ""


def contents(remote: Remote) -> bytes:
    """The unpacked, verified contents of a file.

    Looked for as `$SPARSECODE_DATA/<folder>/<name>`, gzipped or not; if that variable is not set, downloaded
    once to the cache. Raises FileNotFoundError or ValueError saying which file, where it was looked for and
    what to do.
    """
    path, remedy = _locate(remote)
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged or cut short ({error}); {remedy}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != remote.content:
        raise ValueError(
            f"{path}: not the published file (SHA-256 of its contents {found[:12]}..., expected "
            f"{remote.content[:12]}...); {remedy}"
        )
    return data


def published(remote: Remote) -> Path:
    """The path of a file as it was published, verified by `packed`; looked for, and errors, as in `contents`."""
    path, remedy = _locate(remote)
    kind, _, expected = remote.packed.partition(":")
    found = pooch.file_hash(str(path), alg=kind)
    if found != expected:
        raise ValueError(
            f"{path}: not the published file ({kind.upper()} {found[:12]}..., expected {expected[:12]}...); {remedy}"
        )
    return path


def _locate(remote: Remote) -> tuple[Path, str]:
    plain = remote.name.removesuffix(".gz")
    if root := os.environ.get(VARIABLE):
        folder = Path(root) / remote.folder
        for name in (remote.name, plain):
            if (folder / name).is_file():
                return folder / name, f"replace it with the file from {remote.url}"
        raise FileNotFoundError(
            f"{remote.name}: not in {folder} (neither gzipped nor unpacked). Put it there from {remote.url}, or unset "
            f"{VARIABLE} to download it"
        )
    cache = cache_folder() / remote.folder
    try:
        path = pooch.retrieve(remote.url, remote.packed, fname=remote.name, path=cache, progressbar=False)
    except Exception as error:  # requests and pooch raise many kinds; each means that there is no file
        raise FileNotFoundError(
            f"{remote.name}: not in {cache}, and the download from {remote.url} failed ({type(error).__name__}). "
            f"Check the network, or set {VARIABLE} to a folder that holds {remote.folder}/{remote.name}"
        ) from error
    return Path(path), f"delete it to download it again from {remote.url}"
