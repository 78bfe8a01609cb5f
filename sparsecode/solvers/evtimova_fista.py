"""FISTA as implemented by Evtimova & LeCun (TMLR 2022), to reproduce its codes; not recommended otherwise."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.solvers.energy import Energy
from sparsecode.specs import NonNegative, Spec

__all__ = ["EvtimovaFISTA"]


class OriginalState(NamedTuple):
    """Step size, extrapolated codes, the momentum's counter, and whether a row is active (1) or has passed the test (0)."""

    eta: Float[Tensor, "b 1"]
    momentum_point: Float[Tensor, "b k"]
    t: Float[Tensor, "b 1"]
    active: Float[Tensor, "b 1"]


class EvtimovaFISTA(Spec, tag="original_fista"):
    """FISTA with a fixed step size that stops a row once |z_k - z_{k-1}| / |z_{k-1}| < tau.

    A stopped row gets neither a gradient step nor shrinkage, but still follows its momentum, and may restart: the test is
    repeated at every step. The loop ends when all rows pass it; a row of zeros never does (0 / 0). With tau = 0 all steps
    are done. With a step size far below 1 / L, rows pass the test far from the optimum.
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
        """Mask [B] of rows that pass the test, by which the loop stops instead of the gap."""
        return state.active[:, 0] == 0
