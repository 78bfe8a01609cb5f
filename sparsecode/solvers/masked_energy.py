"""The quadratic energy of samples with missing entries."""

from __future__ import annotations

from typing import Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sparsecode.penalties import Convex, Proximal
from sparsecode.solvers.energy import QuadraticEnergy, duality_gap, rounded_up

__all__ = ["MaskedEnergy"]


class MaskedEnergy(QuadraticEnergy):
    """1/2 |m (x - z D)|^2 + weight * penalty(z), m [B, f] True where x is observed; x is 0 elsewhere.

    Row by row it is the quadratic energy of the observed columns. Everything is computed from the residual, for a row's Gram
    matrix D diag(m) D^T would be its alone. That of all columns, `gram`, bounds the curvature: D diag(m) D^T <= D D^T.
    """

    def __init__(
        self,
        x: Float[Tensor, "b f"],
        dictionary: Float[Tensor, "k f"],
        penalty: Proximal,
        weight: float,
        mask: Bool[Tensor, "b f"],
        gram: Float[Tensor, "k k"] | None = None,
        bound: float | None = None,
    ) -> None:
        super().__init__(x, dictionary, penalty, weight, gram, bound)
        self.mask = mask

    @classmethod
    def of(cls, energy: QuadraticEnergy, rows: Tensor, mask: Bool[Tensor, "b f"]) -> MaskedEnergy:
        """That of some rows of `energy`, whose x is 0 where `mask` is not."""
        x = energy.x[rows]
        return cls(x, energy.dictionary, energy.penalty, energy.weight, mask, energy.gram, energy._bound)

    def residual(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b f"]:
        """m (x - z D)."""
        return torch.addmm(self.x, z, self.dictionary, alpha=-1).mul_(self.mask)

    def smooth(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return self.residual(z).square().sum(dim=1) / 2

    def grad(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return -(self.residual(z) @ self.dictionary.T)

    def smooth_and_grad(self, z: Float[Tensor, "b k"]) -> tuple[Float[Tensor, " b"], Float[Tensor, "b k"]]:
        r = self.residual(z)
        return r.square().sum(dim=1) / 2, -(r @ self.dictionary.T)

    def wide(self) -> MaskedEnergy:
        device = "cpu" if self.x.device.type == "mps" else self.x.device
        x, atoms = (part.to(device, torch.float64) for part in (self.x, self.dictionary))
        return MaskedEnergy(x, atoms, self.penalty, self.weight, self.mask.to(device))

    def proven_gap(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        if not isinstance(self.penalty, Convex) or z.dtype == torch.float64:
            return self.gap(z)
        wide = self.wide()
        gap = rounded_up(wide._duality_gap(z.to(wide.x), self.penalty), z)
        faint = self.half_square < torch.finfo(z.dtype).tiny / torch.finfo(z.dtype).eps
        return torch.where(faint, self.gap(z), gap) if bool(faint.any()) else gap

    def _duality_gap(self, z: Float[Tensor, "b k"], penalty: Convex) -> Float[Tensor, " b"]:
        r = self.residual(z)
        x_dot_r, r_dot_r = (self.x * r).sum(dim=1), r.square().sum(dim=1)
        u = r @ self.dictionary.T
        return duality_gap(z, u, x_dot_r, r_dot_r, self.half_square, penalty, self.bounded_weight, self.scale)

    def in_units(
        self, x: Float[Tensor, "b f"], dictionary: Float[Tensor, "k f"], penalty: Proximal, weight: float, gram: Tensor
    ) -> MaskedEnergy:
        return MaskedEnergy(x, dictionary, penalty, weight, self.mask, gram)

    def pulled_to(self, target: Float[Tensor, "b k"], stiffness: float) -> QuadraticEnergy:
        raise NotImplementedError("a masked energy has no pull to a target")

    def rows(self, keep: Tensor) -> Self:
        part = super().rows(keep)
        part.mask = self.mask[keep]
        return part
