"""Terms of training objectives, per sample; models average them over the batch."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

__all__ = ["squared_error"]


def squared_error(out: Float[Tensor, "b f"], target: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
    """sum_f (out_f - target_f)^2 per sample: summed over features, no 1/2."""
    return (out - target).square().sum(dim=1)
