"""Shapes of sparsity penalties: weightless functions of the code; the model holds the weight.

The contract of a penalty p, used with a weight w and a quadratic or other smooth part:

- `value(z)` [B]: p(z), where z is in its domain;
- `prox(v, t)`: argmin_z 1/2 |z - v|^2 + t p(z); with t = 0 the projection to the domain;
- `dual_scale(u, w)` [B]: the largest s >= 0 for which (w p)*(s u) is finite;
- `conjugate(u, w)` [B]: (w p)*(u) = sup_z u.z - w p(z), for u within that scale;
- `positive`: whether codes are held to z >= 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.ops.prox import soft_threshold
from sparsecode.specs import NonNegative, Spec

__all__ = ["L1", "ElasticNet", "Penalty"]


class L1(Spec, tag="l1"):
    """|z|_1 = sum_j |z_j|; with `positive`, codes are also held to z >= 0."""

    positive: bool = False

    def value(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return z.abs().sum(dim=1)

    def prox(self, v: Float[Tensor, "b k"], t: float | Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
        return soft_threshold(v, t, positive=self.positive)

    def dual_scale(self, u: Float[Tensor, "b k"], weight: float) -> Float[Tensor, " b"]:
        """Finite means |s u_j| <= weight for all j (s u_j <= weight if `positive`)."""
        largest = (u if self.positive else u.abs()).amax(dim=1)
        return weight / largest.clamp(min=0)  # infinite where no constraint binds

    def conjugate(self, u: Float[Tensor, "b k"], weight: float) -> Float[Tensor, " b"]:  # noqa: ARG002 - the contract
        return u.new_zeros(len(u))


class ElasticNet(Spec, tag="elastic_net"):
    """|z|_1 + ratio / 2 |z|^2, over z >= 0 if `positive`. Source: Zou & Hastie, JRSS B 2005."""

    ratio: NonNegative = 1.0
    positive: bool = False

    def value(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return z.abs().sum(dim=1) + self.ratio / 2 * z.square().sum(dim=1)

    def prox(self, v: Float[Tensor, "b k"], t: float | Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
        return soft_threshold(v, t, positive=self.positive) / (1 + t * self.ratio)

    def dual_scale(self, u: Float[Tensor, "b k"], weight: float) -> Float[Tensor, " b"]:
        """Without bound for ratio > 0: the squared part makes the conjugate finite everywhere."""
        if self.ratio == 0:
            return L1(self.positive).dual_scale(u, weight)
        return torch.full_like(u[:, 0], torch.inf)

    def conjugate(self, u: Float[Tensor, "b k"], weight: float) -> Float[Tensor, " b"]:
        """sum_j max(|u_j| - w, 0)^2 / (2 w ratio); u_j for |u_j| if `positive`."""
        if self.ratio == 0:
            return u.new_zeros(len(u))
        excess = (u if self.positive else u.abs()).sub(weight).clamp(min=0)
        return excess.square().sum(dim=1) / (2 * weight * self.ratio)


Penalty = L1 | ElasticNet
