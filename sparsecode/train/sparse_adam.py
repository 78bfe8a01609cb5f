"""Adam that does not update units without a gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sparsecode.train.uncompiled import Uncompiled

__all__ = ["SparseAdamOptimiser"]


class SparseAdamOptimiser(Uncompiled):
    """Adam on the rows whose gradient is not all 0; the others keep weights, moments and step counts.

    A row is an entry along the first dimension: a unit's weights, or its bias. Dense Adam changes silent units by their old
    momentum. Each row corrects its bias by its own count of steps. For values, whose units are rows too.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - no closures here
        del closure
        for settings in self.param_groups:
            for param in settings["params"]:
                if param.grad is not None:
                    self._step(param, param.grad, settings)

    def _step(self, param: Tensor, grad: Tensor, settings: dict[str, Any]) -> None:
        state = self.state[param]
        if not state:
            state["steps"] = torch.zeros(param.shape[:1], dtype=torch.float32, device=param.device)
            state["mean"], state["square"] = torch.zeros_like(param), torch.zeros_like(param)
        rows = grad.flatten(1).any(dim=1) if grad.ndim > 1 else grad.bool()
        (beta1, beta2), shape = settings["betas"], (-1, *[1] * (grad.ndim - 1))
        seen = rows.reshape(shape)
        state["steps"] += rows
        count = state["steps"].clamp(min=1).reshape(shape)
        state["mean"].copy_(torch.where(seen, state["mean"].lerp(grad, 1 - beta1), state["mean"]))
        state["square"].copy_(torch.where(seen, state["square"].lerp(grad.square(), 1 - beta2), state["square"]))
        mean, square = state["mean"] / (1 - beta1**count), state["square"] / (1 - beta2**count)
        param.sub_(torch.where(seen, settings["lr"] * mean / (square.sqrt() + settings["eps"]), 0.0))
