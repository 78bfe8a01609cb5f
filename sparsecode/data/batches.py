"""Training batches whose order is a function of (seed, step)."""

from __future__ import annotations

from collections.abc import Iterator

from sparsecode.data.splits import Samples
from sparsecode.records import Batch

__all__ = ["batches", "steps_per_epoch"]


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Whole batches in n samples; the rest of each epoch's permutation is dropped.

    Raises ValueError if there is not even one.
    """
    if batch_size > n:
        raise ValueError(f"train.batch_size is {batch_size}, and there are {n} training samples; expected at most {n}")
    return n // batch_size


def batches(
    samples: Samples, batch_size: int, seed: int, start: int, stop: int, rank: int = 0, world: int = 1
) -> Iterator[tuple[int, Batch]]:
    """(step, batch) for steps `start` to `stop` - 1; every rank takes its own part of the global batch.

    Epoch e visits the samples in an order that is a function of (seed, e), whatever the step to start from.
    Raises ValueError if the world size does not divide the batch.
    """
    if batch_size % world:
        raise ValueError(f"train.batch_size is {batch_size}; expected a multiple of the {world} processes")
    per_epoch, share = steps_per_epoch(samples.n, batch_size), batch_size // world
    read = samples.reader(seed)
    for step in range(start, stop):
        epoch, position = divmod(step, per_epoch)
        first = position * batch_size + rank * share
        yield step, read(epoch, first, first + share)
