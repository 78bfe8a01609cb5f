"""Proximal gradient algorithms, each as `init` and `step`; the loop is in `loop.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.ops.collective import mean_over_ranks, world_size
from sparsecode.solvers.coupled_energy import curvature_along_gradient
from sparsecode.solvers.energy import Energy, steps_of
from sparsecode.specs import Spec

__all__ = ["FISTA", "ISTA", "AdamDescent", "Algorithm", "Stops"]

StepSize = Annotated[
    Annotated[float, Meta(gt=0)] | Literal["power_iteration", "backtracking"] | None,
    Meta(
        description="a number; power_iteration: 1 / an estimate of the curvature at the start, per row; backtracking: 1 / "
        "the curvature along the first gradient, shortened where the energy would rise above its quadratic model; default 1 / Lipschitz bound, always safe"
    ),
]
ITERATIONS = 10  # of the power iteration before the first step
TRIALS = 60  # of shorter steps, each by a factor between these
SMALLEST, LARGEST = 1.25, 100.0


State = TypeVar("State", bound=tuple[Tensor, ...])


class Algorithm(Protocol[State]):
    """The protocol of solvers: `init` and `step`. The state is a named tuple of tensors with one row per sample."""

    def init(self, energy: Energy, z: Tensor) -> State:
        """The first field is the step per row, `eta` [B, 1]."""
        ...

    def step(self, energy: Energy, z: Tensor, state: State) -> tuple[Tensor, State]: ...


@runtime_checkable
class Stops(Protocol):
    """An algorithm with its own stopping rule, evaluated after every step; the loop ends when all rows have stopped."""

    def stopped(self, state: Any) -> Tensor:
        """Mask [B] of rows that have stopped."""
        ...


class IstaState(NamedTuple):
    """Step size per row."""

    eta: Float[Tensor, "b 1"]


class FistaState(NamedTuple):
    """Step size, extrapolated codes, and the momentum's counter."""

    eta: Float[Tensor, "b 1"]
    momentum_point: Float[Tensor, "b k"]
    t: Float[Tensor, "b 1"]


def _eta(energy: Energy, z: Tensor, step_size: float | str | None) -> Tensor:
    if step_size == "backtracking":
        curvature = curvature_along_gradient(energy, z)
        return torch.where(curvature > 0, 1 / curvature, torch.ones_like(curvature))
    if isinstance(step_size, str):
        return steps_of(energy, z, ITERATIONS)
    return z.new_full((len(z), 1), step_size or 1 / (energy.lipschitz() or 1.0))


def _proximal_step(energy: Energy, y: Tensor, eta: Tensor, backtracking: bool) -> tuple[Tensor, Tensor]:
    """prox_eta(y - eta grad(y)), and the step size eta that was accepted.

    With backtracking: smooth(new) <= smooth(y) + grad.(new - y) + |new - y|^2 / (2 eta), per row, or for all rows
    together if they are coupled (Beck & Teboulle 2009, section 4).
    """
    if not backtracking:
        return energy.prox(y - eta * energy.grad(y), eta), eta
    smooth, grad = energy.smooth_and_grad(y)
    rounding = 10 * torch.finfo(y.dtype).eps * (smooth.abs() + energy.scale)
    new = energy.prox(y - eta * grad, eta)
    for _ in range(TRIALS):
        move = new - y
        above = energy.smooth(new) - smooth - (grad * move).sum(dim=1)  # the tangent
        model = move.square().sum(dim=1) / (2 * eta[:, 0])
        if energy.coupled:
            above, model, rounding = (mean_over_ranks(part.mean()).expand(len(y)) for part in (above, model, rounding))
        rises = above > model + rounding  # false for NaN, which no shorter step can repair
        if not bool(rises.any()):
            break
        factor = (above / model).clamp(SMALLEST, LARGEST)  # the first: the step fits the curvature along the move
        eta = torch.where(rises[:, None], eta / factor[:, None], eta)
        new = energy.prox(y - eta * grad, eta)
    return new, eta


