"""The choice of alpha: the least one at which codes are 0, and codes at many alphas."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.ops.csr import CSR
from sparsecode.penalties import Convex, Proximal
from sparsecode.records import Solution
from sparsecode.solvers.alphas import (
    N_ALPHAS,
    RATIO,
    descending,
    grid_from,
    largest_alpha,
    least_alphas,
    power_of_two_for,
    shape_of,
)
from sparsecode.solvers.checks import Problem, above_zero, prepare, whole
from sparsecode.solvers.coordinate import CoordinateDescent
from sparsecode.solvers.encode import MAX_STEPS, warn_if_unfinished
from sparsecode.solvers.energy import QuadraticEnergy
from sparsecode.solvers.scaling import solve_in_any_units

__all__ = ["SparsePath", "alpha_max", "energies", "solutions_at", "sparse_path"]


class SparsePath(NamedTuple):
    """Codes at several penalty weights, in descending order; each array is [n_alphas], float64.

    `objective`, the mean over rows of 1/2 |x - z D|^2 + alpha p(z); `l0`, the mean number of active codes of a row; `error`, the
    share of the samples' squares that is left, sum |x - z D|^2 / sum |x|^2; `gap`, the largest of the rows' relative duality gaps.
    `codes` [n_alphas, n, n_code], of the kind and dtype of x, on request.
    """

    alphas: NDArray[np.float64]
    objective: NDArray[np.float64]
    l0: NDArray[np.float64]
    error: NDArray[np.float64]
    gap: NDArray[np.float64]
    codes: Any = None


@torch.no_grad()
def alpha_max(x: Any, D: Any, *, positive: bool = False, penalty: Proximal | None = None) -> Any:
    """The least alpha at which the code of each row of `x` in `D` is 0: max_j |x . d_j|, of x . d_j if `positive`.

    Parameters
    ----------
    x: samples [n, n_features], a NumPy array or a torch tensor. D: atoms in rows [n_code, n_features].
    positive: codes are >= 0. penalty: `L1`, `ElasticNet`, `GroupL2` or another convex penalty in place of |z|_1.

    Returns
    -------
    Alphas [n], float64, of the kind of `x`. 0 where no atom correlates with the row. The largest of them is where `sparse_path`
    begins. In any units: infinite only where float64 overflows.

    Raises
    ------
    TypeError and ValueError as `sparse_encode`; TypeError for a penalty that is not convex, where no such alpha is known.

    Examples
    --------
    >>> import numpy as np
    >>> import sparsecode as sc
    >>> sc.alpha_max(np.array([[1.0, -2.0, 0.5]]), np.eye(3))
    array([2.])
    """
    problem, shape = prepare(x, D, CSR, None), shape_of(positive, penalty)
    parts = [least_alphas(rows, problem.atoms, shape) for _, rows, _ in problem.chunks(False)]
    result = torch.cat([torch.zeros(0, dtype=torch.float64), *parts])
    return result.to(problem.x.device) if isinstance(problem.x, Tensor) else result.numpy()


def sparse_path(
    x: Any,
    D: Any,
    alphas: Any = None,
    *,
    n_alphas: int = N_ALPHAS,
    ratio: float = RATIO,
    positive: bool = False,
    penalty: Proximal | None = None,
    tol: float = 1e-4,
    max_steps: int | None = None,
    chunk: int | None = None,
    return_codes: bool = False,
    progress: bool = False,
) -> SparsePath:
    """Codes of the rows of `x` in the dictionary `D` at many alphas, each solved from the codes at the alphas before it.

    Per row and alpha: argmin_z 1/2 |x - z D|_2^2 + alpha |z|_1, as `sparse_encode`. All alphas share one Gram matrix and one product
    x D^T; codes start on the line through the last two, since the path of L1 is piecewise linear in alpha.

    Parameters
    ----------
    x: samples [n, n_features], a NumPy array (memory-mapped ones are read chunk by chunk) or a torch tensor.
    D: atoms in rows [n_code, n_features].
    alphas: weights > 0, in any order. Default: `n_alphas` (50) from the largest `alpha_max` down to `ratio` (0.001) of it, evenly
        spaced in their logarithm.
    positive, penalty, tol, max_steps, chunk, progress: as in `sparse_encode`.
    return_codes: keep the codes of all alphas [n_alphas, n, n_code].

    Returns
    -------
    A `SparsePath`: alphas in descending order with objective, L0, error and gap; `plots.alpha_path` draws it. The error does not depend on
    units; the objective is 0 or infinite where it leaves the range of the dtype. A ConvergenceWarning counts codes whose gap is above `tol`.

    Raises
    ------
    TypeError and ValueError as `sparse_encode`; ValueError for alphas that are no list of numbers > 0, and without alphas for samples
    that no atom correlates with and penalties that are not convex.

    Source: Friedman, Hastie & Tibshirani, J. Stat. Software 2010, section 2.5 (warm starts from alpha_max down).

    Examples
    --------
    >>> import numpy as np
    >>> import sparsecode as sc
    >>> rng = np.random.default_rng(0)
    >>> D, x = rng.normal(size=(8, 5)), rng.normal(size=(3, 5))
    >>> path = sc.sparse_path(x, D, n_alphas=4)
    >>> path.alphas.shape, float(path.l0[0])
    ((4,), 0.0)
    """
    problem, shape, tol = prepare(x, D, CSR, chunk), shape_of(positive, penalty), above_zero("tol", tol)
    max_steps = MAX_STEPS if max_steps is None else whole("max_steps", max_steps)
    if alphas is None:
        grid = grid_from(largest_alpha(problem, shape), whole("n_alphas", n_alphas), ratio)
    else:
        grid = descending(alphas)
    n, n_code = len(problem.x), len(problem.atoms)
    codes = _many_codes(problem, (len(grid), n, n_code)) if return_codes else None
    sums = np.zeros((4, len(grid)))  # objective, active codes, 1/2 |x - z D|^2, largest gap
    half_squares, scale, extreme = 0.0, 0.0, False
    solved: list[Solution[Tensor]] = []  # without their codes
    for part, energy in energies(problem, shape, progress):
        if not scale:
            scale, extreme = power_of_two_for(energy.x)
        half_squares += float((energy.x.double() * scale).square().sum()) / 2
        for i, solution in enumerate(solutions_at(energy, grid, tol, max_steps)):
            z, objective = solution.z, float(solution.objective.double().sum())
            if extreme:  # where squares leave the range of the dtype
                left = float(((energy.x - z @ energy.dictionary).double() * scale).square().sum()) / 2
            else:
                left = (objective - grid[i] * float(shape.value(z).double().sum())) * scale**2
            sums[:3, i] += objective, float(torch.count_nonzero(z)), max(left, 0.0)
            sums[3, i] = max(sums[3, i], float(solution.gap.max()))
            solved.append(solution._replace(z=z[:0]))
            if codes is not None:
                codes[i][part] = z if isinstance(problem.x, Tensor) else z.numpy()
    if solved:
        gaps, steps, converged = (torch.cat([each[i] for each in solved]) for i in (2, 3, 4))
        measure = "relative duality gaps" if isinstance(shape, Convex) else "root mean square KKT residuals"
        warn_if_unfinished(gaps, steps, converged, None, tol, max_steps, measure)
    objective, l0 = sums[:2] / max(n, 1)
    error = sums[2] / half_squares if half_squares > 0 else np.zeros(len(grid))
    return SparsePath(grid, objective, l0, error, sums[3], codes)


def solutions_at(
    energy: QuadraticEnergy, alphas: Sequence[float] | NDArray[np.float64], tol: float, max_steps: int
) -> Iterator[Solution[Tensor]]:
    """Solutions at descending alphas, each started from those before it."""
    z = energy.x.new_zeros(len(energy.x), len(energy.dictionary))
    before, last, here = z, math.inf, math.inf
    for alpha in map(float, alphas):
        start = z
        if math.isfinite(last) and last > here > alpha:
            start = torch.lerp(before, z, 1 + (here - alpha) / (last - here))
            start *= start * z > 0  # no code changes its sign on the way
        solution = solve_in_any_units(energy.at(alpha), None, start, max_steps=max_steps, tol=tol)
        before, z, last, here = z, solution.z, here, alpha
        yield solution


def energies(problem: Problem, shape: Proximal, progress: bool = False) -> Iterator[tuple[slice, QuadraticEnergy]]:
    """The energy of each chunk at weight 1, all with one Gram matrix."""
    gram, bound = problem.atoms @ problem.atoms.T, None
    for part, rows, _ in problem.chunks(progress):
        energy = QuadraticEnergy(rows, problem.atoms, shape, 1.0, gram, bound)
        if bound is None and not CoordinateDescent.fits(energy, rows.device):
            bound = energy.lipschitz()
        yield part, energy


def _many_codes(problem: Problem, shape: tuple[int, int, int]) -> Any:
    x = problem.x
    return x.new_empty(shape) if isinstance(x, Tensor) else np.empty(shape, x.dtype)
