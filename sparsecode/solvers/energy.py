"""What a solver minimises: one energy per sample (rows never see each other)."""

from __future__ import annotations

from copy import copy
from typing import Protocol, Self

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.ops.norms import largest_eigenvalue_bound
from sparsecode.penalties import Penalty

__all__ = ["Energy", "QuadraticEnergy"]


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
        """The same energy for some of its rows: a boolean mask [B] or indices."""
        ...


class QuadraticEnergy:
    """1/2 |x - z D|^2 + weight * penalty(z), solved by the Gram matrix: steps do not touch the data.

    `x` [B, f], atoms `D` [k, f], `gram` = D D^T [k, k]; `gram` and its eigenvalue `bound` may be given where many
    batches share one dictionary.
    """

    def __init__(
        self,
        x: Float[Tensor, "b f"],
        dictionary: Float[Tensor, "k f"],
        penalty: Penalty,
        weight: float,
        gram: Float[Tensor, "k k"] | None = None,
        bound: float | None = None,
    ) -> None:
        self.x, self.dictionary, self.penalty, self.weight = x, dictionary, penalty, weight
        self.gram = dictionary @ dictionary.T if gram is None else gram
        self.corr = x @ dictionary.T
        self.half_square = x.square().sum(dim=1) / 2
        self.scale = self.half_square  # what gaps are relative to: the data's part of the energy at z = 0
        self.target: Tensor | None = None
        self.stiffness = 0.0
        self._bound = bound

    def per_sample(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        """From the residual itself: sums of Gram products would cancel in float32."""
        energy = (self.x - z @ self.dictionary).square().sum(dim=1) / 2 + self.weight * self.penalty.value(z)
        if self.target is not None:
            energy += self.stiffness / 2 * (z - self.target).square().sum(dim=1)
        return energy

    def grad(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return torch.addmm(self.corr, z, self.gram, beta=-1)

    def prox(self, v: Float[Tensor, "b k"], step: Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
        return self.penalty.prox(v, step * self.weight)

    def lipschitz(self) -> float:
        if self._bound is None:
            self._bound = largest_eigenvalue_bound(self.gram)
        return self._bound

    def gap(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        """The duality gap divided by 1/2 |x|^2: an upper bound on the relative suboptimality of `z` in the domain.

        With residual r = x - z D, u = D r and s <= 1 the largest feasible scale, s r is a dual point, so
        gap = 1/2 |r|^2 + w p(z) - s x.r + s^2/2 |r|^2 + (w p)*(s u). In float32 it cannot be told from 0 below
        about 1e-6. Source: Massias et al., JMLR 2020, section 2.
        """
        u = torch.addmm(self.corr, z, self.gram, alpha=-1)
        explained = (z * self.corr).sum(dim=1)
        x_dot_r = 2 * self.half_square - explained
        r_dot_r = (x_dot_r - (z * u).sum(dim=1)).clamp(min=0)
        # s = 1 at the optimum. A larger one could only be had where r, and so s r, is little but rounding.
        s = self.penalty.dual_scale(u, self.weight).clamp(max=1)
        primal = r_dot_r / 2 + self.weight * self.penalty.value(z)
        gap = primal - s * x_dot_r + s.square() * r_dot_r / 2 + self.penalty.conjugate(s[:, None] * u, self.weight)
        return gap.clamp(min=0) / self.scale.clamp(min=torch.finfo(z.dtype).tiny)

    def pulled_to(self, target: Float[Tensor, "b k"], stiffness: float) -> QuadraticEnergy:
        """This energy plus stiffness / 2 |z - target|^2: quadratic again, so it keeps its certificate."""
        pulled = copy(self)
        pulled.gram = self.gram + stiffness * torch.eye(len(self.gram)).to(self.gram)
        pulled.corr = self.corr + stiffness * target
        pulled.half_square = self.half_square + stiffness / 2 * target.square().sum(dim=1)
        pulled.target, pulled.stiffness, pulled._bound = target, stiffness, None
        return pulled

    def rows(self, keep: Tensor) -> QuadraticEnergy:
        part = copy(self)
        part._bound = self.lipschitz()
        part.x, part.corr, part.half_square = self.x[keep], self.corr[keep], self.half_square[keep]
        part.scale = self.scale[keep]
        part.target = None if self.target is None else self.target[keep]
        return part
