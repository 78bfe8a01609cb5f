"""The choice of alpha by the prediction of hidden entries."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sparsecode.ops.csr import CSR
from sparsecode.ops.rng import generator
from sparsecode.penalties import Proximal
from sparsecode.solvers.alphas import N_ALPHAS, RATIO, descending, grid_from, largest_alpha, power_of_two_for, shape_of
from sparsecode.solvers.checks import above_zero, prepare, whole
from sparsecode.solvers.encode import MAX_STEPS
from sparsecode.solvers.energy import QuadraticEnergy
from sparsecode.solvers.path import solutions_at
from sparsecode.specs import check_seed

__all__ = ["HeldOut", "cross_validate_alpha"]

SHARED = 256  # successive rows that hide the same entries, so that one Gram matrix serves them


class HeldOut(NamedTuple):
    """Errors of predicted entries at several penalty weights, in descending order.

    `alpha`, that of the least error; `sparsest`, the largest one whose error is within one standard error of it; `alphas` [n_alphas];
    `error` [n_alphas], sum (x - z D)^2 / sum x^2, over all entries when hidden; `standard_error` [n_alphas], over folds.
    """

    alpha: float
    sparsest: float
    alphas: NDArray[np.float64]
    error: NDArray[np.float64]
    standard_error: NDArray[np.float64]


@torch.no_grad()
def cross_validate_alpha(
    x: Any,
    D: Any,
    alphas: Any = None,
    *,
    n_folds: int = 5,
    n_alphas: int = N_ALPHAS,
    ratio: float = RATIO,
    positive: bool = False,
    penalty: Proximal | None = None,
    tol: float = 1e-3,
    seed: int = 0,
    chunk: int | None = None,
    progress: bool = False,
) -> HeldOut:
    """The alpha whose codes predict hidden entries of the rows of `x` best.

    The entries of a row are divided at random into `n_folds` parts. Each part is hidden once: the row's code is that of
    the other entries, argmin_z 1/2 |m (x - z D)|_2^2 + alpha |z|_1 with m 0 where x is hidden, and z D predicts the hidden ones. Small
    alphas fit the noise of the seen entries, large ones neither part. 256 successive rows hide the same entries.

    Parameters
    ----------
    x: samples [n, n_features]. D: atoms in rows [n_code, n_features]; learn it from other samples.
    alphas, n_alphas, ratio, positive, penalty, tol, chunk, progress: as in `sparse_path`.
    n_folds: parts of the entries of a row, from 2 to n_features. With few, codes see less of x than they will later.
    seed: from 0 to 2^32 - 1, of the division.

    Returns
    -------
    A `HeldOut`: the best alpha, errors and standard errors.

    Raises
    ------
    TypeError and ValueError as `sparse_path`, and for `n_folds` or `seed` out of range.

    Source: Wold, Technometrics 1978 (cross-validation by entries of a matrix); one standard error: Hastie, Tibshirani & Friedman, The
    Elements of Statistical Learning, section 7.10.

    Examples
    --------
    >>> import numpy as np
    >>> import sparsecode as sc
    >>> rng = np.random.default_rng(0)
    >>> D = rng.normal(size=(30, 20))
    >>> z = rng.laplace(size=(200, 30)) * (rng.random((200, 30)) < 0.1)
    >>> result = sc.cross_validate_alpha(z @ D + rng.normal(size=(200, 20)), D, n_alphas=10)
    >>> bool(result.alphas.min() < result.alpha < result.alphas.max())
    True
    """
    problem, shape, tol = prepare(x, D, CSR, chunk), shape_of(positive, penalty), above_zero("tol", tol)
    check_seed(seed)
    n, n_features = len(problem.x), problem.atoms.shape[1]
    if not 2 <= whole("n_folds", n_folds) <= n_features:
        raise ValueError(f"n_folds is {n_folds}; expected a whole number from 2 to n_features = {n_features}")
    if not n:
        raise ValueError("x has no rows; expected at least one sample")
    grid = (
        grid_from(largest_alpha(problem, shape), whole("n_alphas", n_alphas), ratio)
        if alphas is None
        else descending(alphas)
    )
    wrong, squares, scale = np.zeros((n_folds, len(grid))), 0.0, 0.0
    for part, chunk_rows, _ in problem.chunks(progress):
        scale = scale or power_of_two_for(chunk_rows)[0]
        first = -(part.start % SHARED)  # the same rows together in chunks of any size
        for start in range(first, len(chunk_rows), SHARED):
            rows = chunk_rows[max(start, 0) : start + SHARED]
            order = torch.randperm(n_features, generator=generator(seed, "hidden entries", part.start + start))
            for fold, hidden in enumerate(order.to(rows.device).tensor_split(n_folds)):
                seen = torch.ones(n_features, dtype=torch.bool, device=rows.device).index_fill_(0, hidden, False)
                energy = QuadraticEnergy(rows[:, seen], problem.atoms[:, seen], shape, 1.0)
                target, atoms = rows[:, hidden], problem.atoms[:, hidden]
                squares += float((target.double() * scale).square().sum())
                for i, solution in enumerate(solutions_at(energy, grid, tol, MAX_STEPS)):
                    wrong[fold, i] += float(((target - solution.z @ atoms).double() * scale).square().sum())
    errors = wrong * n_folds / max(squares, np.finfo(np.float64).tiny)
    error, deviation = errors.mean(axis=0), errors.std(axis=0, ddof=1) / np.sqrt(n_folds)
    best = int(error.argmin())
    if len(grid) > 1 and best in (0, len(grid) - 1):
        side, remedy = (
            ("largest", "give larger `alphas`")
            if best == 0
            else ("smallest", "lower `ratio`, or give smaller `alphas`")
        )
        warnings.warn(
            f"the best alpha, {grid[best]:.4g}, is the {side} of the {len(grid)} that were tried: one beyond may be better; {remedy}",
            stacklevel=2,
        )
    sparsest = int((error <= error[best] + deviation[best]).argmax())
    return HeldOut(float(grid[best]), float(grid[sparsest]), grid, error, deviation)
