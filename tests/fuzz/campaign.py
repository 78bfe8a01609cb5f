"""Inputs made at random, each given to the command line in a forked process: bounded in time and memory, and watched for writes.

A finding is an exception that leaves `main`, an exit code that is not documented, a run beyond the time limit, a process that dies,
or a write outside the folder of the input. Each input is a function of (seed, kind, number), so that a finding can be made again.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
import resource
import select
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from sparsecode.files import cache_folder

__all__ = ["Campaign", "Finding", "campaign"]

CODES = (0, 1, 2, 3)
MEMORY = 6 * 2**30  # bytes of addresses beyond those of the parent: torch asks for more of these than it uses
CHUNK = 25  # inputs per process
SLEEP = 10  # seconds that may pass for one of processor time, on a machine with other work
GRACE = 45  # seconds from SIGTERM to the end
WRITES = {
    "os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.symlink": 1, "os.link": 1, "os.truncate": 0, "os.chmod": 0,
}  # fmt: skip


class Finding(NamedTuple):
    """What went wrong with an input, and the input."""

    seed: int
    kind: str
    number: int
    what: str
    argv: tuple[str, ...]
    files: dict[str, bytes]

    def __str__(self) -> str:
        files = "".join(f"\n    {name}: {data[:3000]!r}" for name, data in self.files.items())
        return f"\n{self.kind} {self.number} of seed {self.seed}: {self.what}\n    {self.argv!r}{files}"


class Input(NamedTuple):
    """A command line, and the files that it may read, by their names in the folder of the input."""

    argv: tuple[str, ...]
    files: dict[str, bytes]
    folders: Mapping[str, Path] = MappingProxyType({})  # copied there first


Make = Callable[[random.Random], Input]


class Campaign(NamedTuple):
    findings: list[Finding]
    done: int


def campaign(kind: str, make: Make, n: int, folder: Path, seed: int, seconds: float, limit: int = 120) -> Campaign:
    """Try inputs 0 to n - 1 of a kind, until `seconds` have passed, in a folder of their own."""
    findings: list[Finding] = []
    start, done = time.monotonic(), 0
    while done < n and time.monotonic() - start < seconds:
        chunk = range(done, min(n, done + CHUNK))
        last = done
        for number, what in _forked(kind, make, chunk, folder, seed, limit):
            last = number
            if what:
                given = make(random.Random(f"{seed} {kind} {number}"))
                findings.append(Finding(seed, kind, number, what, given.argv, given.files))
        done = last + 1
    return Campaign(findings, done)


def _forked(kind: str, make: Make, chunk: range, folder: Path, seed: int, limit: int) -> Iterator[tuple[int, str]]:
    """For each input its number and what went wrong, if anything; ends early if the process died, with that input."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        with contextlib.suppress(BaseException):
            _try_all(kind, make, chunk, folder, seed, limit, os.fdopen(write, "wb"))
        os._exit(0)
    os.close(write)
    number, ended = chunk.start, ""
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while number <= chunk[-1]:
            if not select.select([pipe], [], [], SLEEP * limit + GRACE)[0]:
                os.kill(child, signal.SIGKILL)
                ended = f"does not end within {SLEEP * limit + GRACE} s"
                break
            try:
                what = pickle.load(pipe)
            except EOFError:
                break
            yield number, what
            number += 1
    _, status = os.waitpid(child, 0)
    if number <= chunk[-1]:
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"code {os.WEXITSTATUS(status)}"
        yield number, ended or f"ended by {how}" + (f" after {limit} s" if how == "SIGTERM" else "")


def _try_all(kind: str, make: Make, chunk: range, folder: Path, seed: int, limit: int, pipe: Any) -> None:
    outside = _watch(folder)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_addresses() + MEMORY, most))
    warnings.simplefilter("ignore")
    stopped: list[int] = []

    def stop(_number: int, _frame: object) -> None:
        stopped.append(1)
        os.kill(os.getpid(), signal.SIGTERM)  # a training may be as long as it is asked for, and must end at this

    signal.signal(signal.SIGPROF, stop)
    for number in chunk:
        place = folder / "input"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        os.chdir(place)
        given = make(random.Random(f"{seed} {kind} {number}"))
        for name, source in given.folders.items():
            shutil.copytree(source, place / name)
        for name, data in given.files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        outside.clear()
        stopped.clear()
        signal.setitimer(signal.ITIMER_PROF, limit)  # processor time: other processes do not count
        what = _outcome(given.argv, stopped)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if not what and outside:
            what = f"writes outside its folder: {outside[:3]}"
        pickle.dump(what, pipe)
        pipe.flush()


def _outcome(argv: tuple[str, ...], stopped: list[int]) -> str:
    from sparsecode.cli import main

    into = io.BytesIO()
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(into, "utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(list(argv))
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "sparsecode" in f.filename][-3:]
        return f"{type(error).__name__} at {' > '.join(own)}: {str(error)[:300]}"
    err.flush()
    said = into.getvalue()
    if code not in CODES and not (stopped and code == 128 + signal.SIGTERM):
        return f"exit code {code}"
    if b"Traceback" in said:
        return f"a traceback on stderr: {said[-300:]!r}"
    if code and not said.strip():
        return f"exit code {code} without a word"
    return ""


def _watch(folder: Path) -> list[str]:
    """Names of files that this process writes outside `folder` from here on; compiled code and fonts have caches of their own."""
    result: list[str] = []
    allowed = (str(folder.resolve()), os.devnull, "/proc/self", str(cache_folder() / "kernels"))

    def look(event: str, args: tuple[Any, ...]) -> None:
        path = None
        if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            path = args[0]
        elif event in WRITES:
            path = args[WRITES[event]]
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if isinstance(path, str | Path):
            full = os.path.abspath(path)
            if not full.startswith(allowed) and "__pycache__" not in full and "matplotlib" not in full:
                result.append(f"{event} {full}")

    sys.addaudithook(look)
    return result


def _addresses() -> int:
    """Bytes of addresses that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
