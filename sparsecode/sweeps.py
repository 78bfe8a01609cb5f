"""Many runs at once: a grid of changes over recipes, trained by a backend, and what came of them.

A backend is a function from jobs to an iterator of outcomes, in whatever order they finish.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, get_context, resource_tracker
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from sparsecode.evaluate.denoise import Denoised
from sparsecode.evaluate.score import Score
from sparsecode.files import locked, write_atomic
from sparsecode.overrides import OverrideError, assign, replaced, value_at
from sparsecode.recipes import RECIPES
from sparsecode.runner import run
from sparsecode.runs import Evaluation, Run, RunFolder
from sparsecode.specs import Spec, differences
from sparsecode.train.observers import Observer

__all__ = [
    "RESULTS",
    "Axis",
    "Backend",
    "Job",
    "Outcome",
    "SweepResult",
    "jobs_of",
    "processes",
    "read_results",
    "serial",
    "sweep",
]

RESULTS = "results.jsonl"
FACTOR = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?)x", re.IGNORECASE)


class Job(NamedTuple):
    """One run of a sweep: what is changed in which recipe, the whole config, and its folder."""

    recipe: str
    overrides: dict[str, Any]
    config: Run
    folder: Path


class SweepResult(Spec, tag="sweep_result"):
    """A line of `results.jsonl`: a finished run and its scores on the test split."""

    run: str
    recipe: str
    overrides: dict[str, Any]
    scores: dict[str, Score]
    denoising: dict[str, tuple[Denoised, ...]]


class Outcome(NamedTuple):
    """How a job ended: with an evaluation, with a problem, or (neither) stopped by a signal with its state saved."""

    job: Job
    evaluation: Evaluation | None = None
    problem: str = ""


Backend = Callable[[Sequence[Job]], Iterator[Outcome]]


class Factor(NamedTuple):
    """A value relative to the recipe's own."""

    times: float


class Axis(NamedTuple):
    """What varies: a dotted path in the config, and its values."""

    path: str
    values: tuple[Any, ...]

    @classmethod
    def parse(cls, text: str) -> Axis:
        """`PATH=V,V,...`: each V is JSON, a bare word, or a number with an x behind it, a multiple of the recipe's own value."""
        path, equals, values = text.partition("=")
        if not (path and equals and values):
            raise OverrideError(
                f"--over {text}: expected PATH=VALUE,VALUE,... such as model.weight=0.5x,1x,2x or seed=0,1"
            )
        try:
            found = msgspec.json.decode(f"[{values}]", type=list[Any])
        except msgspec.DecodeError:
            found = [_value(part.strip()) for part in values.split(",")]
        twice = [value for i, value in enumerate(found) if value in found[:i]]
        if twice:
            raise OverrideError(f"--over {text}: {twice[0]!r} is there twice")
        return cls(path, tuple(found))


def _value(text: str) -> Any:
    if factor := FACTOR.fullmatch(text):
        return Factor(float(factor[1]))
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def jobs_of(recipes: Sequence[str], axes: Sequence[Axis], assignments: tuple[str, ...], root: Path) -> list[Job]:
    """Every combination of values for every recipe, with `assignments` (as `--set`) put in all of them first.

    Folders lie in `root` and are named after recipe and values. Raises OverrideError for unknown recipes and paths, values
    that do not fit, and combinations that come out the same.
    """
    if unknown := [name for name in recipes if name not in RECIPES]:
        raise OverrideError(f"no recipe {unknown[0]!r}; there is {', '.join(RECIPES)}")
    jobs: list[Job] = []
    for recipe in recipes:
        base = assign(RECIPES[recipe](), assignments)
        for values in itertools.product(*(axis.values for axis in axes)):
            overrides = {axis.path: _resolved(base, axis.path, v) for axis, v in zip(axes, values, strict=True)}
            name = "_".join([recipe, *(f"{_short(path, axes)}={_word(value)}" for path, value in overrides.items())])
            jobs.append(Job(recipe, overrides, replaced(base, overrides, "--over"), root / name))
    names = [job.folder.name for job in jobs]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise OverrideError(f"two runs of this sweep would be the same: {twice[0]}")
    return jobs


def _resolved(base: Run, path: str, value: Any) -> Any:
    if not isinstance(value, Factor):
        return value
    own = value_at(base, path, "--over")
    if isinstance(own, bool) or not isinstance(own, int | float):
        raise OverrideError(f"--over {path}: {value.times:g}x needs a number to multiply, and {path} is {own!r}")
    product = float(f"{own * value.times:.12g}")  # 3 x 0.1 is 0.3
    return int(product) if isinstance(own, int) and product.is_integer() else product


def _short(path: str, axes: Sequence[Axis]) -> str:
    last = path.rpartition(".")[2]
    return last if [axis.path.rpartition(".")[2] for axis in axes].count(last) == 1 else path


