"""FISTA as the code of Evtimova & LeCun (TMLR 2022) runs it, to reproduce its codes; not a solver to choose otherwise."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.solvers.energy import Energy
from sparsecode.specs import NonNegative, Spec

__all__ = ["OriginalFISTA"]


class OriginalState(NamedTuple):
    """Step size, extrapolated codes, the momentum's counter, and which rows still move (1) or have passed the test (0)."""

    eta: Float[Tensor, "b 1"]
    momentum_point: Float[Tensor, "b k"]
    t: Float[Tensor, "b 1"]
    active: Float[Tensor, "b 1"]


class OriginalFISTA(Spec, tag="original_fista"):
    """FISTA of a fixed step that stops a row once |z_k - z_{k-1}| / |z_{k-1}| < tau.

    A stopped row takes neither a gradient step nor a shrinkage, but still follows its momentum, and may start again:
    the test is made anew at every step. All rows stop together, when every one passes it; a row of zeros never does
    (0 / 0). tau = 0 takes all steps. A step that is short against 1 / L passes the test far from the optimum.
    """

    step_size: Annotated[float, Meta(gt=0, description="gradient step, in units of 1/2 |.|^2")]
    tau: NonNegative = 1e-3

    def init(self, energy: Energy, z: Tensor) -> OriginalState:  # noqa: ARG002 - the contract
        one = z.new_ones(len(z), 1)
        return OriginalState(self.step_size * one, z, one.double(), one)

    def step(self, energy: Energy, z: Tensor, state: OriginalState) -> tuple[Tensor, OriginalState]:
        step, y = state.active * self.step_size, state.momentum_point
        new = energy.prox(y - step * energy.grad(y), step)
        t = (1 + (1 + 4 * state.t * state.t) ** 0.5) / 2
        active = state.active
        if self.tau:
            change = torch.linalg.vector_norm(new - z, dim=1) / torch.linalg.vector_norm(z, dim=1)
            active = (~(change < self.tau)).to(z.dtype)[:, None]
        momentum = ((state.t - 1) / t).to(z.dtype)
        return new, OriginalState(state.eta, new + momentum * (new - z), t, active)

    def stopped(self, state: OriginalState) -> Tensor:
        """Which rows pass the test [B]: what the loop stops by in place of the gap."""
        return state.active[:, 0] == 0
