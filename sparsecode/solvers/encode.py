"""`sparse_encode`: codes for the rows of an array under a fixed dictionary, with a certificate."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.ops.norms import largest_eigenvalue_bound
from sparsecode.penalties import L1, Convex, ElasticNet, Proximal
from sparsecode.records import Solution
from sparsecode.solvers.alpha_arrays import checked_alphas, solve_scaled
from sparsecode.solvers.checks import above_zero, out_of_range, prepare, tensor_like, whole
from sparsecode.solvers.coordinate import CoordinateDescent
from sparsecode.solvers.energy import QuadraticEnergy
from sparsecode.solvers.loop import Solver, checked_penalty, checked_solver
from sparsecode.solvers.missing import solve_observed
from sparsecode.solvers.observed import checked_weight

__all__ = ["MAX_STEPS", "sparse_encode", "warn_if_unfinished"]

A = TypeVar("A", NDArray[Any], Tensor)

MAX_STEPS = 10_000


@overload
def sparse_encode(
    x: A,
    D: NDArray[Any] | Tensor,
    alpha: float | NDArray[Any] | Tensor,
    *,
    positive: bool = ...,
    penalty: Proximal | None = ...,
    solver: Solver | None = ...,
    tol: float = ...,
    max_steps: int | None = ...,
    mask: NDArray[np.bool_] | Tensor | None = ...,
    missing: str | None = ...,
    sample_weight: NDArray[Any] | Tensor | Sequence[float] | None = ...,
    z0: A | None = ...,
    out: A | None = ...,
    chunk: int | None = ...,
    progress: bool = ...,
    return_solution: Literal[False] = ...,
) -> A: ...
@overload
def sparse_encode(
    x: A,
    D: NDArray[Any] | Tensor,
    alpha: float | NDArray[Any] | Tensor,
    *,
    positive: bool = ...,
    penalty: Proximal | None = ...,
    solver: Solver | None = ...,
    tol: float = ...,
    max_steps: int | None = ...,
    mask: NDArray[np.bool_] | Tensor | None = ...,
    missing: str | None = ...,
    sample_weight: NDArray[Any] | Tensor | Sequence[float] | None = ...,
    z0: A | None = ...,
    out: A | None = ...,
    chunk: int | None = ...,
    progress: bool = ...,
    return_solution: Literal[True],
) -> Solution[A]: ...
@overload
def sparse_encode(
    x: NDArray[Any] | Tensor,
    D: NDArray[Any] | Tensor,
    alpha: float | NDArray[Any] | Tensor,
    *,
    positive: bool = ...,
    penalty: Proximal | None = ...,
    solver: Solver | None = ...,
    tol: float = ...,
    max_steps: int | None = ...,
    mask: NDArray[np.bool_] | Tensor | None = ...,
    missing: str | None = ...,
    sample_weight: NDArray[Any] | Tensor | Sequence[float] | None = ...,
    z0: NDArray[Any] | Tensor | None = ...,
    out: Literal["csr"],
    chunk: int | None = ...,
    progress: bool = ...,
    return_solution: Literal[False] = ...,
) -> Any: ...
@overload
def sparse_encode(
    x: NDArray[Any] | Tensor,
    D: NDArray[Any] | Tensor,
    alpha: float | NDArray[Any] | Tensor,
    *,
    positive: bool = ...,
    penalty: Proximal | None = ...,
    solver: Solver | None = ...,
    tol: float = ...,
    max_steps: int | None = ...,
    mask: NDArray[np.bool_] | Tensor | None = ...,
    missing: str | None = ...,
    sample_weight: NDArray[Any] | Tensor | Sequence[float] | None = ...,
    z0: NDArray[Any] | Tensor | None = ...,
    out: Literal["csr"],
    chunk: int | None = ...,
    progress: bool = ...,
    return_solution: Literal[True],
) -> Solution[Any]: ...
def sparse_encode(
    x: Any,
    D: Any,
    alpha: float | NDArray[Any] | Tensor,
    *,
    positive: bool = False,
    penalty: Any = None,
    solver: Any = None,
    tol: float = 1e-4,
    max_steps: int | None = None,
    mask: Any = None,
    missing: str | None = None,
    sample_weight: Any = None,
    z0: Any = None,
    out: Any = None,
    chunk: int | None = None,
    progress: bool = False,
    return_solution: bool = False,
) -> Any:
    """Sparse codes of the rows of `x` in the dictionary `D`, each with a proven distance from its optimum.

    Per row: argmin_z 1/2 |x - z D|_2^2 + alpha |z|_1, over z >= 0 if `positive`. This is scikit-learn's
    `sparse_encode` objective with the same alpha (its `Lasso` divides alpha by n_features).

    Parameters
    ----------
    x: samples [n, n_features], a NumPy array (memory-mapped ones are read chunk by chunk) or a torch tensor.
    D: atoms in rows [n_code, n_features], any norm; follows the type and device of `x`.
    alpha: penalty weight > 0, in the units of x times the atom norm; or one per atom [n_code] or [1, n_code], or one per row [n] or
        [n, 1], for L1: then the term is sum_j alpha_j |z_j|, and codes are solved in float64.
    positive: hold codes to z >= 0.
    penalty: a shape of `sparsecode.penalties` in place of |z|_1 (then `positive` is a field of it).
    solver: default `CoordinateDescent()` for L1 and the elastic net on a CPU, `FISTA(restart=True)` for all else;
        or one of these and `ISTA()`.
    tol: a row stops when its duality gap is at most tol * 1/2 |x|^2 (for a penalty that is not convex: when the root
        mean square of its KKT residual is at most tol). Codes stored in float32 reach about 1e-6, less near for small alpha.
    max_steps: bound on steps per row, default 10 000. Rows that reach it raise a ConvergenceWarning.
    mask: where x is observed [n, n_features], bool. A row's objective is then 1/2 |m (x - z D)|_2^2 + alpha |z|_1 with m its row
        of `mask`, its gap that of this problem, relative to 1/2 |m x|^2; other entries of x are not read, NaN may stand there. A row without an
        observed entry has a code of zeros.
    missing: "nan": entries of x that are NaN are not observed, besides those that `mask` excludes. Default: NaN is refused.
    sample_weight: numbers >= 0 [n] that multiply the rows' objectives, in a `Solution`. They multiply both terms and so
        change neither codes nor gaps. To weigh the first term alone, divide alpha by them.
    z0: codes to start from [n, n_code], default zeros.
    out: array to write the codes to [n, n_code], of the kind and dtype of `x` (memory-mapped ones too); or "csr" for
        codes that stay sparse: only `chunk` rows of them are ever dense.
    chunk: rows solved together, default 2048; changes speed, not results.
    progress: show a progress bar.
    return_solution: return a `Solution` (codes, objective, gap, steps, converged per row) instead of codes.

    Returns
    -------
    Codes [n, n_code], in the array type, dtype and device of `x`; half precision is solved in float32, and the
    certificate is that of the codes before they are rounded to it. With `out="csr"` a `scipy.sparse.csr_array` (float32 for
    float16) or, for tensors, one of layout `torch.sparse_csr`. Units do not matter: the codes of 2^a x and 2^b D at
    2^(a + b) alpha are 2^(a - b) times those of x and D (bit for bit from coordinate descent) as far as the dtype reaches. A code whose largest value
    overflows, or is no normal number of the dtype, has an infinite gap, is not `converged` and raises a ConvergenceWarning.
    `objective` is 0 or infinite where it leaves the range of the dtype.
    Gaps of float32 codes are computed in float64, and codes that this finds further from the optimum than `tol` are refined in
    float64; where alpha is below 2^-10 |x| |D|, what rounding may hide in float64 codes is added. A gap is an upper bound,
    to rounding of float64, or infinite, and `converged` says that it is at most tol.

    Raises
    ------
    TypeError for arrays of the wrong kind or dtype, ValueError for wrong shapes, values out of range, non-finite samples,
    memory that overlaps `out`, more atoms than have a Gram matrix in memory, and units too far apart for the dtype (alpha
    beside x and D, one atom beside another); the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> import sparsecode as sc
    >>> rng = np.random.default_rng(0)
    >>> D, x = rng.normal(size=(8, 5)), rng.normal(size=(3, 5))
    >>> z = sc.sparse_encode(x, D, alpha=0.5)
    >>> z.shape
    (3, 8)
    >>> solution = sc.sparse_encode(x, D, alpha=0.5, return_solution=True)
    >>> bool(solution.converged.all()), bool((solution.gap <= 1e-4).all())
    (True, True)
    """
    problem = prepare(x, D, out, chunk, z0, mask, missing)
    x, atoms, z0 = problem.x, problem.atoms, problem.z0
    share = checked_weight(sample_weight, x)
    is_torch = isinstance(x, Tensor)
    tol, alphas = above_zero("tol", tol), checked_alphas(alpha, len(x), len(atoms))
    weight = above_zero("alpha", alpha) if alphas is None else 1.0
    penalty, solver = checked_penalty(penalty), checked_solver(solver)
    if penalty is not None and positive:
        raise ValueError(
            f"positive=True was given beside penalty={penalty!r}; expected one: set the penalty's own field"
        )
    max_steps = MAX_STEPS if max_steps is None else whole("max_steps", max_steps)

    shape = L1(positive=positive) if penalty is None else penalty
    if alphas is not None and not isinstance(shape, L1):
        raise ValueError(f"alpha has more than one value, and penalty is {penalty!r}; expected one number, or L1()")
    gram = atoms @ atoms.T
    if solver is None and isinstance(shape, L1 | ElasticNet) and atoms.device.type == "cpu":
        solver = CoordinateDescent()
    bound = None if isinstance(solver, CoordinateDescent) else largest_eigenvalue_bound(gram)
    parts: list[Solution[Tensor]] = []
    n_gone = 0
    for part, rows, observed in problem.chunks(progress):
        first = rows.new_zeros(len(rows), len(atoms)) if z0 is None else tensor_like(z0[part], atoms)
        if z0 is not None and not bool(torch.isfinite(first).all()):
            raise ValueError("z0 contains NaN or infinity; expected finite codes")
        if alphas is None:
            energy = QuadraticEnergy(rows, atoms, shape, weight, gram, bound)
            solution = solve_observed(energy, observed, solver, first, max_steps=max_steps, tol=tol)
        else:
            some = alphas if len(alphas.rows) == 1 else alphas._replace(rows=alphas.rows[part])
            solution = solve_scaled(
                rows, atoms, shape.positive, some, observed, solver, first, max_steps=max_steps, tol=tol
            )
        gone = problem.write(part, solution.z)
        if gone is not None or not math.isfinite(
            float(solution.gap.sum())
        ):  # codes that are not finite have no finite gap
            gone = ~solution.gap.isfinite() if gone is None else gone | ~solution.gap.isfinite()
            n_gone += int(gone.sum())
            gap, converged = solution.gap.masked_fill(gone, torch.inf), solution.converged & ~gone
            solution = solution._replace(gap=gap, converged=converged)
        parts.append(solution._replace(z=solution.z[:0]))
    kinds = (atoms.dtype, atoms.dtype, torch.long, torch.bool)
    joined = [torch.cat([p[i] for p in parts] or [atoms.new_zeros(0, dtype=k)]) for i, k in enumerate(kinds, start=1)]
    if share is not None:
        joined[0] = joined[0] * torch.from_numpy(share).to(joined[0])
    codes = problem.result()
    result = Solution(codes, *(joined if is_torch else [part.numpy() for part in joined]))
    measure = "relative duality gaps" if isinstance(shape, Convex) else "root mean square KKT residuals"
    fixed = getattr(solver, "step_size", None) is not None
    beyond = out_of_range(n_gone, x, fixed) if n_gone else None
    warn_if_unfinished(joined[1], joined[2], joined[3], beyond, tol, max_steps, measure)
    return result if return_solution else codes


def warn_if_unfinished(
    gap: Tensor, steps: Tensor, converged: Tensor, beyond: str | None, tol: float, max_steps: int, measure: str
) -> None:
    """A ConvergenceWarning on behalf of the caller's caller if not all codes have `converged`."""
    if bool(converged.all()):
        return
    from sklearn.exceptions import ConvergenceWarning  # here, because scikit-learn is slow to import

    left = ~converged
    most, wider = float(gap[left].max()), ", or pass x as float64" if gap.dtype == torch.float32 else ""
    if beyond is None and bool((steps[left] < max_steps).any()):
        beyond = (
            f"{int(left.sum())} of {len(gap)} codes have {measure} up to {most:.1e}, above tol={tol:g}: rounding allows no less "
            f"beside so small an alpha; raise alpha or tol{wider}"
        )
    text = beyond or (
        f"{int(left.sum())} of {len(gap)} codes stopped at max_steps={max_steps} with {measure} up to {most:.1e}, above "
        f"tol={tol:g}; raise max_steps or tol{wider if tol < 1e-5 else ''}"
    )
    warnings.warn(text, ConvergenceWarning, stacklevel=3)
