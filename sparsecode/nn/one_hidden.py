"""Products with the Jacobian of a decoder with one hidden layer, and its squared error as a function of the weights."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["OneHiddenPullback"]


class HasLayers(Protocol):
    """The weights of relu(z H + b) O."""

    hidden: Any
    bias: Any
    out: Any


class OneHiddenPullback:
    """r -> ((r O^T) * (z H + b > 0)) H^T at codes z, whose hidden activations `active` = relu(z H + b) are known."""

    def __init__(self, layers: HasLayers, z: Float[Tensor, "b k"], active: Float[Tensor, "b h"]) -> None:
        self.layers, self.z, self.active = layers, z, active
        self._latest: tuple[Tensor, Tensor] | None = None

    def __call__(self, r: Float[Tensor, "b f"]) -> Float[Tensor, "b k"]:
        return self.of_hidden(r) @ self.layers.hidden.detach().T

    @torch.no_grad()
    def forward(self, u: Float[Tensor, "b k"]) -> Float[Tensor, "b f"]:
        """J(z) u, row by row: ((u H) * (z H + b > 0)) O."""
        return torch.ops.aten.threshold_backward(u @ self.layers.hidden, self.active, 0) @ self.layers.out

    @torch.no_grad()
    def of_hidden(self, r: Float[Tensor, "b f"]) -> Float[Tensor, "b h"]:
        """(r O^T) * (z H + b > 0), remembered for the latest r."""
        if self._latest is None or self._latest[0] is not r:
            # the gradient of relu, in one pass
            masked = torch.ops.aten.threshold_backward(r @ self.layers.out.detach().T, self.active, 0)
            self._latest = r, masked
        return self._latest[1]

    def squared_error(self, r: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
        """|r|^2 of the residual r = decode(z) - x, with gradients with respect to H, b and O, for which decode(z) is not computed again."""
        return _SquaredError.apply(self.layers.hidden, self.layers.bias, self.layers.out, self, r)  # type: ignore[no-any-return]


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, bias: Tensor, out: Tensor, at: OneHiddenPullback, r: Tensor) -> Tensor:  # noqa: ARG004 - they have gradients
        ctx.at, ctx.r = at, r
        return r.square().sum(dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        at, r, twice = ctx.at, ctx.r, 2 * grads[0][:, None]
        of_hidden = twice * at.of_hidden(r)
        wanted = ctx.needs_input_grad
        return (
            at.z.T @ of_hidden if wanted[0] else None,
            of_hidden.sum(dim=0) if wanted[1] else None,
            at.active.T @ (twice * r) if wanted[2] else None,
            None,
            None,
        )
