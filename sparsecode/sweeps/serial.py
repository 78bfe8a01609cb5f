"""One run after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sparsecode.sweeps.jobs import Backend, Job, Outcome, trained
from sparsecode.train.observers import Observer

__all__ = ["serial"]


def serial(watch: Callable[[Job], Sequence[Observer]] = lambda _: (), accelerator: str = "auto") -> Backend:
    """One run after the other, in this process; `watch` gives each job's observers."""

    def backend(jobs: Sequence[Job]) -> Iterator[Outcome]:
        for job in jobs:
            yield trained(job, watch(job), accelerator)

    return backend
