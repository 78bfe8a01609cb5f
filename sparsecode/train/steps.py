"""Training steps of a single model: by autograd, or in one fused pass where model and optimiser allow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.bound_updates import Update, bound_updates
from sparsecode.ops.rng import Stream
from sparsecode.records import Batch, Loss
from sparsecode.train.adam_state import AdamState
from sparsecode.train.optim import Clip, Optim, OptimiserGroup, clip_, set_rates
from sparsecode.train.session import Objective, Steps, TrainingSession

__all__ = ["AutogradSteps", "FusedSteps", "fuse", "steps_for", "update_weights"]

FUSED = (bound_updates,)  # each returns the update for models it supports, None for others


class AutogradSteps:
    """The gradients of autograd and the steps of the optimisers of `groups`."""

    def __init__(
        self,
        model: AbstractSparseModel,
        groups: Sequence[OptimiserGroup],
        clip: Clip | None,
        objective: Objective | None = None,
        backward: Callable[[Tensor], object] = torch.Tensor.backward,
    ) -> None:
        self._model, self._groups, self._clip = model, groups, clip
        self._objective, self._backward = objective or model.loss, backward

    def loss(self, batch: Batch, step: int, rng: Stream, watched: bool = True) -> Loss:  # noqa: ARG002 - `Steps`
        return self._objective(batch, step, rng)

    def update(self, loss: Loss, step: int) -> None:
        for group in self._groups:
            for param in group.params.values():
                param.grad = None
        if loss.total.requires_grad:
            self._backward(loss.total)
        update_weights(self._model, self._groups, self._clip, step)


def update_weights(
    model: AbstractSparseModel,
    groups: Sequence[OptimiserGroup],
    clip: Clip | None,
    step: int,
    optimise: Callable[[int], None] | None = None,
) -> None:
    """Update weights from gradients; `optimise` clips and steps instead of the optimisers, if given."""
    set_rates(groups, step)
    model.project_grads_()
    if optimise is not None:
        optimise(step)
    else:
        clip_(groups, clip)
        for group in groups:
            group.optimiser.step()
    model.constrain_()


class FusedSteps:
    """Steps from a batch to new weights in one pass, using the state of the `torch.optim.Adam` that they replace.

    Only roundings differ. A loss that is not finite changes no weight.
    """

    def __init__(self, update: Update, adam: AdamState) -> None:
        self._update, self._adam = update, adam

    def loss(self, batch: Batch, step: int, rng: Stream, watched: bool) -> Loss:  # noqa: ARG002 - `Steps`
        loss = self._update(batch, step, rng, self._adam.ahead(step))
        self._adam.advance()
        return loss

    def update(self, loss: Loss, step: int) -> None:
        """Nothing: `loss` has updated the weights."""


def fuse(
    model: AbstractSparseModel, optim: Optim, groups: Sequence[OptimiserGroup], batch_size: int
) -> FusedSteps | None:
    """Fused steps of a model for batches of this size and its optimisers `groups`; None if not supported.

    Supported is one group of Adam without clipping.
    """
    adam = AdamState.of(groups[0]) if len(groups) == 1 and optim.clip is None else None
    if adam is None:
        return None
    updates = (made(model, batch_size, adam.moments) for made in FUSED)
    return next((FusedSteps(update, adam) for update in updates if update is not None), None)


def steps_for(session: TrainingSession) -> Steps:
    """The fastest kind of steps for the model of a session."""
    fused = None
    if session.world == 1:
        fused = fuse(session.model, session.optim, session.groups, session.train.batch_size)
    return fused or AutogradSteps(
        session.model, session.groups, session.optim.clip, session.objective, session.backward
    )
