"""Robust centres."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["geometric_median"]


@torch.no_grad()
def geometric_median(x: Float[Tensor, "n f"], steps: int = 100, tol: float = 1e-6) -> Float[Tensor, " f"]:
    """argmin_c sum_i |x_i - c|, by Weiszfeld's iteration from the mean, in float64.

    Stops when c moves by less than tol times the mean distance. Source: Weiszfeld, Tohoku Math. J. 1937.
    """
    rows = x.double()
    centre = rows.mean(dim=0)
    for _ in range(steps):
        distance = torch.linalg.vector_norm(rows - centre, dim=1)
        weight = 1 / distance.clamp(min=1e-12 * float(distance.mean()) + 1e-300)
        moved = (weight @ rows) / weight.sum()
        done = torch.linalg.vector_norm(moved - centre) <= tol * distance.mean()
        centre = moved
        if bool(done):
            break
    return centre.to(x.dtype)
