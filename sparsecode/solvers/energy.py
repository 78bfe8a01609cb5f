"""The objectives of solvers: the protocol of energies, measures of stationarity, and the quadratic energy."""

from __future__ import annotations

from copy import copy
from typing import Protocol, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.ops.norms import largest_eigenvalue_bound
from sparsecode.penalties import Convex, Proximal

__all__ = ["Energy", "QuadraticEnergy", "duality_gap", "kkt_residual", "root_mean_square", "rounded_up", "steps_of"]


ESTIMATED = 5  # power iterations behind a KKT residual whose solver had no steps


class Energy(Protocol):
    """smooth(z) + weight * penalty(z), row by row unless `coupled`."""

    weight: float
    scale: Tensor

    @property
    def coupled(self) -> bool:
        """Whether the smooth part depends on the whole batch; rows can then not leave it."""
        ...

    def per_sample(self, z: Tensor) -> Tensor:
        """The energy of each row [B]."""
        ...

    def smooth(self, z: Tensor) -> Tensor:
        """The smooth part of each row [B]."""
        ...

    def smooth_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The smooth part of each row [B] and its gradient [B, n_code]."""
        ...

    def grad(self, z: Tensor) -> Tensor:
        """The gradient of the smooth part [B, n_code]."""
        ...

    def prox(self, v: Tensor, step: Tensor) -> Tensor:
        """The proximal map of step * weight * penalty; `step` [B, 1]."""
        ...

    def lipschitz(self) -> float:
        """An upper bound on the Lipschitz constant of `grad`."""
        ...

    def gap(self, z: Tensor, eta: Tensor | None = None) -> Tensor:
        """The distance of each row from its optimum [B]: a relative duality gap, or a relative KKT residual.

        A solver may give its steps [B, 1] for the residual, which saves an estimate of the curvature.
        """
        ...

    def rows(self, keep: Tensor) -> Self:
        """The same energy for a subset of rows, given by a boolean mask [B] or indices."""
        ...


def curvature_estimate(energy: Energy, z: Float[Tensor, "b k"], iterations: int) -> Float[Tensor, "b 1"]:
    """The largest curvature of the smooth part near `z`, row by row, by power iteration.

    v <- H v / |H v|, H v from differences of gradients, which works for any energy. It underestimates: a step of its
    inverse may be too long a step, which backtracking corrects.
    """
    here = energy.grad(z)
    small = torch.finfo(z.dtype).eps ** 0.5 * 10 * (1 + torch.linalg.vector_norm(z, dim=1, keepdim=True))
    v = here + here.abs().mean(dim=1, keepdim=True).clamp(
        min=1e-3
    )  # avoids a start orthogonal to the leading eigenvector
    size = torch.linalg.vector_norm(v, dim=1, keepdim=True)
    for _ in range(iterations):
        v = (energy.grad(z + small * v / size) - here) / small
        size = torch.linalg.vector_norm(v, dim=1, keepdim=True)
        v = torch.where(size > 0, v, torch.ones_like(v))
        size = torch.linalg.vector_norm(v, dim=1, keepdim=True)
    return size


def steps_of(energy: Energy, z: Float[Tensor, "b k"], iterations: int) -> Float[Tensor, "b 1"]:
    """1 / the curvature near `z`, row by row; 1 where there is none."""
    curvature = curvature_estimate(energy, z, iterations)
    return torch.where(curvature > 0, 1 / curvature, torch.ones_like(curvature))


def kkt_residual(energy: Energy, z: Float[Tensor, "b k"], eta: Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
    """The stationarity residual of each code in units of the weight: (z - prox_eta(z - eta grad(z))) / (eta weight).

    For L1 it is (grad_j + weight sign(z_j)) / weight of codes that stay active and what |grad_j| exceeds the weight by
    for codes that stay 0.
    """
    return (z - energy.prox(z - eta * energy.grad(z), eta)) / (eta * energy.weight)


def root_mean_square(residual: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """sqrt(mean_j residual_j^2), row by row."""
    return residual.square().mean(dim=1).sqrt()


def duality_gap(
    z: Float[Tensor, "b k"],
    u: Float[Tensor, "b k"],
    x_dot_r: Float[Tensor, " b"],
    r_dot_r: Float[Tensor, " b"],
    half_square: Float[Tensor, " b"],
    penalty: Convex,
    weight: float,
    scale: Float[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """The duality gap of 1/2 |x - z D|^2 + weight penalty(z), divided by `scale`, the data's part of the energy at z = 0.

    It is an upper bound on the relative suboptimality of `z` in the domain. With residual r = x - z D, u = r D^T and s <= 1 the
    largest feasible scale, s r is a dual point, so gap = 1/2 |r|^2 + w p(z) - s x.r + s^2/2 |r|^2 + (w p)*(s u).
    Infinite where `half_square` = 1/2 |x|^2 underflows, unless z = 0 is the optimum. Source: Massias et al., JMLR 2020, section 2.
    """
    kind = torch.finfo(z.dtype)
    # s = 1 at the optimum. A larger one could only be had where r, and so s r, is little but rounding.
    s = penalty.dual_scale(u, weight).clamp(max=1)
    primal = r_dot_r / 2 + weight * penalty.value(z)
    gap = primal - s * x_dot_r + s.square() * r_dot_r / 2 + penalty.conjugate(s[:, None] * u, weight)
    relative = gap.clamp(min=0) / scale.clamp(min=kind.tiny)
    small = half_square < kind.tiny / kind.eps
    if bool(small.any()):
        optimal = (z == 0).all(dim=1) & (penalty.prox(u, weight) == 0).all(dim=1)
        relative = torch.where(small, torch.where(optimal, 0.0, torch.inf).to(z), relative)
    return relative


def rounded_up(bound: Float[Tensor, " b"], like: Tensor) -> Float[Tensor, " b"]:
    """`bound` in the dtype and on the device of `like`, never below itself."""
    if bound.device.type == "cpu":  # NumPy takes a fifth of the time for few rows
        wide = bound.numpy()
        near = bound.to(like.dtype).numpy()
        return torch.from_numpy(np.where(near < wide, np.nextafter(near, near.dtype.type(np.inf)), near)).to(
            like.device
        )
    near = bound.to(like.dtype)
    return torch.where(near.to(bound.dtype) < bound, near.nextafter(torch.full_like(near, torch.inf)), near)


class QuadraticEnergy:
    """1/2 |x - z D|^2 + weight * penalty(z), computed from the Gram matrix: steps do not read the data.

    `x` [B, f], atoms `D` [k, f], `gram` = D D^T [k, k]; `gram` and its eigenvalue `bound` may be given where many
    batches share one dictionary.
    """

    coupled = False

    def __init__(
        self,
        x: Float[Tensor, "b f"],
        dictionary: Float[Tensor, "k f"],
        penalty: Proximal,
        weight: float,
        gram: Float[Tensor, "k k"] | None = None,
        bound: float | None = None,
    ) -> None:
        self.x, self.dictionary, self.penalty, self.weight = x, dictionary, penalty, weight
        self.bounded_weight = min(weight, torch.finfo(x.dtype).max / 4)  # codes are 0 at far lower weights
        self.gram = dictionary @ dictionary.T if gram is None else gram
        self.corr = x @ dictionary.T
        self.half_square = x.square().sum(dim=1) / 2
        self.scale = self.half_square  # the denominator of gaps: the data's part of the energy at z = 0
        self.target: Tensor | None = None
        self.stiffness = 0.0
        self._bound = bound

    def at(self, weight: float) -> Self:
        """The same energy at another weight."""
        other = copy(self)
        other.weight, other.bounded_weight = weight, min(weight, torch.finfo(self.x.dtype).max / 4)
        return other

    def per_sample(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        """The smooth part from the residual: sums of Gram products would cancel in float32."""
        return self.smooth(z) + self.bounded_weight * self.penalty.value(z)

    def smooth_and_grad(self, z: Float[Tensor, "b k"]) -> tuple[Float[Tensor, " b"], Float[Tensor, "b k"]]:
        return self.smooth(z), self.grad(z)

    def smooth(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        value = (self.x - z @ self.dictionary).square().sum(dim=1) / 2
        if self.target is not None:
            value += self.stiffness / 2 * (z - self.target).square().sum(dim=1)
        return value

    def grad(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return torch.addmm(self.corr, z, self.gram, beta=-1)

    def prox(self, v: Float[Tensor, "b k"], step: Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
        return self.penalty.prox(v, step * self.bounded_weight)

    def lipschitz(self) -> float:
        if self._bound is None:
            self._bound = largest_eigenvalue_bound(self.gram)
        return self._bound

    def gap(self, z: Float[Tensor, "b k"], eta: Float[Tensor, "b 1"] | None = None) -> Float[Tensor, " b"]:
        """The relative duality gap; for a penalty that is not convex the root mean square of `kkt_residual`."""
        if isinstance(self.penalty, Convex):
            return self._duality_gap(z, self.penalty)
        eta = z.new_full((len(z), 1), 1 / (self.lipschitz() or 1.0)) if eta is None else eta
        return root_mean_square(kkt_residual(self, z, eta))

    def wide(self) -> QuadraticEnergy:
        """The same energy in float64, on the CPU where the device has no float64."""
        device = "cpu" if self.x.device.type == "mps" else self.x.device
        x, atoms = (part.to(device, torch.float64) for part in (self.x, self.dictionary))
        wide = QuadraticEnergy(x, atoms, self.penalty, self.weight)
        return wide if self.target is None else wide.pulled_to(self.target.to(x), self.stiffness)

    def proven_gap(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        """`gap` in float64, whatever the dtype, from the residual x - z D; stored in the dtype of `z`, rounded up.

        An upper bound on the relative suboptimality of `z` to rounding of float64, where `gap` in float32 is wrong by about
        1e-7 |x| |D| / weight. For penalties that are not convex, and in float64, it is `gap`.
        """
        if not isinstance(self.penalty, Convex) or z.dtype == torch.float64:
            return self.gap(z)
        device = "cpu" if z.device.type == "mps" else z.device
        x, atoms, code = (part.to(device, torch.float64) for part in (self.x, self.dictionary, z))
        r = torch.addmm(x, code, atoms, alpha=-1)
        u, x_dot_r, r_dot_r = r @ atoms.T, (x * r).sum(dim=1), r.square().sum(dim=1)
        half_square = scale = x.square().sum(dim=1) / 2
        if self.target is not None:
            target = self.target.to(x)
            half_square = scale + self.stiffness / 2 * target.square().sum(dim=1)
            apart = target - code
            u += self.stiffness * apart
            x_dot_r += self.stiffness * (target * apart).sum(dim=1)
            r_dot_r += self.stiffness * apart.square().sum(dim=1)
        gap = duality_gap(code, u, x_dot_r, r_dot_r, half_square, self.penalty, self.bounded_weight, scale)
        gap = rounded_up(gap, z)
        faint = self.half_square < torch.finfo(z.dtype).tiny / torch.finfo(z.dtype).eps
        return torch.where(faint, self.gap(z), gap) if bool(faint.any()) else gap

    def _duality_gap(self, z: Float[Tensor, "b k"], penalty: Convex) -> Float[Tensor, " b"]:
        """See `duality_gap`. In float32 rounding may hide about 1e-7 |x| |D| / w of it: solvers stop by it and return `proven_gap`."""
        weight = self.bounded_weight
        u = torch.addmm(self.corr, z, self.gram, alpha=-1)
        explained = (z * self.corr).sum(dim=1)
        x_dot_r = 2 * self.half_square - explained
        r_dot_r = (x_dot_r - (z * u).sum(dim=1)).clamp(min=0)
        return duality_gap(z, u, x_dot_r, r_dot_r, self.half_square, penalty, weight, self.scale)

    def in_units(
        self, x: Float[Tensor, "b f"], dictionary: Float[Tensor, "k f"], penalty: Proximal, weight: float, gram: Tensor
    ) -> QuadraticEnergy:
        """The same energy of the same samples in other units."""
        return QuadraticEnergy(x, dictionary, penalty, weight, gram)

    def pulled_to(self, target: Float[Tensor, "b k"], stiffness: float) -> QuadraticEnergy:
        """This energy plus stiffness / 2 |z - target|^2: quadratic again, so it keeps its certificate."""
        pulled = copy(self)
        pulled.gram = self.gram + stiffness * torch.eye(len(self.gram)).to(self.gram)
        pulled.corr = self.corr + stiffness * target
        pulled.half_square = self.half_square + stiffness / 2 * target.square().sum(dim=1)
        pulled.target, pulled.stiffness, pulled._bound = target, stiffness, None
        return pulled

    def rows(self, keep: Tensor) -> Self:
        part = copy(self)
        part.x, part.corr, part.half_square = self.x[keep], self.corr[keep], self.half_square[keep]
        part.scale = self.scale[keep]
        part.target = None if self.target is None else self.target[keep]
        return part
