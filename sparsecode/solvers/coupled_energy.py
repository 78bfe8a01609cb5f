"""Energies whose rows are coupled by a term that depends on the whole batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.ops.collective import mean_over_ranks
from sparsecode.solvers.decoder_energy import DecoderEnergy
from sparsecode.solvers.energy import ESTIMATED, Energy, QuadraticEnergy, kkt_residual, steps_of

if TYPE_CHECKING:
    from sparsecode.losses import BatchVariance  # all terms of training, which sparse codes need not

__all__ = ["CoupledEnergy", "curvature_along_gradient"]


class CoupledEnergy:
    """base(z) per row + the batch term divided by the number of rows, minimised jointly over all rows of all processes.

    Its `gap` is one number for every row, the root mean square of `kkt_residual` over the whole batch, and all rows
    stop at once; rows cannot leave the batch.
    """

    coupled = True

    def __init__(self, base: QuadraticEnergy | DecoderEnergy, term: BatchVariance) -> None:
        self.base, self.term = base, term
        self.weight, self.scale = base.weight, base.scale

    def per_sample(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return self.base.per_sample(z) + self.term.value(z)

    def smooth(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return self.base.smooth(z) + self.term.value(z)

    def smooth_and_grad(self, z: Float[Tensor, "b k"]) -> tuple[Float[Tensor, " b"], Float[Tensor, "b k"]]:
        smooth, grad = self.base.smooth_and_grad(z)
        share, term_grad = self.term.value_and_grad(z)
        return smooth + share, grad + term_grad

    def grad(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return self.base.grad(z) + self.term.value_and_grad(z)[1]

    def prox(self, v: Float[Tensor, "b k"], step: Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
        return self.base.prox(v, step)

    def lipschitz(self) -> float:
        return self.base.lipschitz() + self.term.curvature(len(self.scale))

    def gap(self, z: Float[Tensor, "b k"], eta: Float[Tensor, "b 1"] | None = None) -> Float[Tensor, " b"]:
        eta = steps_of(self, z, ESTIMATED) if eta is None else eta
        mean = mean_over_ranks(kkt_residual(self, z, eta).square().mean())
        return torch.sqrt(mean).repeat(len(z))

    def rows(self, keep: Tensor) -> Never:  # noqa: ARG002 - the contract
        raise TypeError("CoupledEnergy: rows cannot leave the batch that they are coupled by")


def curvature_along_gradient(energy: Energy, z: Float[Tensor, "b k"]) -> Float[Tensor, "b 1"]:
    """g.Hg / |g|^2 of the smooth part of each row, with its gradient g, plus the bound of a batch term on its own curvature.

    An estimate of the largest |eigenvalue| of the whole would be far too large: where the standard deviation s of a code is
    small, the term has a negative curvature of -weight (floor / s - 1).
    """
    base, term = (energy.base, energy.term.curvature(len(z))) if isinstance(energy, CoupledEnergy) else (energy, 0.0)
    g = base.grad(z)
    size = torch.linalg.vector_norm(g, dim=1, keepdim=True)
    unit = torch.where(size > 0, g / size, torch.zeros_like(g))
    if isinstance(base, DecoderEnergy) and (along := base.curvature_along(z, unit)) is not None:
        return along + term
    small = torch.finfo(z.dtype).eps ** 0.5 * 10 * (1 + torch.linalg.vector_norm(z, dim=1, keepdim=True))
    return (unit * (base.grad(z + small * unit) - g)).sum(dim=1, keepdim=True) / small + term
