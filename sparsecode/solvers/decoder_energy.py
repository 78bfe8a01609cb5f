"""Energies of codes under an arbitrary decoder."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparsecode.penalties import Convex, Proximal
from sparsecode.solvers.energy import (
    ESTIMATED,
    QuadraticEnergy,
    duality_gap,
    kkt_residual,
    root_mean_square,
    rounded_up,
    steps_of,
)

__all__ = ["DecoderEnergy", "Rectified", "energy_of"]


class Decodes(Protocol):
    """A decoder of any kind: codes to data, row by row."""

    def mean(self, z: Tensor) -> Tensor: ...

    def curvature_bound(self) -> float:
        """An upper bound on |J|_2^2 of its Jacobian J at any code."""
        ...


@runtime_checkable
class Pullback(Protocol):
    """A decoder with explicit Jacobian products, which are faster than autograd."""

    def pullback(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """decode(z), and the map of a row vector r to r J(z)."""
        ...


@runtime_checkable
class Jacobian(Protocol):
    """A map r -> r J(z) that also has the products J(z) u, and the squared error as a function of the decoder's weights."""

    def forward(self, u: Tensor) -> Tensor:
        """J(z) u, row by row."""
        ...

    def squared_error(self, r: Tensor) -> Tensor:
        """|r|^2 per row of the residual r = decode(z) - x, with gradients with respect to the weights."""
        ...


@runtime_checkable
class HasAtoms(Protocol):
    """A decoder z D whose D [n_code, n_features] is in memory."""

    @property
    def atoms(self) -> Any: ...


@runtime_checkable
class LinearOperator(Pullback, Protocol):
    """A decoder z D that does not store D, such as a convolution: it has the products z D and r D^T instead."""

    linear: bool


@dataclass
class _Evaluated:
    """The energy's smooth part at codes z: decode(z) - x, its value, the map r -> r J(z), and the gradient once it is needed."""

    z: Tensor
    residual: Tensor
    smooth: Tensor
    back: Callable[[Tensor], Tensor]
    grad: Tensor | None = None


