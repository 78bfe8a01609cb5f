"""Sparsity penalties: functions of the code without parameters or state; the weight belongs to the caller.

The contract of a penalty p. Training terms (`Sparsity`) need `value` alone:

- `value(z)` [B]: p(z), where z is in its domain;
- `separable`: p(z) is a sum over codes, and zeros can be left out (optional; False without it);
- `counts`: `value` takes the 0/1 indicator of activity in place of the codes, which an activation must estimate the
  derivative of (optional; False without it).

Solvers (`Proximal`) need more, beside a weight w and a quadratic or other smooth part:

- `prox(v, t)`: argmin_z 1/2 |z - v|^2 + t p(z); with t = 0 the projection to the domain;
- `rescaled(e)`: the penalty q with p(2^e z) = 2^e q(z), for problems beyond the range of their dtype (optional);
- `positive`: whether codes are held to z >= 0;

and, where p is convex (`Convex`), for the duality gap:

- `dual_scale(u, w)` [B]: the largest s >= 0 for which (w p)*(s u) is finite;
- `conjugate(u, w)` [B]: (w p)*(u) = sup_z u.z - w p(z), for u within that scale.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.leaves import opened
from sparsecode.ops.prox import soft_threshold
from sparsecode.specs import NonNegative, Positive, Spec

__all__ = [
    "L0",
    "L1",
    "Convex",
    "ElasticNet",
    "GroupL2",
    "Hoyer",
    "LogSum",
    "Penalty",
    "PenaltyLike",
    "Proximal",
    "Rescales",
    "TanhPenalty",
]


@runtime_checkable
class Proximal(Protocol):
    """The protocol of penalties for solvers."""

    @property
    def positive(self) -> bool: ...

    def value(self, z: Tensor) -> Tensor: ...

    def prox(self, v: Tensor, t: float | Tensor) -> Tensor: ...


@runtime_checkable
class Rescales(Proximal, Protocol):
    """The protocol of penalties for problems that leave the range of their dtype."""

    def rescaled(self, exponent: int) -> Proximal: ...


@runtime_checkable
class PenaltyLike(Protocol):
    """The protocol of penalties; `Iterative` also needs `Proximal`."""

    def value(self, z: Tensor) -> Tensor: ...


@runtime_checkable
class Convex(Protocol):
    """The protocol of penalties with a duality gap."""

    def value(self, z: Tensor) -> Tensor: ...

    def prox(self, v: Tensor, t: float) -> Tensor: ...

    def dual_scale(self, u: Tensor, weight: float) -> Tensor: ...

    def conjugate(self, u: Tensor, weight: float) -> Tensor: ...


class L1(Spec, tag="l1"):
    """|z|_1 = sum_j |z_j|; with `positive`, codes are also constrained to z >= 0."""

    positive: bool = False
    separable = True

    def value(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return z.abs().sum(dim=1)

    def prox(self, v: Float[Tensor, "b k"], t: float | Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
        return soft_threshold(v, t, positive=self.positive)

    def dual_scale(self, u: Float[Tensor, "b k"], weight: float) -> Float[Tensor, " b"]:
        """Finite means |s u_j| <= weight for all j (s u_j <= weight if `positive`)."""
        largest = (u if self.positive else u.abs()).amax(dim=1)
        return weight / largest.clamp(min=0)  # infinite where no constraint binds

    def conjugate(self, u: Float[Tensor, "b k"], weight: float) -> Float[Tensor, " b"]:  # noqa: ARG002 - the contract
        return u.new_zeros(len(u))

    def rescaled(self, exponent: int) -> L1:  # noqa: ARG002 - the contract
        return self


class ElasticNet(Spec, tag="elastic_net"):
    """|z|_1 + ratio / 2 |z|^2, over z >= 0 if `positive`. Source: Zou & Hastie, JRSS B 2005."""

    ratio: NonNegative = 1.0
    positive: bool = False
    separable = True

    def value(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return z.abs().sum(dim=1) + self.ratio / 2 * z.square().sum(dim=1)

    def prox(self, v: Float[Tensor, "b k"], t: float | Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
        return soft_threshold(v, t, positive=self.positive) / (1 + t * self.ratio)

    def dual_scale(self, u: Float[Tensor, "b k"], weight: float) -> Float[Tensor, " b"]:
        """Without bound for ratio > 0: the squared part makes the conjugate finite everywhere."""
        if self.ratio == 0:
            return L1(self.positive).dual_scale(u, weight)
        return torch.full_like(u[:, 0], torch.inf)

    def conjugate(self, u: Float[Tensor, "b k"], weight: float) -> Float[Tensor, " b"]:
        """sum_j max(|u_j| - w, 0)^2 / (2 w ratio); u_j for |u_j| if `positive`."""
        if self.ratio == 0:
            return u.new_zeros(len(u))
        excess = (u if self.positive else u.abs()).sub(weight).clamp(min=0)
        return excess.square().sum(dim=1) / (2 * weight * self.ratio)

    def rescaled(self, exponent: int) -> ElasticNet:
        return ElasticNet(_times_power(self.ratio, exponent, 1000), self.positive)


class GroupL2(Spec, tag="group_l2"):
    """sum_g |z_g|_2 over groups of `size` neighbouring codes: groups are zero or not as a whole.

    The number of codes must be a multiple of `size`. Source: Yuan & Lin, JRSS B 2006 (equal group sizes).
    """

    size: Annotated[int, Meta(ge=1, description="codes per group")]
    positive: bool = False

    def value(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return self._norms(z).sum(dim=1)

    def prox(self, v: Float[Tensor, "b k"], t: float | Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
        """max(1 - t / |v_g|, 0) v_g; of max(v, 0) if `positive`."""
        v = v.clamp(min=0) if self.positive else v
        norms = self._norms(v)
        kept = ((norms - t).clamp(min=0) / norms).nan_to_num(nan=0.0)  # a group of zeros stays one
        return v * kept.repeat_interleave(self.size, dim=1)

    def dual_scale(self, u: Float[Tensor, "b k"], weight: float) -> Float[Tensor, " b"]:
        """Finite means |s u_g|_2 <= weight for all g (of max(u, 0) if `positive`)."""
        return weight / self._norms(u.clamp(min=0) if self.positive else u).amax(dim=1)

    def conjugate(self, u: Float[Tensor, "b k"], weight: float) -> Float[Tensor, " b"]:  # noqa: ARG002 - the contract
        return u.new_zeros(len(u))

    def rescaled(self, exponent: int) -> GroupL2:  # noqa: ARG002 - the contract
        return self

    def _norms(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b g"]:
        if z.shape[1] % self.size:
            raise ValueError(f"GroupL2.size is {self.size}; expected a divisor of the number of codes, {z.shape[1]}")
        return torch.linalg.vector_norm(z.unflatten(1, (-1, self.size)), dim=2)


class LogSum(Spec, tag="log_sum"):
    """scale sum_j log(1 + |z_j| / scale): L1 for codes far below `scale`, almost flat far above. Not convex.

    The slope at 0 is 1, as for L1, which makes weights comparable. Source: Candes, Wakin & Boyd, JFAA 2008, section 2.2.
    """

    scale: Positive = 1.0
    positive: bool = False
    separable = True

    def value(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return self._value(z).sum(dim=1)

    def prox(self, v: Float[Tensor, "b k"], t: float | Float[Tensor, "b 1"]) -> Float[Tensor, "b k"]:
        """The better of 0 and the larger root of (z - |v|) (scale + z) + t scale = 0, with the sign of v."""
        size = v.clamp(min=0) if self.positive else v.abs()
        share = size / self.scale
        inside = (1 + share).square() - 4 / self.scale * t
        distance = inside.clamp(min=0).sqrt()
        # Two forms of one root: below `scale` the first one's terms would cancel.
        root = torch.where(
            share < 1, 2 * (size - t) / (distance + 1 - share), (size - self.scale + self.scale * distance) / 2
        )
        root = root.clamp(min=0)
        better = (root - size).square() / 2 + t * self._value(root) < size.square() / 2
        root = torch.where((inside > 0) & better, root, 0.0 * root)
        # t = 0: the projection itself, free of rounding
        root = torch.where(torch.as_tensor(t, device=v.device) > 0, root, size)
        return root if self.positive else root.copysign(v)

    def rescaled(self, exponent: int) -> LogSum:
        # At 2^100 it is L1 and at 2^-100 nothing, to rounding; beyond, float32 would overflow.
        return LogSum(_times_power(self.scale, -exponent, 100), self.positive)

    def _value(self, z: Tensor) -> Tensor:
        return self.scale * torch.log1p(z.abs() / self.scale)


class TanhPenalty(Spec, tag="tanh"):
    """sum_j tanh(|z_j| / scale): |z_j| / scale for small codes, 1 for large ones, which are not shrunk.

    Source: Jermyn et al., "Tanh penalty in dictionary learning", Transformer Circuits, February 2024.
    """

    scale: Positive = 1.0
    separable = True

    def value(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return torch.tanh(z.abs() / self.scale).sum(dim=1)


class Hoyer(Spec, tag="hoyer"):
    """(sum_j |z_j|)^2 / sum_j z_j^2: the number of active codes, were they all of one size; 0 for a code of zeros.

    Between 1 and n_code, and the same for c z: it asks for few codes, not for small ones.
    Source: Hoyer, JMLR 2004; as a penalty, Yang, Wen & Li, ICLR 2020.
    """

    def value(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        square = z.square().sum(dim=1)
        return z.abs().sum(dim=1).square() / square.clamp(min=torch.finfo(z.dtype).tiny)


class L0(Spec, tag="l0"):
    """The number of active codes, with the activation's gradient estimate: for `JumpReLU`.

    Source: Rajamanoharan et al., "Jumping Ahead", 2024, equation 9.
    """

    separable = True
    counts = True

    def value(self, active: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return active.sum(dim=1)


def _times_power(value: float, exponent: int, most: int) -> float:
    """2^exponent value, brought to between 2^-most and 2^most unless it is 0."""
    part, power = math.frexp(value)
    return math.ldexp(part, min(max(power + exponent, -most), most))


Known = L1 | ElasticNet | GroupL2 | LogSum | TanhPenalty | Hoyer | L0
if TYPE_CHECKING:
    Penalty = Known | PenaltyLike
else:
    Penalty = opened(Known, PenaltyLike)
