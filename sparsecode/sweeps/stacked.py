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
from sparsecode.leaves import foreign_types
from sparsecode.models.stackable import obstacle, shared
from sparsecode.models.stacked import Stacked
from sparsecode.runs import RunFolder
from sparsecode.specs import plain
from sparsecode.sweeps.jobs import Backend, Job, Outcome
from sparsecode.train.observers import Observer
from sparsecode.train.session import TrainingSession

__all__ = ["stacked", "stacks_of"]


def stacks_of(jobs: Sequence[Job]) -> tuple[list[list[Job]], dict[str, list[Job]]]:
    """Jobs by the stack they fit in, and those that fit in none by the reason."""
    stacks: dict[bytes, list[Job]] = {}
    apart: dict[str, list[Job]] = {}
    for job in jobs:
        model, start = job.config.model, job.config.init_from
        reason = "init_from is frozen" if start is not None and start.frozen else obstacle(model)
        if job.config.train.in_bf16:
            reason = "train.precision is 'bf16-mixed', and stacks have products of their own"
        if reason:
            apart.setdefault(reason, []).append(job)
        else:
            key = msgspec.json.encode(plain((job.config.data, job.config.train, shared(model))))
            stacks.setdefault(key, []).append(job)
    return list(stacks.values()), apart


def stacked(
    others: Backend,
    accelerator: str = "auto",
    watch: Callable[[Sequence[Job]], Sequence[Observer]] = lambda _: (),
    tell: Callable[[str], None] = lambda _: None,
) -> Backend:
    """All runs of one kind side by side in this process; `others` trains those that do not stack, after `tell` was called with the reason.

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


class _StackedRun(NamedTuple):
    job: Job
    prepared: runner.Prepared
    session: TrainingSession


def _train(jobs: Sequence[Job], accelerator: str, observers: Sequence[Observer]) -> Iterator[Outcome]:
    from sparsecode.train.fit import launch  # here, because Fabric is slow to import
    from sparsecode.train.stacked import train_stacked

    config, threads = jobs[0].config, torch.get_num_threads()
    members: list[_StackedRun] = []
    with ExitStack() as exit_stack:
        try:
            fabric = launch(config.train.precision, accelerator)
            splits = config.data.load()
            fingerprint = splits.fingerprint()
        except Exception as error:
            yield from (Outcome(job, problem=_words(error)) for job in jobs)
            return
        for job in jobs:
            try:
                folder = RunFolder(job.folder, foreign_types(job.config))
                runner.enter(job.config, folder, exit_stack, fabric)
                prepared = runner.prepare(job.config, folder, splits, fingerprint)
                members.append(_StackedRun(job, prepared, prepared.session(fabric, () if members else observers)))
            except Exception as error:
                yield Outcome(job, problem=_words(error))
        torch.set_num_threads(threads)  # going on with a run sets those it was begun with
        if not members:
            return
        sessions = [member.session for member in members]
        stack = Stacked([session.model for session in sessions])
        try:
            failed = train_stacked(stack, sessions)
        finally:
            torch.set_num_threads(threads)
        for i, problem in failed.items():
            yield Outcome(members[i].job, problem=_words(problem))
        others = [member for i, member in enumerate(members) if i not in failed]
        yield from _concluded([member for member in others if not member.session.stopped_by], threads)
        yield from (Outcome(member.job) for member in others if member.session.stopped_by)


def _concluded(members: Sequence[_StackedRun], threads: int) -> Iterator[Outcome]:
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
