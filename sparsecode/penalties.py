"""Shapes of sparsity penalties: weightless functions of the code; the model holds the weight."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from sparsecode.ops.prox import soft_threshold
from sparsecode.specs import Spec

__all__ = ["L1", "HasDual", "Penalty"]


@runtime_checkable
class HasDual(Protocol):
    """A penalty with a closed-form dual, so that a duality gap can certify codes."""

    def dual_scale(self, corr: Tensor, weight: float) -> Tensor: ...


class L1(Spec, tag="l1"):
    """|z|_1 = sum_j |z_j|; with `positive`, codes are also held to z >= 0."""

    positive: bool = False

    def value(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b"]:
        """sum_j |z_j| per row; `positive` adds no value, its constraint lives in `prox`."""
        return z.abs().sum(dim=1)

    def prox(self, v: Float[Tensor, "b k"], t: float | Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
        """argmin_z 1/2 |z - v|^2 + t |z|_1."""
        return soft_threshold(v, t, positive=self.positive)

    def dual_scale(self, corr: Float[Tensor, "b k"], weight: float) -> Float[Tensor, "b"]:
        """The largest s >= 0 for which s * residual is dual feasible, given corr = residual @ D.T.

        Feasible means |s corr_j| <= weight for all j (s corr_j <= weight if `positive`).
        """
        largest = (corr if self.positive else corr.abs()).amax(dim=1)
        return weight / largest.clamp(min=0)  # infinite where no constraint binds


Penalty = L1