class DecoderEnergy:
    """1/2 |x - decode(z)|^2 + weight * penalty(z) for any decoder, differentiable almost everywhere.

    Its `gap` is the relative duality gap for linear decoders and convex penalties. Otherwise only
    stationary points can be certified, and it is the root mean square over codes of `kkt_residual`.
    """

    coupled = False

    def __init__(self, x: Float[Tensor, "b f"], decoder: Decodes, penalty: Proximal, weight: float) -> None:
        self.x, self.decoder, self.penalty, self.weight = x, decoder, penalty, weight
        self.scale = x.square().sum(dim=1) / 2
        self.target: Tensor | None = None
        self.stiffness = 0.0
        self._exact: Any = None  # a linear decoder in float64
        self._latest: tuple[_Evaluated, ...] = ()  # solvers evaluate the same codes several times

    def per_sample(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return self.smooth(z) + self.weight * self.penalty.value(z)

    @torch.no_grad()
    def smooth(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return self._at(z).smooth

    def squared_error(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        """|decode(z) - x|^2 per row, with gradients with respect to the decoder's weights; z is a constant.

        What the solver has computed of its last codes is not computed again.
        """
        for known in self._latest:
            if known.z is z and isinstance(known.back, Jacobian) and not torch.is_autocast_enabled(z.device.type):
                return known.back.squared_error(known.residual)
        return (self.decoder.mean(z) - self.x).square().sum(dim=1)

    def curvature_along(self, z: Float[Tensor, "b k"], u: Float[Tensor, "b k"]) -> Float[Tensor, "b 1"] | None:
        """u.Hu of each row, with the Hessian H of the smooth part at z; None where the decoder has no products J(z) u.

        H = J(z)^T J(z) + stiffness: of a decoder that is linear in pieces nothing is left out, except at its kinks.
        """
        back = self._at(z).back
        if not isinstance(back, Jacobian):
            return None
        bent = back.forward(u).square().sum(dim=1, keepdim=True)
        return bent + self.stiffness * u.square().sum(dim=1, keepdim=True)

    @property
    def linear(self) -> bool:
        """Whether the smooth part is quadratic: then 1 / `lipschitz` is a step that is neither too long nor much too short."""
        return isinstance(self.decoder, LinearOperator) and self.decoder.linear

    def smooth_and_grad(self, z: Float[Tensor, "b k"]) -> tuple[Float[Tensor, " b"], Float[Tensor, "b k"]]:
        now = self._at(z)
        if now.grad is None:
            grad = now.back(now.residual)
            now.grad = grad if self.target is None else grad + self.stiffness * (z - self.target)
        return now.smooth, now.grad

    def _at(self, z: Tensor) -> _Evaluated:
        for known in self._latest:
            if known.z is z:
                return known
        pullback = self.decoder.pullback(z) if isinstance(self.decoder, Pullback) else _autograd(self.decoder.mean, z)
        residual = pullback[0] - self.x
        now = _Evaluated(z, residual, residual.square().sum(dim=1) / 2 + self._pull(z), pullback[1])
        self._latest = (now, *self._latest[:1])
        return now

    def _pull(self, z: Tensor) -> Tensor | float:
        return 0.0 if self.target is None else self.stiffness / 2 * (z - self.target).square().sum(dim=1)

    def grad(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return self.smooth_and_grad(z)[1]

    def prox(self, v: Float[Tensor, "b k"], step: Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
        return self.penalty.prox(v, step * self.weight)

    def lipschitz(self) -> float:
        """The bound for the pieces on which the decoder is linear; kinks between them are ignored."""
        return self.decoder.curvature_bound() + self.stiffness

    def gap(self, z: Float[Tensor, "b k"], eta: Float[Tensor, "b 1"] | None = None) -> Float[Tensor, " b"]:
        if self.linear and isinstance(self.penalty, Convex):
            return self._duality_gap(z, self.penalty)
        eta = steps_of(self, z, ESTIMATED) if eta is None else eta
        return root_mean_square(kkt_residual(self, z, eta))

    @torch.no_grad()
    def _duality_gap(self, z: Float[Tensor, "b k"], penalty: Convex) -> Float[Tensor, " b"]:
        """In float64, since a gap is a difference of large numbers; x and the target of the pull are one sample here."""
        assert isinstance(self.decoder, nn.Module)
        if self._exact is None:
            self._exact = deepcopy(self.decoder).double()
        x, code = self.x.double(), z.double()
        out, back = self._exact.pullback(code)
        r = x - out
        u, x_dot_r, r_dot_r = back(r), (x * r).sum(dim=1), r.square().sum(dim=1)
        half_square = scale = x.square().sum(dim=1) / 2
        if self.target is not None:
            target = self.target.double()
            left = target - code
            u = u + self.stiffness * left
            x_dot_r += self.stiffness * (target * left).sum(dim=1)
            r_dot_r += self.stiffness * left.square().sum(dim=1)
            half_square = half_square + self.stiffness / 2 * target.square().sum(dim=1)
        return rounded_up(duality_gap(code, u, x_dot_r, r_dot_r, half_square, penalty, self.weight, scale), z)

    def pulled_to(self, target: Float[Tensor, "b k"], stiffness: float) -> DecoderEnergy:
        """This energy plus stiffness / 2 |z - target|^2."""
        pulled = copy(self)
        pulled.target, pulled.stiffness, pulled._latest = target, stiffness, ()
        return pulled

    def rows(self, keep: Tensor) -> Self:
        part = copy(self)
        part.x, part.scale, part._latest = self.x[keep], self.scale[keep], ()
        part.target = None if self.target is None else self.target[keep]
        return part


def _autograd(decode: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        out = decode(z)
    return out.detach(), lambda r: torch.autograd.grad(out, z, r)[0]


class Rectified:
    """A decoder of max(u, 0): the variable of the solver is the pre-activation u."""

    def __init__(self, decoder: Decodes) -> None:
        self.decoder = decoder

    def mean(self, z: Tensor) -> Tensor:
        return self.decoder.mean(torch.relu(z))

    def curvature_bound(self) -> float:
        return self.decoder.curvature_bound()


def energy_of(
    decoder: Decodes, x: Float[Tensor, "b f"], penalty: Proximal, weight: float
) -> QuadraticEnergy | DecoderEnergy:
    """The energy of codes under a decoder: quadratic where it is linear."""
    if isinstance(decoder, HasAtoms):
        return QuadraticEnergy(x, decoder.atoms.detach(), penalty, weight)
    return DecoderEnergy(x, decoder, penalty, weight)
