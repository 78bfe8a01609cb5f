"""Runs that share data and shape, trained as one stack in this process; the others by another backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from sparsecode.models.stackable import obstacle, shared
from sparsecode.specs import plain
from sparsecode.sweeps.jobs import Backend, Job, Outcome
from sparsecode.sweeps.one_process import train_together
from sparsecode.train.observers import Observer

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
        if job.config.train.compile:
            reason = "train.compile is set, and stacks have steps of their own"
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
            yield from train_together([stack], (), accelerator, watch(stack))
        rest = [job for kept in apart.values() for job in kept]
        if rest:
            yield from others(rest)

    return backend