def _word(value: Any) -> str:
    """A value as part of a folder's name."""
    text = f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
    if isinstance(value, dict | list) or not re.fullmatch(r"[\w.+-]+", text):
        kind = value.get("type", "") if isinstance(value, dict) else ""
        text = f"{kind}{hashlib.blake2b(msgspec.json.encode(value), digest_size=3).hexdigest()}"
    return text


def serial(watch: Callable[[Job], Sequence[Observer]] = lambda _: (), accelerator: str = "auto") -> Backend:
    """One run after the other, in this process; `watch` gives each job's observers."""

    def backend(jobs: Sequence[Job]) -> Iterator[Outcome]:
        for job in jobs:
            yield _trained(job, watch(job), accelerator)

    return backend


def processes(n: int, accelerator: str = "auto") -> Backend:
    """`n` runs at a time, each in a process of its own with its share of the cores.

    When the iteration is given up, running jobs are asked to save and end, and are waited for.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // n)

    def backend(jobs: Sequence[Job]) -> Iterator[Outcome]:
        context = get_context("spawn")
        resource_tracker.ensure_running()  # here, because starting it lets SIGINT through
        waiting, running = deque(jobs), dict[Any, Any]()
        try:
            while waiting or running:
                while waiting and len(running) < n:
                    job = waiting.popleft()
                    receive, send = context.Pipe(duplex=False)
                    process = context.Process(target=_work, args=(job, threads, accelerator, send))
                    # Blocked while the child is young, lest Ctrl-C catch it in its imports; `_work` lets it through again.
                    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
                    try:
                        process.start()
                    finally:
                        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
                    send.close()  # so that the child's end is the only one, and its death is noticed
                    running[receive] = process, job
                ended = connection.wait(list(running))
                for receive in [r for r in running if r in ended]:
                    process, job = running[receive]
                    try:
                        outcome: Outcome | None = receive.recv()
                    except EOFError:
                        outcome = None
                    process.join()
                    del running[receive]
                    yield outcome or Outcome(job, problem=f"its process died with exit code {process.exitcode}")
        finally:
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                process.join()

    return backend


def _work(job: Job, threads: int, accelerator: str, send: Any) -> None:
    # The terminal's Ctrl-C reaches children too: training saves and ends by itself, the rest is the parent's to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    torch.set_num_threads(threads)
    send.send(_trained(job, (), accelerator))


def _trained(job: Job, observers: Sequence[Observer], accelerator: str) -> Outcome:
    try:
        result = run(job.config, job.folder, observers=observers, accelerator=accelerator)
    except Exception as error:  # whatever it is, the other runs go on
        return Outcome(job, problem=f"{type(error).__name__}: {error}")
    return Outcome(job, result.evaluation)


def sweep(jobs: Sequence[Job], root: Path, backend: Backend) -> Iterator[Outcome]:
    """Train what has not finished yet, and keep `root/results.jsonl` up to date: a line per finished run.

    Finished runs come first. The iteration ends early when a job was stopped by a signal. Called again with the same jobs,
    it goes on where it was. Raises BlockingIOError if another process works in `root`.
    """
    with locked(root):
        results = {r.run: r for r in read_results(root) if RunFolder(root / r.run).eval_file.exists()}
        there = {job.folder: _finished(job) for job in jobs}
        for job, evaluation in ((job, there[job.folder]) for job in jobs):
            if evaluation is not None:
                results[job.folder.name] = _result(job, evaluation)
        _write(root, results)
        for job in jobs:
            if (evaluation := there[job.folder]) is not None:
                yield Outcome(job, evaluation)
        outcomes = backend([job for job in jobs if there[job.folder] is None])
        for outcome in outcomes:
            if outcome.evaluation is not None:
                results[outcome.job.folder.name] = _result(outcome.job, outcome.evaluation)
                _write(root, results)
            yield outcome
            if outcome.evaluation is None and not outcome.problem:
                return


def _finished(job: Job) -> Evaluation | None:
    """The evaluation of a job that needs no more work; what is damaged or differs is for `run` to report."""
    folder = RunFolder(job.folder)
    try:
        if not folder.exists or differences(folder.config(), job.config):
            return None
        state = folder.state()
        return folder.evaluation() if state and state.step >= state.total_steps else None
    except (OSError, ValueError):
        return None


def _result(job: Job, evaluation: Evaluation) -> SweepResult:
    return SweepResult(job.folder.name, job.recipe, job.overrides, evaluation.scores, evaluation.denoising)


def _write(root: Path, results: dict[str, SweepResult]) -> None:
    write_atomic(root / RESULTS, b"".join(msgspec.json.encode(result) + b"\n" for result in results.values()))


def read_results(root: Path) -> list[SweepResult]:
    """The lines of `root/results.jsonl`, none if it is not there. Raises ValueError naming a damaged line."""
    path = root / RESULTS
    found: list[SweepResult] = []
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], start=1):
        try:
            found.append(msgspec.json.decode(line, type=SweepResult))
        except msgspec.DecodeError as error:
            raise ValueError(
                f"{path}, line {number}: damaged ({error}); delete it, it is made anew from the runs"
            ) from None
    return found
