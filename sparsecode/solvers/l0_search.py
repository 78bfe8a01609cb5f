"""The choice of alpha: that of a number of active codes."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsecode.ops.csr import CSR
from sparsecode.penalties import Proximal
from sparsecode.solvers.alphas import largest_alpha, shape_of
from sparsecode.solvers.checks import above_zero, prepare, whole
from sparsecode.solvers.encode import MAX_STEPS
from sparsecode.solvers.path import energies
from sparsecode.solvers.scaling import solve_in_any_units

__all__ = ["alpha_for_l0"]

LEAST = 1e-4  # of the largest alpha: `alpha_for_l0` searches no lower
FALL = 0.6  # from one alpha of this search to the next, until the L0 is passed
HALVINGS = 40
WITHIN = 0.005  # of the L0 that is sought


@torch.no_grad()
def alpha_for_l0(
    x: Any,
    D: Any,
    l0: float,
    *,
    positive: bool = False,
    penalty: Proximal | None = None,
    tol: float = 1e-5,
    max_rows: int = 10_000,
) -> float:
    """The alpha at which codes of `x` in `D` have `l0` active entries on average, to within 0.5 % of `l0`, or as near as these rows come.

    Alphas are tried from the largest `alpha_max` down, and then by bisection of their logarithm, each from the codes of the
    last larger one. The mean of few rows has few values (that of one row is a whole number), and may jump over `l0`: then the result is an alpha of the
    nearest of the two values, not 0, in the middle of the alphas that were tried with it, and a UserWarning names both.

    Parameters
    ----------
    x: samples [n, n_features]. D: atoms in rows [n_code, n_features].
    l0: mean number of active codes > 0, for L1 at most min(n_code, n_features).
    positive, penalty: as in `sparse_encode`. tol: relative duality gap of the codes that are counted.
    max_rows: rows of x to count in, spread evenly over it, all if there are fewer.

    Raises
    ------
    TypeError and ValueError as `sparse_encode`. ValueError where the L0 at every alpha from the largest `alpha_max` to 0.0001 of it is
    smaller: it names the largest.

    Examples
    --------
    >>> import numpy as np
    >>> import sparsecode as sc
    >>> rng = np.random.default_rng(0)
    >>> D, x = rng.normal(size=(8, 5)), rng.normal(size=(1000, 5))
    >>> alpha = sc.alpha_for_l0(x, D, l0=2.0)
    >>> round(float((sc.sparse_encode(x, D, alpha) != 0).sum(axis=1).mean()), 1)
    2.0
    """
    problem, shape, tol = prepare(x, D, CSR, None), shape_of(positive, penalty), above_zero("tol", tol)
    l0, n = above_zero("l0", l0), len(problem.x)
    kept = np.unique(np.linspace(0, n - 1, min(n, whole("max_rows", max_rows))).round().astype(np.int64)) if n else []
    if not len(kept):
        raise ValueError("x has no rows; expected at least one sample")
    problem = problem._replace(x=problem.x if len(kept) == n else problem.x[kept])
    most = min(problem.atoms.shape)
    if l0 > most:
        raise ValueError(
            f"l0 is {l0:g}; expected at most {most}: D has {len(problem.atoms)} atoms of {problem.atoms.shape[1]} features"
        )
    parts = [energy for _, energy in energies(problem, shape)]
    above = [e.x.new_zeros(len(e.x), len(problem.atoms)) for e in parts]  # codes at the last alpha with too small an L0

    def solved(alpha: float) -> tuple[float, list[Tensor]]:
        codes = [
            solve_in_any_units(e.at(alpha), None, z, max_steps=MAX_STEPS, tol=tol).z
            for e, z in zip(parts, above, strict=True)
        ]
        return sum(int(torch.count_nonzero(z)) for z in codes) / len(kept), codes

    high = largest_alpha(problem, shape)
    low, least, count, beyond = high, high * LEAST, 0.0, math.inf
    tried: list[tuple[float, float]] = []  # alphas and their L0
    close = WITHIN * l0
    while low > least:
        low = max(low * FALL, least)
        beyond, codes = solved(low)
        tried.append((low, beyond))
        if abs(beyond - l0) <= close:
            return low
        if beyond > l0:
            break
        high, count, above = low, beyond, codes
    if beyond < l0:
        raise ValueError(
            f"l0 is {l0:g}; expected at most {beyond:.4g}, the mean number of active codes at alpha={low:.3g}, 0.0001 of alpha_max: "
            "lower l0, or take a larger dictionary"
        )
    for _ in range(HALVINGS):
        middle = math.sqrt(high * low)
        reached, codes = solved(middle)
        tried.append((middle, reached))
        if abs(reached - l0) <= close:
            return middle
        if reached > l0:
            low, beyond = middle, reached
        else:
            high, count, above = middle, reached, codes
    nearest = count if count and l0 - count <= beyond - l0 else beyond
    alphas = [alpha for alpha, reached in tried if reached == nearest]
    inside = math.sqrt(min(alphas) * max(alphas))  # where rounding and other tolerances change nothing
    alpha = inside if solved(inside)[0] == nearest else max(alphas) if nearest == count else min(alphas)
    warnings.warn(
        f"l0 is {l0:g}; the mean number of active codes of {len(kept)} {'row' if len(kept) == 1 else 'rows'} jumps from {count:g} to {beyond:g} at "
        f"alpha={low:.6g}: the result is the alpha of {nearest:g}; more rows have values between",
        stacklevel=3,
    )
    return alpha
