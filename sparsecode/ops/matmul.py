"""Products of float32 matrices on CPUs by whichever of torch's two libraries is faster on this processor."""

from __future__ import annotations

import torch
from jaxtyping import Float
from llvmlite.binding import get_host_cpu_name
from torch import Tensor

__all__ = ["onednn_is_faster", "product"]


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    """x weight^T by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


def onednn_is_faster() -> bool:
    """Whether oneDNN beats torch's default here: on AMD's processors with AVX-512, twofold, since MKL uses AVX2 on them.

    Decided by the processor rather than by timing: all processes of a run then have the same rounding.
    """
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and get_host_cpu_name().startswith("znver")
    )


def product(
    left: Float[Tensor, "b f"], right: Float[Tensor, "k f"], out: Float[Tensor, "b k"], onednn: bool = False
) -> Tensor:
    """left right^T, in `out`; fast where rows of `left` are contiguous."""
    return out.copy_(_linear(left, right)) if onednn else torch.mm(left, right.T, out=out)
