"""Compilation of the kernels, and the cache of their machine code on disk.

Numba's own cache lies in the package's folder and raises an error where that cannot be written, or where a file of it is damaged.
This one lies in the user's cache folder. A file that is missing or damaged is compiled again, and without a writable folder
every process compiles the functions it uses.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from filelock import FileLock
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from sparsecode.files import cache_folder

__all__ = ["compiled"]

HERE = Path(__file__).parent
SUFFIX = ".compiled"
CHECKSUM = 32  # bytes of a SHA-256 sum
PATIENCE = 60  # seconds to wait for another process that compiles the same
REORDERED = {"reassoc", "contract", "nsz", "arcp"}  # of LLVM's fast-math flags, those that keep NaN and infinity
VERSIONS = (numba.__version__, llvmlite.__version__, np.__version__, sys.implementation.cache_tag)


def compiled(*, reorder: bool = True, divide: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function on its first call, without the interpreter lock, or loads it from the cache.

    With `reorder` sums may be reordered and products contracted, with `divide` a division by 0 gives an infinity or NaN
    as in NumPy instead of ZeroDivisionError.
    """
    options: dict[str, Any] = {"fastmath": REORDERED} if reorder else {}
    compile_later: Any = numba.njit(nogil=True, error_model="numpy" if divide else "python", **options)

    def decorate(function: Callable[..., Any]) -> Any:
        made = compile_later(function)
        if made is not function:  # as it is where NUMBA_DISABLE_JIT is set
            made._cache = _Cache(function)
        return made

    return decorate


class _Cache:
    """The cache of a numba dispatcher: one file for each signature and processor, which begins with its checksum."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._source = Path(function.__code__.co_filename)
        self._name = f"{self._source.stem}.{function.__qualname__}"
        self._lock: FileLock | None = None

    @property
    def cache_path(self) -> str:
        with suppress(FileNotFoundError):
            return str(_folder())
        return ""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function, or None: numba then compiles it."""
        target_context.refresh()
        self._release()  # a lock that a failed compilation may still hold
        with suppress(Exception):  # a damaged file may fail in any way; the function is then compiled and written again
            path, stamp = self._place(sig, target_context.codegen())
            with suppress(OSError):
                return _read(path, stamp, target_context)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(f"{path}.lock", timeout=PATIENCE, thread_local=False)
            self._lock.acquire()  # avoids duplicate compilation by another process
            with suppress(OSError):
                result = _read(path, stamp, target_context)
                self._release()
                return result
        return None

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Store a compiled function if the folder can be written."""
        with suppress(Exception):
            path, stamp = self._place(sig, cres.codegen)
            data = dumps(cres._reduce())
            _replace(path, _checksum(stamp, data) + data)
        self._release()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None and lock.is_locked:
            with suppress(OSError):
                os.unlink(lock.lock_file)
            lock.release()

    def _place(self, sig: Any, codegen: Any) -> tuple[Path, bytes]:
        key = repr((sig, codegen.magic_tuple(), VERSIONS)).encode()
        return _folder() / f"{self._name}-{hashlib.sha256(key).hexdigest()[:16]}{SUFFIX}", _stamp(self._source)


def _read(path: Path, stamp: bytes, target_context: Any) -> Any:
    """Load a function from its file. Raises OSError if that is missing, damaged or written for other source."""
    raw = path.read_bytes()
    checksum, data = raw[:CHECKSUM], raw[CHECKSUM:]
    if checksum != _checksum(stamp, data):
        raise OSError(f"{path}: damaged, or of another source")
    return CompileResult._rebuild(target_context, *pickle.loads(data))  # pyright: ignore[reportPrivateUsage]


def _folder() -> Path:
    """A cache folder for this copy of the package: different versions do not overwrite each other's files.

    Raises FileNotFoundError without a cache folder.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    root = Path(chosen) if chosen else cache_folder() / "kernels"
    return root / hashlib.sha256(os.fsencode(HERE)).hexdigest()[:16]


@cache
def _stamp(source: Path) -> bytes:
    """A checksum of a file's text and of all files here that it imports, whose functions are compiled into its own."""
    text = source.read_bytes()
    names = re.findall(rb"^from sparsecode\.kernels\.(\w+) import", text, re.M)
    parts = [text, *(_stamp(HERE / f"{name.decode()}.py") for name in names)]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


def _checksum(stamp: bytes, data: bytes) -> bytes:
    return hashlib.sha256(stamp + data).digest()


def _replace(path: Path, data: bytes) -> None:
    """Write a file atomically, without flushing it to disk: its checksum shows whether it is complete."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise
