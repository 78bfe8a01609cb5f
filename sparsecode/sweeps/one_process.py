"""Runs with one source of samples, trained together in this process: stacks of models and models beside them."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch

from sparsecode import runner
from sparsecode.leaves import foreign_types
from sparsecode.models.stacked import Stacked
from sparsecode.runs import RunFolder
from sparsecode.sweeps.jobs import Job, Outcome
from sparsecode.train.observers import Observer
from sparsecode.train.session import TrainingSession

__all__ = ["train_together"]


class _Member(NamedTuple):
    job: Job
    prepared: runner.Prepared
    session: TrainingSession


def train_together(
    stacks: Sequence[Sequence[Job]], alone: Sequence[Job], accelerator: str, observers: Sequence[Observer]
) -> Iterator[Outcome]:
    """The outcomes of jobs with the same data, batch size and precision, those of a stack side by side; `observers` are those of the first."""
    from sparsecode.train.fit import launch  # here, because Fabric is slow to import
    from sparsecode.train.stacked import train_side_by_side

    jobs = [*(job for stack in stacks for job in stack), *alone]
    config, threads = jobs[0].config, torch.get_num_threads()
    members: dict[int, _Member] = {}
    with ExitStack() as exit_stack:
        try:
            fabric = launch(config.train.precision, accelerator)
            splits = config.data.load()
            fingerprint = splits.fingerprint()
        except Exception as error:
            yield from (Outcome(job, problem=_words(error)) for job in jobs)
            return
        for number, job in enumerate(jobs):
            try:
                with ExitStack() as held:
                    folder = RunFolder(job.folder, foreign_types(job.config))
                    runner.enter(job.config, folder, held, fabric)
                    prepared = runner.prepare(job.config, folder, splits, fingerprint)
                    session = prepared.session(fabric, () if members else observers)
                    exit_stack.push(held.pop_all())
                members[number] = _Member(job, prepared, session)
            except Exception as error:
                yield Outcome(job, problem=_words(error))
        torch.set_num_threads(threads)  # going on with a run sets those it was begun with
        if not members:
            return
        together: list[list[_Member]] = []
        first = 0
        for stack in stacks:
            there = [members[n] for n in range(first, first + len(stack)) if n in members]
            together += [there] if there else []
            first += len(stack)
        beside = [member for number, member in members.items() if number >= first]
        try:
            failed = train_side_by_side(
                [(Stacked([m.session.model for m in there]), [m.session for m in there]) for there in together],
                [member.session for member in beside],
            )
        finally:
            torch.set_num_threads(threads)
        order = [*(member for there in together for member in there), *beside]
        for i, problem in failed.items():
            yield Outcome(order[i].job, problem=_words(problem))
        others = [member for i, member in enumerate(order) if i not in failed]
        yield from _concluded([member for member in others if not member.session.stopped_by], threads)
        yield from (Outcome(member.job) for member in others if member.session.stopped_by)


def _concluded(members: Sequence[_Member], threads: int) -> Iterator[Outcome]:
    """Evaluations in threads, pictures here: matplotlib wants one thread."""
    workers = max(1, min(threads, len(members)))
    share = max(1, threads // workers)
    with (
        _handed_over_soon(),
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,)) as pool,
    ):
        scored = [(member, pool.submit(member.prepared.scored)) for member in members]
        for (job, prepared, _), future in scored:
            try:
                best, evaluation = future.result()
                prepared.conclude(best, evaluation, figures=job.figures)
                outcome = Outcome(job, evaluation)
            except Exception as error:
                outcome = Outcome(job, problem=_words(error))
            yield outcome
    torch.set_num_threads(threads)


@contextmanager
def _handed_over_soon() -> Generator[None]:
    """Lower the GIL's switch interval: a drawing thread would hold the GIL for 5 ms after each operation of the others."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
