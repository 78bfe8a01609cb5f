"""Products of float32 matrices on CPUs by whichever of torch's two libraries is faster on this processor."""

from __future__ import annotations

import time
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["onednn_is_faster", "product"]

GAIN = 1.2  # times faster than the default before it is worth its copies
SIZE, TRIALS = 384, 5


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    """x weight^T by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


@cache
def onednn_is_faster() -> bool:
    """Whether oneDNN beats torch's default here, tried for some milliseconds: on AMD it does, twofold."""
    if not torch.backends.mkldnn.is_available():
        return False
    x, out = torch.ones(SIZE, SIZE), torch.empty(SIZE, SIZE)

    def best(by_onednn: bool) -> float:
        found: list[float] = []
        for _ in range(TRIALS):
            began = time.perf_counter()
            if by_onednn:
                _linear(x, x)
            else:
                torch.mm(x, x.T, out=out)
            found.append(time.perf_counter() - began)
        return min(found)

    return best(by_onednn=True) * GAIN < best(by_onednn=False)


def product(
    left: Float[Tensor, "b f"], right: Float[Tensor, "k f"], out: Float[Tensor, "b k"], onednn: bool = False
) -> Tensor:
    """left right^T, in `out`; fast where rows of `left` lie in a piece."""
    return out.copy_(_linear(left, right)) if onednn else torch.mm(left, right.T, out=out)
