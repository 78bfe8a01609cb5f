"""Adam steps computed outside `torch.optim.Adam`: its state, its coefficients, and a compiled pass over each array."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsecode.records import AdamStep
from sparsecode.schedules import at
from sparsecode.train.optim import Adam, Clip, OptimiserGroup

__all__ = ["AdamState", "clipped_adam"]

MARGIN = 1e-6  # torch.nn.utils.clip_grad_norm_ adds it to norms; the same is done here


class AdamState:
    """The state of a group's `torch.optim.Adam`, for steps computed elsewhere."""

    def __init__(
        self, spec: Adam, state: dict[Tensor, dict[str, Any]], params: Sequence[Tensor], steps_taken: int
    ) -> None:
        self._spec, self._state = spec, state
        counts = torch.full((len(params),), steps_taken, dtype=torch.float32)
        self._counts = dict(zip(params, counts, strict=True))
        self._count = counts.numpy()  # shared memory: all counts advance together

    @classmethod
    def of(cls, group: OptimiserGroup) -> AdamState | None:
        """The state; None for another optimiser, and for parameters with different numbers of steps."""
        state, params = group.optimiser.state, list(group.params.values())
        steps_taken = {int(state[param]["step"]) if param in state else 0 for param in params}
        return (
            cls(group.spec, state, params, steps_taken.pop())
            if isinstance(group.spec, Adam) and len(steps_taken) == 1
            else None
        )

    def moments(self, param: Tensor) -> tuple[Tensor, Tensor]:
        """Running means of a parameter's gradient and squared gradient; its steps are counted here from now on."""
        entry = self._state[param]
        entry["step"] = self._counts[param]
        for name in ("exp_avg", "exp_avg_sq"):
            entry.setdefault(name, torch.zeros_like(param, requires_grad=False))
        return entry["exp_avg"], entry["exp_avg_sq"]

    def ahead(self, step: int, scale: float = 1.0) -> AdamStep:
        """The coefficients of the next step, at the learning rate of training step `step`, for gradients times `scale`."""
        spec, count, rate = self._spec, int(self._count[0]) + 1, at(self._spec.lr, step)
        return AdamStep(
            rate=rate / (1 - spec.beta1**count),
            fresh=1 - spec.beta1,
            fresh2=1 - spec.beta2,
            root=(1 - spec.beta2**count) ** -0.5,
            eps=spec.eps,
            l2=0.0 if spec.decoupled else spec.weight_decay,
            keep=1 - rate * spec.weight_decay if spec.decoupled else 1.0,
            scale=scale,
        )

    def advance(self) -> None:
        """Count a step."""
        self._count[...] += 1


def clipped_adam(groups: Sequence[OptimiserGroup], clip: Clip | None) -> Callable[[int], None] | None:
    """Gradient clipping and Adam steps of a training step, for gradients that stay at the same addresses.

    `clip_` and `torch.optim.Adam.step` in fewer passes and calls; only roundings differ. None if there is a parameter that is
    not float32 on the CPU, lies in pieces or has no gradient yet, or another optimiser.
    """
    given = [param for group in groups for param in group.params.values()]
    plain = all(p.device.type == "cpu" and p.dtype == torch.float32 and p.is_contiguous() for p in given)
    if not plain or any(p.grad is None or not p.grad.is_contiguous() for p in given):
        return None
    states = [state for group in groups if (state := AdamState.of(group)) is not None]
    if len(states) < len(groups):
        return None
    from sparsecode.kernels.adam import adam, squares  # numba is slow to import

    def flat(tensor: Tensor | None) -> Any:
        assert tensor is not None
        return tensor.detach().view(-1).numpy()

    arrays = [
        [tuple(map(flat, (p, p.grad, *state.moments(p)))) for p in group.params.values()]
        for group, state in zip(groups, states, strict=True)
    ]

    def step(number: int) -> None:
        scales = [1.0] * len(groups)
        if clip is not None:
            sizes = [sum(squares(grad) for _, grad, _, _ in parts) for parts in arrays]
            if not clip.per_group:
                sizes = [sum(sizes)] * len(sizes)
            scales = [min(1.0, clip.norm / (math.sqrt(size) + MARGIN)) for size in sizes]
        for state, parts, scale in zip(states, arrays, scales, strict=True):
            numbers = np.array(state.ahead(number, scale), np.float32)
            for w, grad, first, second in parts:
                adam(w, grad, first, second, numbers)
            state.advance()

    return step
