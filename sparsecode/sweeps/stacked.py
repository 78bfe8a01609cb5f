"""Runs that share data and shape, trained as one stack in this process; the others by another backend."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import msgspec
import torch

from sparsecode import runner
from sparsecode.evaluate.score import HIGHER_IS_BETTER
from sparsecode.files import locked
from sparsecode.models.amortised import Amortised, AmortisedModel
from sparsecode.models.stackable import obstacle, shared
from sparsecode.models.stacked import Stacked
from sparsecode.runs import RunFolder
from sparsecode.schedules import Clock
from sparsecode.sweeps.jobs import Backend, Job, Outcome
from sparsecode.train.observers import MetricsFile, Observer
from sparsecode.train.plan import clock

__all__ = ["stacked", "stacks_of"]


def stacks_of(jobs: Sequence[Job]) -> tuple[list[list[Job]], dict[str, list[Job]]]:
    """Jobs by the stack they fit in, and those that fit in none by the reason."""
    stacks: dict[bytes, list[Job]] = {}
    apart: dict[str, list[Job]] = {}
    for job in jobs:
        model = job.config.model
        if reason := obstacle(model):
            apart.setdefault(reason, []).append(job)
        elif isinstance(model, Amortised):
            key = msgspec.json.encode((job.config.data, job.config.train, shared(model)))
            stacks.setdefault(key, []).append(job)
    return list(stacks.values()), apart


def stacked(
    others: Backend,
    accelerator: str = "auto",
    watch: Callable[[Sequence[Job]], Sequence[Observer]] = lambda _: (),
    tell: Callable[[str], None] = lambda _: None,
) -> Backend:
    """All runs of one kind side by side in this process; `others` trains those that do not stack, after `tell` has said why.

    `watch` gives observers of the first run of each stack, whose steps are everybody's.
    """

    def backend(jobs: Sequence[Job]) -> Iterator[Outcome]:
        stacks, apart = stacks_of(jobs)
        for reason, kept in apart.items():
            names = kept[0].folder.name + (f" and {len(kept) - 1} more" if len(kept) > 1 else "")
            tell(f"not stacked, because {reason}: {names}")
        for stack in stacks:
            yield from _train(stack, accelerator, watch(stack))
        rest = [job for kept in apart.values() for job in kept]
        if rest:
            yield from others(rest)

    return backend


class _Entered(NamedTuple):
    job: Job
    prepared: runner.Prepared


def _train(jobs: Sequence[Job], accelerator: str, observers: Sequence[Observer]) -> Iterator[Outcome]:
    from sparsecode.train.fit import Course, launch  # here, because Fabric is slow to import
    from sparsecode.train.stacked import Entrant, fit_stacked

    config, threads = jobs[0].config, torch.get_num_threads()
    entered: list[_Entered] = []
    with ExitStack() as held:
        try:
            device = launch(config.train.precision, accelerator).device
            splits = config.data.load()
            ticks: Clock = clock(config.train, splits.training.n)
            fingerprint = splits.fingerprint()
        except Exception as error:
            yield from (Outcome(job, problem=_words(error)) for job in jobs)
            return
        entrants: list[Entrant] = []
        for job in jobs:
            try:
                folder = RunFolder(job.folder)
                runner.refuse_what_is_there(job.config, folder)
                held.enter_context(locked(folder.path))
                prepared = runner.prepare(job.config, folder, splits, fingerprint, device)
                model = prepared.model.to(device)
                course = Course(
                    model.double() if config.train.precision.startswith("64") else model,
                    splits,
                    prepared.planned.optim,
                    job.config.train,
                    job.config.seed,
                    ticks,
                    fingerprint,
                    observers=[MetricsFile(folder.metrics_file), *([] if entrants else observers)],
                    evaluate=prepared.evaluate,
                    on_best=prepared.keep,
                    higher_is_better=job.config.train.select.endswith(HIGHER_IS_BETTER),
                    resume=folder.resume,
                )
                entrants.append(Entrant(course, prepared.planned.optim, job.config.seed))
                entered.append(_Entered(job, prepared))
            except Exception as error:
                yield Outcome(job, problem=_words(error))
        torch.set_num_threads(threads)  # going on with a run sets those it was begun with
        if not entered:
            return
        stack = Stacked([e.course.model for e in entrants if isinstance(e.course.model, AmortisedModel)])
        try:
            failed = fit_stacked(stack, entrants, splits)
        finally:
            torch.set_num_threads(threads)
        done = [i for i in range(len(entered)) if i not in failed and not entrants[i].course.stopped_by]
        for i, problem in failed.items():
            yield Outcome(entered[i].job, problem=_words(problem))
        yield from _concluded([entered[i] for i in done], threads)
        for i, (job, _) in enumerate(entered):
            if entrants[i].course.stopped_by:
                yield Outcome(job)


def _concluded(entered: Sequence[_Entered], threads: int) -> Iterator[Outcome]:
    """Evaluations in threads, pictures here: matplotlib wants one thread."""
    workers = max(1, min(threads, len(entered)))
    share = max(1, threads // workers)
    with (
        _handed_over_soon(),
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,)) as pool,
    ):
        scored = [(job, prepared, pool.submit(prepared.scored)) for job, prepared in entered]
        for job, prepared, future in scored:
            try:
                best, evaluation = future.result()
                runner.draw(prepared.folder, best, prepared.splits, job.config)
                prepared.folder.write_evaluation(evaluation)
                outcome = Outcome(job, evaluation)
            except Exception as error:
                outcome = Outcome(job, problem=_words(error))
            yield outcome
    torch.set_num_threads(threads)


@contextmanager
def _handed_over_soon() -> Generator[None]:
    """Python's lock, that is: a thread that draws would keep it for 5 ms after each of the others' operations."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
