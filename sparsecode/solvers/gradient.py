"""Proximal gradient algorithms, as init and step; the loop is in `solve.py`."""

from __future__ import annotations

from typing import Annotated, NamedTuple, Protocol, TypeVar

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.solvers.energy import Energy
from sparsecode.specs import Spec

__all__ = ["FISTA", "ISTA", "Algorithm"]

StepSize = Annotated[float, Meta(gt=0, description="gradient step; default 1 / Lipschitz bound, always safe")]


State = TypeVar("State", bound=tuple[Tensor, ...])


class Algorithm(Protocol[State]):
    """A solver's two halves. The state is a named tuple of tensors with one row per sample."""

    def init(self, energy: Energy, z: Tensor) -> State: ...

    def step(self, energy: Energy, z: Tensor, state: State) -> tuple[Tensor, State]: ...


class IstaState(NamedTuple):
    """Step size per row."""

    eta: Float[Tensor, "b 1"]


class FistaState(NamedTuple):
    """Step size, extrapolated codes, and the momentum's counter."""

    eta: Float[Tensor, "b 1"]
    momentum_point: Float[Tensor, "b k"]
    t: Float[Tensor, "b 1"]


def _eta(energy: Energy, z: Tensor, step_size: float | None) -> Tensor:
    bound = energy.lipschitz()
    return z.new_full((len(z), 1), step_size or (1 / bound if bound > 0 else 1.0))


class ISTA(Spec, tag="ista"):
    """Proximal gradient descent: z <- prox_eta(z - eta grad(z)).

    The energy falls at every step if eta <= 1/L, with an O(1/k) bound.
    Source: Daubechies, Defrise & De Mol, CPAM 2004.
    """

    step_size: StepSize | None = None

    def init(self, energy: Energy, z: Tensor) -> IstaState:
        return IstaState(_eta(energy, z, self.step_size))

    def step(self, energy: Energy, z: Tensor, state: IstaState) -> tuple[Tensor, IstaState]:
        return energy.prox(z - state.eta * energy.grad(z), state.eta), state


class FISTA(Spec, tag="fista"):
    """Accelerated proximal gradient descent.

    z_k = prox_eta(y_k - eta grad(y_k)); t_{k+1} = (1 + sqrt(1 + 4 t_k^2)) / 2;
    y_{k+1} = z_k + (t_k - 1) / t_{k+1} (z_k - z_{k-1}). Energy within 2 L |z_0 - z*|^2 / (k + 1)^2 of the
    optimum for eta = 1/L. Source: Beck & Teboulle, SIAM J. Imaging Sciences 2009, theorem 4.4.
    """

    step_size: StepSize | None = None

    def init(self, energy: Energy, z: Tensor) -> FistaState:
        return FistaState(_eta(energy, z, self.step_size), z, z.new_ones(len(z), 1))

    def step(self, energy: Energy, z: Tensor, state: FistaState) -> tuple[Tensor, FistaState]:
        y, eta = state.momentum_point, state.eta
        new = energy.prox(y - eta * energy.grad(y), eta)
        t = (1 + torch.sqrt(1 + 4 * state.t.square())) / 2
        return new, FistaState(eta, new + (state.t - 1) / t * (new - z), t)
