"""Coordinate descent: the fastest solver of quadratic energies with an L1 or elastic net penalty on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsecode.penalties import L1, ElasticNet
from sparsecode.records import Solution
from sparsecode.solvers.energy import Energy, QuadraticEnergy, rounded_up
from sparsecode.solvers.masked_energy import MaskedEnergy
from sparsecode.specs import Spec

__all__ = ["CoordinateDescent"]


class CoordinateDescent(Spec, tag="coordinate_descent"):
    """Cyclic coordinate descent with residual correlations q = c - G z kept up to date.

    z_j <- S(q_j + G_jj z_j, weight) / (G_jj + weight ratio), S the (non-negative) soft threshold, ratio 0 for L1, over
    the j that are active or violate their optimality condition; that list is rebuilt every two sweeps. The first
    sweeps process large |q_j| first; later steps are over-relaxed by a factor of 1.4, which still lowers the energy. Compiled, samples
    spread over torch's number of threads. A step is a sweep. Source: Friedman, Hastie & Tibshirani, J. Stat. Software
    2010.
    """

    @staticmethod
    def fits(energy: Energy, device: torch.device) -> bool:
        """Whether it can descend `energy` on `device`."""
        quadratic = isinstance(energy, QuadraticEnergy)
        return quadratic and isinstance(energy.penalty, L1 | ElasticNet) and device.type == "cpu"

    def complete(self, energy: Energy, z0: Tensor, *, max_steps: int, tol: float) -> Solution[Tensor]:
        """Codes of every row. Raises TypeError for other energies and ValueError off the CPU."""
        if not isinstance(energy, QuadraticEnergy) or not isinstance(energy.penalty, L1 | ElasticNet):
            raise TypeError(
                "CoordinateDescent needs a quadratic energy with an L1 or elastic net penalty; use FISTA for others"
            )
        if z0.device.type != "cpu":
            raise ValueError(f"CoordinateDescent runs on the CPU and the data are on {z0.device}; use FISTA there")
        z = z0.detach().clone(memory_format=torch.contiguous_format)
        if isinstance(energy, MaskedEnergy):
            return _masked(energy, energy.penalty, z, max_steps, tol)
        from sparsecode.kernels.coordinate import coordinate_descent  # numba is slow to import

        parts = (energy.gram, energy.corr, energy.half_square, energy.scale, energy.x, energy.dictionary, z)
        penalty = energy.penalty
        objectives, gaps, sweeps = coordinate_descent(
            *(part.detach().contiguous().numpy() for part in parts),
            weight=energy.bounded_weight,
            ridge=energy.bounded_weight * penalty.ratio if isinstance(penalty, ElasticNet) else 0.0,
            positive=penalty.positive,
            tol=tol,
            max_sweeps=max_steps,
            threads=torch.get_num_threads(),
            target=None if energy.target is None else energy.target.detach().contiguous().numpy(),
            stiffness=energy.stiffness,
        )
        objective, gap = torch.from_numpy(objectives), rounded_up(torch.from_numpy(gaps), z)
        if energy.target is not None:
            objective += energy.stiffness / 2 * (z - energy.target).square().sum(dim=1)
        return Solution(z, objective, gap, torch.from_numpy(sweeps), gap.double() <= tol)


def _masked(energy: MaskedEnergy, penalty: L1 | ElasticNet, z: Tensor, max_steps: int, tol: float) -> Solution[Tensor]:
    from sparsecode.kernels.masked import masked_coordinate_descent  # numba is slow to import

    parts = (energy.x, energy.mask, energy.dictionary, z)
    objectives, gaps, sweeps = masked_coordinate_descent(
        *(part.detach().contiguous().numpy() for part in parts),
        weight=energy.bounded_weight,
        ridge=energy.bounded_weight * penalty.ratio if isinstance(penalty, ElasticNet) else 0.0,
        positive=penalty.positive,
        tol=tol,
        max_sweeps=max_steps,
        threads=torch.get_num_threads(),
    )
    gap = rounded_up(torch.from_numpy(gaps), z)
    return Solution(z, torch.from_numpy(objectives), gap, torch.from_numpy(sweeps), gap.double() <= tol)