class ISTA(Spec, tag="ista"):
    """Proximal gradient descent: z <- prox_eta(z - eta grad(z)).

    The energy falls at every step if eta <= 1/L, with an O(1/k) bound.
    Source: Daubechies, Defrise & De Mol, CPAM 2004.
    """

    step_size: StepSize = None

    def init(self, energy: Energy, z: Tensor) -> IstaState:
        return IstaState(_eta(energy, z, self.step_size))

    def step(self, energy: Energy, z: Tensor, state: IstaState) -> tuple[Tensor, IstaState]:
        new, eta = _proximal_step(energy, z, state.eta, self.step_size == "backtracking")
        return new, IstaState(eta)


class FISTA(Spec, tag="fista"):
    """Accelerated proximal gradient descent.

    z_k = prox_eta(y_k - eta grad(y_k)); t_{k+1} = (1 + sqrt(1 + 4 t_k^2)) / 2;
    y_{k+1} = z_k + (t_k - 1) / t_{k+1} (z_k - z_{k-1}). Energy within 2 L |z_0 - z*|^2 / (k + 1)^2 of the
    optimum for eta = 1/L. With `restart`, t is set back to 1 in rows where (y_k - z_k) . (z_k - z_{k-1}) > 0 (of all
    rows together, if they are coupled), that is, where the momentum points uphill.
    Source: Beck & Teboulle, SIAM J. Imaging Sciences 2009, theorem 4.4; restart: O'Donoghue & Candes, Found. Comput.
    Math. 2015, section 3.2.
    """

    step_size: StepSize = None
    restart: Annotated[bool, Meta(description="drop the momentum where it points uphill")] = False

    def init(self, energy: Energy, z: Tensor) -> FistaState:
        return FistaState(_eta(energy, z, self.step_size), z, z.new_ones(len(z), 1))

    def step(self, energy: Energy, z: Tensor, state: FistaState) -> tuple[Tensor, FistaState]:
        y = state.momentum_point
        new, eta = _proximal_step(energy, y, state.eta, self.step_size == "backtracking")
        t = (1 + torch.sqrt(1 + 4 * state.t.square())) / 2
        if self.restart:
            uphill = ((y - new) * (new - z)).sum(dim=1, keepdim=True)
            if energy.coupled:
                uphill = (mean_over_ranks(uphill.sum()) * world_size()).expand(len(z), 1)
            t = torch.where(uphill > 0, torch.ones_like(t), t)
            momentum = torch.where(uphill > 0, torch.zeros_like(t), (state.t - 1) / t)
        else:
            momentum = (state.t - 1) / t
        # the same tensor without momentum, as in the first step: energies remember what they computed of it
        ahead = new + momentum * (new - z) if bool(momentum.any()) else new
        return new, FistaState(eta, ahead, t)


class AdamDescentState(NamedTuple):
    """Step size per row, running means of the gradient and of its square, steps taken."""

    eta: Float[Tensor, "b 1"]
    mean: Float[Tensor, "b k"]
    square: Float[Tensor, "b k"]
    t: Float[Tensor, "b 1"]


class AdamDescent(Spec, tag="adam_descent"):
    """Adam on each code, followed by the penalty's prox: a few steps improve codes without a certificate.

    The inner loop of the explain-away networks in the first code of Bricken et al., ICML 2023. Source: Kingma & Ba, ICLR 2015.
    """

    lr: Annotated[float, Meta(gt=0)] = 0.01
    beta1: Annotated[float, Meta(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Meta(ge=0, lt=1)] = 0.999
    eps: Annotated[float, Meta(gt=0)] = 1e-8

    def init(self, energy: Energy, z: Tensor) -> AdamDescentState:  # noqa: ARG002 - the contract
        return AdamDescentState(
            z.new_full((len(z), 1), self.lr), torch.zeros_like(z), torch.zeros_like(z), z.new_zeros(len(z), 1)
        )

    def step(self, energy: Energy, z: Tensor, state: AdamDescentState) -> tuple[Tensor, AdamDescentState]:
        grad, t = energy.grad(z), state.t + 1
        mean = state.mean.lerp(grad, 1 - self.beta1)
        square = state.square.lerp(grad.square(), 1 - self.beta2)
        move = mean / (1 - self.beta1**t) / ((square / (1 - self.beta2**t)).sqrt() + self.eps)
        return energy.prox(z - state.eta * move, state.eta), AdamDescentState(state.eta, mean, square, t)
