"""Steps of models that go from a batch to new weights in one go, with the state of the optimiser that would have done it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.streams import Stream
from sparsecode.schedules import at
from sparsecode.train.optim import Adam, Optim, OptimiserGroup
from sparsecode.types import AdamStep, Batch, Loss

__all__ = ["one_pass"]


def one_pass(
    model: AbstractSparseModel, groups: list[OptimiserGroup], optim: Optim, batch_size: int
) -> Callable[[Batch, int, Stream], Loss] | None:
    """A function that takes a whole step and returns its loss, or None if this model has none for such an optimiser.

    Weights and moments are those of `torch.optim.Adam`; only roundings differ. Nothing is changed by a loss that is not finite.
    """
    if len(groups) != 1 or optim.clip is not None:
        return None
    (group,) = groups
    spec, state = group.spec, group.optimiser.state
    if not isinstance(spec, Adam):
        return None
    params = list(group.params.values())
    taken = [int(state[param]["step"]) if param in state else 0 for param in params]
    counts = torch.tensor(taken, dtype=torch.float32)
    count = counts.numpy()  # the same memory: all advance at once

    def moments(param: Tensor) -> tuple[Tensor, Tensor]:
        own = state[param]
        for name in ("exp_avg", "exp_avg_sq"):
            own.setdefault(name, torch.zeros_like(param, requires_grad=False))
        return own["exp_avg"], own["exp_avg_sq"]

    update = model.updates(batch_size, moments) if len(set(taken)) == 1 else None
    if update is None:
        return None
    for param, own in zip(params, counts, strict=True):
        state[param]["step"] = own

    def step(batch: Batch, number: int, rng: Stream) -> Loss:
        loss = update(batch, number, rng, adam_step(spec, int(count[0]) + 1, number))
        count[...] += 1
        return loss

    return step


def adam_step(spec: Adam, count: int, step: int) -> AdamStep:
    """The `count`-th of Adam's steps, at the learning rate of training step `step`."""
    rate = at(spec.lr, step)
    return AdamStep(
        rate=rate / (1 - spec.beta1**count),
        fresh=1 - spec.beta1,
        fresh2=1 - spec.beta2,
        root=(1 - spec.beta2**count) ** -0.5,
        eps=spec.eps,
        l2=0.0 if spec.decoupled else spec.weight_decay,
        keep=1 - rate * spec.weight_decay if spec.decoupled else 1.0,
    )
