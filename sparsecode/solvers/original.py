"""FISTA as the code of Evtimova & LeCun (TMLR 2022) runs it, to reproduce its codes; not a solver to choose otherwise."""

from __future__ import annotations

from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor

from sparsecode.ops.collective import any_rank
from sparsecode.solvers.energy import Energy
from sparsecode.specs import NonNegative, Spec
from sparsecode.types import Solution

__all__ = ["OriginalFISTA"]


class OriginalFISTA(Spec, tag="original_fista"):
    """FISTA of a fixed step that stops a row once |z_k - z_{k-1}| / |z_{k-1}| < tau.

    A stopped row takes neither a gradient step nor a shrinkage, but still follows its momentum, and may start again:
    the test is made anew at every step. All rows stop together, when every one passes it; a row of zeros never does
    (0 / 0). tau = 0 takes all steps. A step that is short against 1 / L passes the test far from the optimum.
    """

    step_size: Annotated[float, Meta(gt=0, description="gradient step, in units of 1/2 |.|^2")]
    tau: NonNegative = 1e-3

    def complete(self, energy: Energy, z0: Tensor, *, max_steps: int, tol: float) -> Solution[Tensor]:
        """Codes of every row; `gap` is that of the energy, and `converged` whether it is at most `tol`."""
        z = y = z0
        t = 1.0
        active = z.new_ones(len(z), 1)
        taken = torch.zeros(len(z), dtype=torch.long, device=z.device)
        for _ in range(max_steps):
            step = active * self.step_size
            new = energy.prox(y - step * energy.grad(y), step)
            following = (1 + (1 + 4 * t * t) ** 0.5) / 2
            y = new + (t - 1) / following * (new - z)
            if self.tau:
                change = torch.linalg.vector_norm(new - z, dim=1) / torch.linalg.vector_norm(z, dim=1)
                active = (~(change < self.tau)).to(z.dtype)[:, None]
            z, t = new, following
            taken += active[:, 0].long()
            if not any_rank(bool(active.any()), z.device):
                break
        gap = energy.gap(z, z.new_full((len(z), 1), self.step_size))
        return Solution(z, energy.per_sample(z), gap, taken, gap <= tol)
