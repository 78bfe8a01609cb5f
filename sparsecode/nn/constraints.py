"""Constraint sets to which weights are projected after every optimiser step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.leaves import opened
from sparsecode.specs import Positive, Spec

__all__ = ["Bounded", "Constraint", "ConstraintLike", "Free", "UnitBall", "UnitNorm"]


@runtime_checkable
class ConstraintLike(Protocol):
    """The protocol of constraints: `apply_` projects weights [k, f] onto the set, row by row, in place."""

    def apply_(self, atoms: Tensor) -> None: ...


class UnitNorm(Spec, tag="unit_norm"):
    """Every atom on the sphere of `radius` (a projection outside the optimiser: Adam's moments stay).

    With `positive`, on its part without negative entries. Atoms of zeros, and those without a positive entry, are zero.
    """

    radius: Positive = 1.0
    positive: bool = False

    def norms(self) -> tuple[float, float]:
        """The least and the greatest norm allowed."""
        return self.radius, self.radius

    @torch.no_grad()
    def apply_(self, atoms: Float[Tensor, "k f"]) -> None:
        _project_(atoms, self)


class UnitBall(Spec, tag="unit_ball"):
    """Every atom within the ball of `radius`; with `positive`, also without negative entries.

    Source: the constraint set of Mairal et al., JMLR 2010, section 2, and its positive part, section 5.3.
    """

    radius: Positive = 1.0
    positive: bool = False

    def norms(self) -> tuple[float, float]:
        """The least and the greatest norm allowed."""
        return 0.0, self.radius

    @torch.no_grad()
    def apply_(self, atoms: Float[Tensor, "k f"]) -> None:
        _project_(atoms, self)


class Free(Spec, tag="free"):
    """No constraint."""

    def apply_(self, atoms: Float[Tensor, "k f"]) -> None:  # noqa: ARG002 - the contract
        return None


Bounded = UnitNorm | UnitBall  # a penalty on codes needs atoms that cannot grow
Known = UnitNorm | UnitBall | Free
if TYPE_CHECKING:
    Constraint = Known | ConstraintLike
else:
    Constraint = opened(Known, ConstraintLike)


def _project_(atoms: Tensor, constraint: Bounded) -> None:
    if constraint.positive:
        atoms.clamp_(min=0)
    norms = torch.linalg.vector_norm(atoms, dim=1, keepdim=True)
    least, greatest = constraint.norms()
    atoms.mul_((norms.clamp(least, greatest) / norms).masked_fill(norms == 0, 0.0))
