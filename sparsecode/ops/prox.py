"""Proximal maps."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

__all__ = ["soft_threshold"]


def soft_threshold(
    v: Float[Tensor, "*b k"], t: float | Float[Tensor, "#*b #k"], *, positive: bool = False
) -> Float[Tensor, "*b k"]:
    """argmin_z 1/2 |z - v|^2 + t |z|_1, elementwise; over z >= 0 if `positive`.

    sign(v) max(|v| - t, 0), or max(v - t, 0). `t` >= 0, a number or one that broadcasts against `v`.
    """
    shrunk = (v if positive else v.abs()).sub(t).clamp_(min=0)
    return shrunk if positive else shrunk.copysign_(v)
