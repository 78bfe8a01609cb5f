"""The command line in forked processes that kill themselves, hard, at a chosen write."""

from __future__ import annotations

import os
import pickle
import pkgutil
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

import sparsecode
from sparsecode.cli import main

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
TORN = b'{"kind":"tr'  # what of an appended record came to the disk


class Ended(NamedTuple):
    """How a call ended: its exit code (minus the signal that killed it), what it wrote to the terminal, its writes."""

    code: int
    said: str
    writes: list[str]


class _Watch:
    """Counts what a process does to files below a folder, before it is done, and kills the process at a number."""

    def __init__(self, root: Path, kill_at: int | None) -> None:
        self.root, self.kill_at = str(root) + os.sep, kill_at
        self.writes: list[str] = []
        self.busy = False
        self.sync = os.fsync
        os.fsync = self._fsync
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.busy or not (event in CHANGES or event == "open"):
            return
        if not isinstance(arguments[0], str | os.PathLike):
            return
        path, there = os.path.abspath(arguments[0]), os.path.lexists(arguments[0])
        if event == "open":
            flags = arguments[2]
            if flags & (os.O_WRONLY | os.O_RDWR) and flags & (os.O_TRUNC | os.O_APPEND | os.O_CREAT):
                self._write("append" if flags & os.O_APPEND else "open", path)
        elif there != (event == "os.mkdir"):  # those that change nothing are no writes
            self._write(event.removeprefix("os."), path)

    def _fsync(self, number: int) -> None:
        path = os.readlink(f"/proc/self/fd/{number}")
        if not os.path.isdir(path):
            self._write("fsync", path)
        self.sync(number)

    def _write(self, what: str, path: str) -> None:
        if not path.startswith(self.root) or path.endswith(".lock"):
            return
        self.writes.append(f"{what} {path.removeprefix(self.root)}")
        if len(self.writes) != self.kill_at:
            return
        self.busy = True
        if what == "append":
            with open(path, "ab") as file:
                file.write(TORN)
        elif what == "fsync":  # what is not on the disk yet may come there in part
            os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)


def call(argv: Sequence[str], root: Path, kill_at: int | None = None) -> Ended:
    """`sparsecode` in a fork of this process that works in `root`, killed at its write of this number, counted from 1."""
    output, log = root.with_name(root.name + ".out"), root.with_name(root.name + ".writes")
    log.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        code = 99
        try:
            os.chdir(root)
            terminal = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(terminal, 1)
            os.dup2(terminal, 2)
            sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115 - until the process ends
            watch = _Watch(root, kill_at)
            code = main(list(argv))
            log.write_bytes(pickle.dumps(watch.writes))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    writes = pickle.loads(log.read_bytes()) if log.exists() else []
    return Ended(os.waitstatus_to_exitcode(status), output.read_text(), writes)


def prepare() -> None:
    """Import here what every fork would import again, and draw with few pixels: how many does not matter here, and it takes most of the time."""
    for module in pkgutil.walk_packages(sparsecode.__path__, "sparsecode."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    for name in ("sklearn.datasets", "sklearn.linear_model", "matplotlib.backends.backend_agg", "PIL.PngImagePlugin"):
        import_module(name)
    fine = Figure.savefig

    def savefig(self: Figure, file: Any, **how: Any) -> None:
        fine(self, file, **dict[str, Any]({**how, "dpi": 12}))

    Figure.savefig = savefig  # pyright: ignore[reportAttributeAccessIssue] - the same, for fewer arguments
