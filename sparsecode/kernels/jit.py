"""Compiled functions: compiled on their first call with arguments of some types, or loaded from a cache of machine code on disk.

A function that is in the cache runs without numba, whose import takes longer than many a computation; so does one that comes with the
package, as code of LLVM for any processor, once that is made into machine code. What has just been compiled is stored and run as it
would be loaded, so that both give the same bits. The cache lies in the user's cache folder. A file that is missing or damaged is
compiled again, and without a writable folder every process compiles the functions it uses.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache, update_wrapper
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite
from filelock import FileLock

from sparsecode.files import cache_folder
from sparsecode.kernels import shipped
from sparsecode.kernels.machine_code import HEADER, MachineCode, assembled, describe, slots_of, target

__all__ = ["Kernel", "compiled"]

HERE = Path(__file__).parent
SUFFIX = ".compiled"
CHECKSUM = 32  # bytes of a SHA-256 sum
PATIENCE = 60  # seconds to wait for another process that compiles the same
REORDERED = ("reassoc", "contract", "nsz", "arcp")  # of LLVM's fast-math flags, those that keep NaN and infinity

_compiling = threading.RLock()


def compiled(
    *, reorder: bool = True, divide: bool = False, wide: bool = False, host: tuple[Any, ...] = ()
) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function on its first call, without the interpreter lock, or loads it from the cache.

    With `reorder` sums may be reordered and products contracted, with `divide` a division by 0 gives an infinity or NaN
    as in NumPy instead of ZeroDivisionError. With `wide` its loops use registers of 512 bits where there are any: LLVM prefers 256
    on Intel's processors, which leaves half of the bandwidth of the second-level cache unused. `host` are constants that the source
    takes from the processor or the system.

    The function makes no arrays, raises no errors itself and returns a number or None. It copies by loops: what numba compiles for an
    assignment to a slice takes longer than most functions.
    """
    options: dict[str, Any] = {"error_model": "numpy" if divide else "python"}
    if reorder:
        options["fastmath"] = set(REORDERED)

    def decorate(function: Callable[..., Any]) -> Any:
        plain = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
        return function if plain else Kernel(function, options, wide, host)

    return decorate


class Kernel:
    """A compiled function of arrays, numbers and tuples of these; `compilations` counts those of this process."""

    def __init__(
        self, function: Callable[..., Any], options: dict[str, Any], wide: bool = False, host: tuple[Any, ...] = ()
    ) -> None:
        update_wrapper(self, function)
        self.function, self.options, self.wide, self.host, self.compilations = function, options, wide, host, 0
        self._source = Path(function.__code__.co_filename)
        self._name = f"{self._source.stem}.{function.__qualname__}"
        self._ready: dict[tuple[Any, ...], MachineCode] = {}
        self._callee: Any = None

    def __call__(self, *args: Any) -> Any:
        kind: list[Any] = []
        values: list[Any] = []
        describe(args, kind, values)
        key = tuple(kind)
        code = self._ready.get(key)
        return (self._prepared(key, args, values) if code is None else code)(values)

    @property
    def callee(self) -> Any:
        """The function as numba knows it, to compile it into others."""
        if self._callee is None:
            from sparsecode.kernels.compiling import Callee  # numba is slow to import

            self._callee = Callee(self.function, self.options)
        return self._callee

    @property
    def _numba_type_(self) -> Any:
        return self.callee._numba_type_

    @property
    def cache_path(self) -> Path:
        """The folder of its machine code. Raises FileNotFoundError without a cache folder."""
        return _folder()

    def _prepared(self, key: tuple[Any, ...], args: tuple[Any, ...], values: list[Any]) -> MachineCode:
        slots_of(key).pack(*values)  # raises for integers beyond 64 bits, for which numba would choose another type
        with _compiling:
            if key not in self._ready:
                self._ready[key] = self._loaded(key, args)
            return self._ready[key]

    def _loaded(self, key: tuple[Any, ...], args: tuple[Any, ...]) -> MachineCode:
        """From the cache; else compiled, and stored if the folder can be written."""
        path: Path | None = None
        stamp = b""
        with suppress(Exception):  # a damaged file may fail in any way; the function is then compiled and written again
            path, stamp = self._place(key), _stamp(self._source)
            with suppress(OSError):
                return MachineCode(_read(path, stamp), key)
        with _locked(path):  # avoids duplicate compilation by another process
            with suppress(Exception):
                if path is not None:
                    return MachineCode(_read(path, stamp), key)
            data = self._compiled(key, args)
            self.compilations += 1
            with suppress(Exception):
                if path is not None:
                    _replace(path, _checksum(stamp, data) + data)
            return MachineCode(data, key)

    def _compiled(self, key: tuple[Any, ...], args: tuple[Any, ...]) -> bytes:
        with suppress(Exception):  # none for such arguments, of this source, or readable to this version of LLVM
            return assembled(shipped.read(self._source.stem, self.file_name(key), _stamp(self._source)))
        from sparsecode.kernels.compiling import lowered  # numba is slow to import

        return assembled(lowered(self.function, self.options, args, self.wide))

    def file_name(self, key: tuple[Any, ...], *more: Any) -> str:
        """Of its code for arguments of a kind; `more` is what that depends on besides."""
        options = [(name, sorted(value)) for name, value in sorted(self.options.items())]
        facts = repr((key, options, self.wide, self.host, HEADER, *more)).encode()
        return f"{self._name}-{hashlib.sha256(facts).hexdigest()[:16]}"

    def _place(self, key: tuple[Any, ...]) -> Path:
        versions = llvmlite.__version__, version("numba")
        return _folder() / f"{self.file_name(key, target(), versions)}{SUFFIX}"


@contextmanager
def _locked(path: Path | None) -> Generator[None]:
    """Hold the file's lock while it is made, for a minute at most, where the folder can be written."""
    lock: FileLock | None = None
    with suppress(Exception):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{path}.lock", timeout=PATIENCE, thread_local=False)
            lock.acquire()
    try:
        yield
    finally:
        if lock is not None and lock.is_locked:
            with suppress(OSError):
                os.unlink(lock.lock_file)
            lock.release()


def _read(path: Path, stamp: bytes) -> bytes:
    """The content of a file. Raises OSError if that is missing, damaged or written for other source."""
    raw = path.read_bytes()
    checksum, data = raw[:CHECKSUM], raw[CHECKSUM:]
    if checksum != _checksum(stamp, data):
        raise OSError(f"{path}: damaged, or of another source")
    return data


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
    names = re.findall(rb"^ *from sparsecode\.kernels\.(\w+) import", text, re.M)
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
