"""Results of a sweep: `results.jsonl`, a line per finished run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sparsecode.evaluate.evaluation import Evaluation, Measured
from sparsecode.extending import conflicts
from sparsecode.files import held, require_own, write_atomic
from sparsecode.leaves import foreign_types
from sparsecode.migrations import to_format_2
from sparsecode.runs import RunFolder
from sparsecode.specs import converted, parsed
from sparsecode.sweeps.earlier import current
from sparsecode.sweeps.jobs import Backend, Job, Outcome

__all__ = ["RESULTS", "SweepResult", "read_results", "sweep"]

RESULTS = "results.jsonl"


class SweepResult(Measured, tag="sweep_result"):
    """A line of `results.jsonl`: a finished run, what was changed in its recipe (`fixed`: in all runs), and what was measured on the test split."""

    run: str
    recipe: str
    overrides: dict[str, Any]
    fixed: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


def sweep(jobs: Sequence[Job], root: Path, backend: Backend) -> Iterator[Outcome]:
    """Train unfinished jobs, and keep `root/results.jsonl` up to date: a line per finished run.

    Finished runs come first, and runs that others start from before these. The iteration ends early when a job was stopped by a signal. Called again with the same jobs,
    it resumes. Nothing is left of a new sweep in which no run has begun. Raises BlockingIOError if another process works in `root`, FileExistsError if its
    `results.jsonl` is somebody else's.
    """
    require_own(root / RESULTS)
    with held(root, root / RESULTS):
        results = {r.run: r for r in read_results(root) if RunFolder(root / r.run).eval_file.exists()}
        there = {job.folder: _finished(job) for job in jobs}
        for job, evaluation in ((job, there[job.folder]) for job in jobs):
            if evaluation is not None:
                results[job.folder.name] = _result(job, evaluation)
        _write(root, results)
        for job in jobs:
            if (evaluation := there[job.folder]) is not None:
                yield Outcome(job, evaluation)
        finished = {job.folder for job in jobs if there[job.folder] is not None}
        waiting = [job for job in jobs if job.folder not in finished]
        while waiting:
            ready = [job for job in waiting if job.after is None or job.after in finished]
            if not ready:
                yield from (Outcome(job, problem=_unstarted(job)) for job in waiting)
                return
            waiting = [job for job in waiting if job not in ready]
            for outcome in backend(ready):
                if outcome.evaluation is not None:
                    results[outcome.job.folder.name] = _result(outcome.job, outcome.evaluation)
                    finished.add(outcome.job.folder)
                    _write(root, results)
                yield outcome
                if outcome.evaluation is None and not outcome.problem:
                    return


def _unstarted(job: Job) -> str:
    return (
        f"{job.after} has not finished, and this run starts from its weights: mend that run, then run the same command"
    )


def _finished(job: Job) -> Evaluation | None:
    """The evaluation of a job that needs no more work; `run` reports folders that are damaged or differ."""
    folder = RunFolder(job.folder, foreign_types(job.config))
    try:
        if not folder.exists or conflicts(folder.config(), job.config):
            return None
        state = folder.state()
        return folder.evaluation() if state and state.finished else None
    except (OSError, ValueError):
        return None


def _result(job: Job, evaluation: Evaluation) -> SweepResult:
    return SweepResult(evaluation.stored().measures, job.folder.name, job.recipe, job.overrides, job.fixed)


def _write(root: Path, results: dict[str, SweepResult]) -> None:
    write_atomic(root / RESULTS, b"".join(msgspec.json.encode(result) + b"\n" for result in results.values()))


def read_results(root: Path) -> list[SweepResult]:
    """The lines of `root/results.jsonl`, none if it is not there. Raises ValueError naming a damaged line."""
    path = root / RESULTS
    read: list[SweepResult] = []
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], start=1):
        where = f"{path}, line {number}"
        try:
            result: SweepResult = converted(_current(parsed(line, where, "delete that line")), SweepResult, where)
        except ValueError as error:
            raise ValueError(f"{error}: the table is made anew from the runs") from None
        overrides, fixed = (current(changes, root / result.run) for changes in (result.overrides, result.fixed))
        read.append(msgspec.structs.replace(result, overrides=overrides, fixed=fixed))
    return read


def _current(raw: Any) -> Any:
    """A line of an earlier version, which has no format number, in words of the present one."""
    return to_format_2(raw) if isinstance(raw, dict) and "measures" not in raw else raw
