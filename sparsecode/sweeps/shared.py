"""Runs that can share one stream of samples, trained together in this process: the source gives each batch once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from sparsecode.specs import plain
from sparsecode.sweeps.jobs import Backend, Job, Outcome
from sparsecode.sweeps.one_process import train_together
from sparsecode.sweeps.stacked import stacks_of
from sparsecode.train.observers import Observer

__all__ = ["shared"]


def shared(accelerator: str = "auto", watch: Callable[[Sequence[Job]], Sequence[Observer]] = lambda _: ()) -> Backend:
    """All runs with the same data, batch size and precision together: those of one shape in stacks, the others beside them.

    `watch` gives observers of the first run of each group.
    """

    def backend(jobs: Sequence[Job]) -> Iterator[Outcome]:
        for group in groups_of(jobs):
            stacks, apart = stacks_of(group)
            stacks, few = [s for s in stacks if len(s) > 1], [job for s in stacks if len(s) == 1 for job in s]
            alone = [*few, *(job for kept in apart.values() for job in kept)]
            yield from train_together(stacks, alone, accelerator, watch([*(job for s in stacks for job in s), *alone]))

    return backend


def groups_of(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs by what decides which batches there are."""
    groups: dict[bytes, list[Job]] = {}
    for job in jobs:
        train = job.config.train
        key = msgspec.json.encode(plain((job.config.data, train.batch_size, train.precision)))
        groups.setdefault(key, []).append(job)
    return list(groups.values())
