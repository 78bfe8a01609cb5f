"""Compiled functions that come with the package: code of LLVM for any processor, so that their first call needs no numba.

The folder `lowered` holds a file for a function and a kind of arguments, and the checksums of the sources that they were made of: a
function whose source has changed since is compiled by numba. `make kernels` writes all of them anew.
"""

from __future__ import annotations

import json
import lzma
from functools import cache
from pathlib import Path

__all__ = ["FOLDER", "read", "stamps", "write"]

FOLDER = Path(__file__).parent / "lowered"
STAMPS = "sources.json"


@cache
def stamps() -> dict[str, str]:
    """The checksum of each source, by its name."""
    return json.loads((FOLDER / STAMPS).read_text())


def read(source: str, name: str, stamp: bytes) -> bytes:
    """The code in the file `name`, made of a `source` with this checksum.

    Raises OSError or ValueError where there is none, or a damaged one, KeyError for an unknown source, lzma.LZMAError for a damaged file.
    """
    if stamps()[source] != stamp.hex():
        raise ValueError(f"{source} has changed since {name} was made of it")
    return lzma.decompress((FOLDER / f"{name}.xz").read_bytes())


def write(source: str, name: str, stamp: bytes, code: bytes) -> None:
    """Store the code of a function."""
    FOLDER.mkdir(exist_ok=True)
    known = json.loads((FOLDER / STAMPS).read_text()) if (FOLDER / STAMPS).exists() else {}
    known[source] = stamp.hex()
    (FOLDER / STAMPS).write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    (FOLDER / f"{name}.xz").write_bytes(lzma.compress(code, preset=9))
