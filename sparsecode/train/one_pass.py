"""Steps of models that go from a batch to new weights in one go, with the state of the optimiser that would have done it."""

from __future__ import annotations

from collections.abc import Callable

from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.streams import Stream
from sparsecode.train.adam_state import AdamState
from sparsecode.train.optim import Optim, OptimiserGroup
from sparsecode.types import Batch, Loss

__all__ = ["one_pass"]


def one_pass(
    model: AbstractSparseModel, groups: list[OptimiserGroup], optim: Optim, batch_size: int
) -> Callable[[Batch, int, Stream], Loss] | None:
    """A function that takes a whole step and returns its loss, or None if this model has none for such an optimiser.

    Weights and moments are those of `torch.optim.Adam`; only roundings differ. Nothing is changed by a loss that is not finite.
    """
    state = AdamState.of(groups[0]) if len(groups) == 1 and optim.clip is None else None
    update = None if state is None else model.updates(batch_size, state.moments)
    if state is None or update is None:
        return None

    def step(batch: Batch, number: int, rng: Stream) -> Loss:
        loss = update(batch, number, rng, state.ahead(number))
        state.taken()
        return loss

    return step
