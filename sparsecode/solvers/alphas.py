"""Values of alpha: the least one at which codes are 0, and grids below it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.penalties import L1, Convex, ElasticNet, Proximal
from sparsecode.solvers.checks import Problem, above_zero
from sparsecode.solvers.scaling import exponents, shifted

__all__ = [
    "N_ALPHAS",
    "RATIO",
    "descending",
    "grid_from",
    "largest_alpha",
    "least_alphas",
    "power_of_two_for",
    "shape_of",
]

N_ALPHAS, RATIO = 50, 1e-3  # of the default grid


def descending(alphas: Any) -> NDArray[np.float64]:
    """Checked alphas, the largest first."""
    values = alphas.detach().cpu().numpy() if isinstance(alphas, Tensor) else np.asarray(alphas)
    if values.dtype.kind not in "fiu" or values.ndim != 1 or not len(values):
        raise ValueError(
            f"alphas has shape {values.shape} and dtype {values.dtype}; expected a list of numbers > 0, such as "
            "np.geomspace(1, 0.01, 20)"
        )
    return np.array(sorted((above_zero("one of alphas", v) for v in values.tolist()), reverse=True))


def shape_of(positive: bool, penalty: Proximal | None) -> Proximal:
    """The penalty meant by these two arguments."""
    if penalty is not None and positive:
        raise ValueError(
            f"positive=True was given beside penalty={penalty!r}; expected one: set the penalty's own field"
        )
    return L1(positive=positive) if penalty is None else penalty


def least_alphas(rows: Tensor, atoms: Tensor, shape: Proximal) -> Tensor:
    """The least alpha at which the code of each row is 0. Raises TypeError for a penalty that is not convex."""
    shape = L1(shape.positive) if isinstance(shape, ElasticNet) else shape
    if not isinstance(shape, Convex):
        raise TypeError(
            f"penalty is {shape!r}, which is not convex: no least alpha is known; expected a convex one, or alphas"
        )
    size, atom_size = exponents(rows), int(exponents(atoms.reshape(1, -1)))
    scaled = shifted(rows, -size[:, None]) @ shifted(atoms, -atom_size).T
    least = 1 / shape.dual_scale(scaled, 1.0)
    return shifted(least.double().cpu(), size.cpu() + atom_size)


def largest_alpha(problem: Problem, shape: Proximal) -> float:
    """The least alpha at which all codes are 0. Raises ValueError if that is 0."""
    largest = max(
        (float(least_alphas(r, problem.atoms, shape).max()) for _, r, _ in problem.chunks(False)), default=0.0
    )
    if not largest > 0:
        raise ValueError(
            "x has no row that correlates with an atom of D: every code is 0 at any alpha; expected other samples or atoms"
        )
    return largest


def grid_from(largest: float, n_alphas: int, ratio: float) -> NDArray[np.float64]:
    """`n_alphas` from `largest` to `ratio` of it, evenly spaced in their logarithm."""
    if not 0 < above_zero("ratio", ratio) < 1:
        raise ValueError(
            f"ratio is {ratio:g}; expected a number between 0 and 1: the least alpha divided by the largest"
        )
    return largest * np.geomspace(1, ratio, n_alphas)


def power_of_two_for(x: Tensor) -> tuple[float, bool]:
    """A factor 2^k that brings the largest value of x to between 1/2 and 1 (0 if x is 0), and whether squares of x need it."""
    largest = float(x.abs().max()) if x.numel() else 0.0
    exponent = math.frexp(largest)[1]
    return (2.0**-exponent if largest else 0.0), abs(exponent) > 40
