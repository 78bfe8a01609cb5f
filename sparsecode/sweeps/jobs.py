"""Records of sweeps: jobs, their outcomes, and the contract of backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sparsecode.runner import run
from sparsecode.runs import Evaluation, Run
from sparsecode.train.observers import Observer

__all__ = ["Backend", "Job", "Outcome", "trained"]


class Job(NamedTuple):
    """One run of a sweep: what is changed in which recipe, the whole config, and its folder; what is `fixed` in all runs; with or without `figures`.

    `after`: folder of the run of the same sweep from whose weights this one starts.
    """

    recipe: str
    overrides: dict[str, Any]
    config: Run
    folder: Path
    fixed: dict[str, Any]
    figures: bool = True
    after: Path | None = None


class Outcome(NamedTuple):
    """The outcome of a job: an evaluation, a problem, or (neither) stopped by a signal with its state saved."""

    job: Job
    evaluation: Evaluation | None = None
    problem: str = ""


Backend = Callable[[Sequence[Job]], Iterator[Outcome]]


def trained(job: Job, observers: Sequence[Observer], accelerator: str) -> Outcome:
    """The outcome of a job, trained here and now."""
    try:
        result = run(job.config, job.folder, observers=observers, accelerator=accelerator, figures=job.figures)
    except Exception as error:  # whatever the error, the other runs continue
        return Outcome(job, problem=f"{type(error).__name__}: {error}")
    return Outcome(job, result.evaluation)
