"""Sets that weights are moved back to after every optimiser step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.ops.norms import rescale_rows
from sparsecode.specs import Positive, Spec

__all__ = ["Constraint", "Free", "UnitNorm"]


class UnitNorm(Spec, tag="unit_norm"):
    """Every atom on the sphere of `radius` (a projection outside the optimiser: Adam's moments stay)."""

    radius: Positive = 1.0

    @torch.no_grad()
    def apply_(self, atoms: Float[Tensor, "k f"]) -> None:
        atoms.copy_(rescale_rows(atoms, self.radius))


class Free(Spec, tag="free"):
    """No constraint."""

    def apply_(self, atoms: Float[Tensor, "k f"]) -> None:  # noqa: ARG002 - the contract
        return None


Constraint = UnitNorm | Free
