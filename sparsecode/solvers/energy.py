"""What a solver minimises: one energy per sample (rows never see each other)."""

from __future__ import annotations

from typing import Protocol, Self

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.ops.norms import largest_eigenvalue_bound
from sparsecode.penalties import Penalty

__all__ = ["Energy", "QuadraticEnergy", "quadratic_energy"]


class Energy(Protocol):
    """smooth(z) + weight * penalty(z), row by row."""

    def per_sample(self, z: Tensor) -> Tensor:
        """The energy of each row [B]."""
        ...

    def grad(self, z: Tensor) -> Tensor:
        """The gradient of the smooth part [B, n_code]."""
        ...

    def prox(self, v: Tensor, step: Tensor) -> Tensor:
        """The proximal map of step * weight * penalty; `step` [B, 1]."""
        ...

    def lipschitz(self) -> float:
        """An upper bound on the Lipschitz constant of `grad`."""
        ...

    def gap(self, z: Tensor) -> Tensor:
        """A bound on each row's distance from its optimum, relative to the energy of z = 0 [B]."""
        ...

    def rows(self, keep: Tensor) -> Self:
        """The same energy for some of its rows (a boolean mask [B])."""
        ...


class QuadraticEnergy:
    """1/2 |x - z D|^2 + weight * penalty(z), from the Gram matrix: the data are not touched again.

    `gram` = D D^T [n_code, n_code], `corr` = x D^T [B, n_code], `half_square` = 1/2 |x|^2 [B].
    """

    def __init__(
        self,
        gram: Float[Tensor, "k k"],
        corr: Float[Tensor, "b k"],
        half_square: Float[Tensor, "b"],
        penalty: Penalty,
        weight: float,
        bound: float | None = None,
    ) -> None:
        self.gram, self.corr, self.half_square = gram, corr, half_square
        self.penalty, self.weight = penalty, weight
        self._bound = bound

    def per_sample(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b"]:
        smooth = self.half_square + (z * (z @ self.gram / 2 - self.corr)).sum(dim=1)
        return smooth.clamp(min=0) + self.weight * self.penalty.value(z)

    def grad(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return torch.addmm(self.corr, z, self.gram, beta=-1)

    def prox(self, v: Float[Tensor, "b k"], step: Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
        return self.penalty.prox(v, step * self.weight)

    def lipschitz(self) -> float:
        if self._bound is None:
            self._bound = largest_eigenvalue_bound(self.gram)
        return self._bound

    def gap(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b"]:
        """The duality gap divided by 1/2 |x|^2, an upper bound on the relative suboptimality of `z`.

        With residual r = x - z D, the dual point s r (s the best feasible multiple) has the value
        1/2 |x|^2 - 1/2 |x - s r|^2, so gap = 1/2 |r|^2 + weight * penalty(z) - s x.r + s^2/2 |r|^2.
        In float32 it cannot be told from 0 below about 1e-6. Source: Massias et al., JMLR 2020, section 2.
        """
        z_gram = z @ self.gram
        explained = (z * self.corr).sum(dim=1)
        x_dot_r = 2 * self.half_square - explained
        r_dot_r = (x_dot_r - explained + (z * z_gram).sum(dim=1)).clamp(min=0)
        largest = self.penalty.dual_scale(self.corr - z_gram, self.weight)
        tiny = torch.finfo(z.dtype).tiny
        scale = torch.minimum(largest, (x_dot_r / r_dot_r.clamp(min=tiny)).clamp(min=0))
        primal = r_dot_r / 2 + self.weight * self.penalty.value(z)
        gap = primal - scale * x_dot_r + scale.square() * r_dot_r / 2
        return gap.clamp(min=0) / self.half_square.clamp(min=tiny)

    def pulled_to(self, target: Float[Tensor, "b k"], stiffness: float) -> QuadraticEnergy:
        """This energy plus stiffness / 2 |z - target|^2: quadratic again, so it keeps its certificate."""
        return QuadraticEnergy(
            self.gram + stiffness * torch.eye(len(self.gram)).to(self.gram),
            self.corr + stiffness * target,
            self.half_square + stiffness / 2 * target.square().sum(dim=1),
            self.penalty,
            self.weight,
        )

    def rows(self, keep: Tensor) -> QuadraticEnergy:
        return QuadraticEnergy(
            self.gram, self.corr[keep], self.half_square[keep], self.penalty, self.weight, self.lipschitz()
        )


def quadratic_energy(
    x: Float[Tensor, "b f"],
    dictionary: Float[Tensor, "k f"],
    penalty: Penalty,
    weight: float,
    gram: Float[Tensor, "k k"] | None = None,
    bound: float | None = None,
) -> QuadraticEnergy:
    """1/2 |x - z D|^2 + weight * penalty(z) for rows x and atoms in the rows of D.

    `gram` and its eigenvalue `bound` may be given where many batches share one dictionary.
    """
    gram = dictionary @ dictionary.T if gram is None else gram
    return QuadraticEnergy(gram, x @ dictionary.T, x.square().sum(dim=1) / 2, penalty, weight, bound)
