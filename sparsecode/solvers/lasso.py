"""`sparse_encode`: codes for the rows of an array under a fixed dictionary, with a certificate."""

from __future__ import annotations

import warnings
from typing import Any, Literal, TypeVar, overload

import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.ops.norms import largest_eigenvalue_bound
from sparsecode.penalties import L1, Convex, ElasticNet, Penalty
from sparsecode.solvers.checks import above_zero, like, prepare, tensor_like, whole
from sparsecode.solvers.coordinate import CoordinateDescent
from sparsecode.solvers.energy import QuadraticEnergy
from sparsecode.solvers.solve import Solver, solve
from sparsecode.types import Solution

__all__ = ["sparse_encode"]

A = TypeVar("A", NDArray[Any], Tensor)

MAX_STEPS = 10_000


@overload
def sparse_encode(
    x: A,
    D: NDArray[Any] | Tensor,
    alpha: float,
    *,
    positive: bool = ...,
    penalty: Penalty | None = ...,
    solver: Solver | None = ...,
    tol: float = ...,
    max_steps: int | None = ...,
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
    alpha: float,
    *,
    positive: bool = ...,
    penalty: Penalty | None = ...,
    solver: Solver | None = ...,
    tol: float = ...,
    max_steps: int | None = ...,
    z0: A | None = ...,
    out: A | None = ...,
    chunk: int | None = ...,
    progress: bool = ...,
    return_solution: Literal[True],
) -> Solution[A]: ...
def sparse_encode(
    x: Any,
    D: Any,
    alpha: float,
    *,
    positive: bool = False,
    penalty: Any = None,
    solver: Any = None,
    tol: float = 1e-4,
    max_steps: int | None = None,
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
    alpha: penalty weight > 0, in the units of x times the atom norm.
    positive: hold codes to z >= 0.
    penalty: a shape of `sparsecode.penalties` in place of |z|_1 (then `positive` is a field of it).
    solver: default `CoordinateDescent()` for L1 and the elastic net on a CPU, `FISTA(restart=True)` for all else;
        or one of these and `ISTA()`.
    tol: a row stops when its duality gap is at most tol * 1/2 |x|^2 (for a penalty that is not convex: when the root
        mean square of its KKT residual is at most tol). In float32, 1e-6 is about the least.
    max_steps: bound on steps per row, default 10 000. Rows that reach it raise a ConvergenceWarning.
    z0: codes to start from [n, n_code], default zeros.
    out: array to write the codes to [n, n_code], of the kind and dtype of `x` (memory-mapped ones too).
    chunk: rows solved together, default 2048; changes speed, not results.
    progress: show a progress bar.
    return_solution: return a `Solution` (codes, objective, gap, steps, converged per row) instead of codes.

    Returns
    -------
    Codes [n, n_code], in the array type, dtype and device of `x`; half precision is solved in float32.

    Raises
    ------
    TypeError for arrays of the wrong kind or dtype, ValueError for wrong shapes, values out of range,
    non-finite samples and ones whose squares overflow; the message names the argument.
    """
    problem = prepare(x, D, out, chunk)
    x, atoms, codes = problem.x, problem.atoms, problem.codes
    is_torch = isinstance(x, Tensor)
    alpha, tol = above_zero("alpha", alpha), above_zero("tol", tol)
    if penalty is not None and not isinstance(penalty, Penalty):
        raise TypeError(f"penalty is {penalty!r}; expected one of sparsecode.penalties, such as ElasticNet(ratio=0.5)")
    if penalty is not None and positive:
        raise ValueError(
            f"positive=True was given beside penalty={penalty!r}; expected one: set the penalty's own field"
        )
    if solver is not None and not isinstance(solver, Solver):
        raise TypeError(
            f"solver is {solver!r}; expected CoordinateDescent(), FISTA() or ISTA() from sparsecode.solvers"
        )
    max_steps = MAX_STEPS if max_steps is None else whole("max_steps", max_steps)
    z0 = None if z0 is None else like("z0", z0, x, len(atoms))

    shape = L1(positive=positive) if penalty is None else penalty
    gram = atoms @ atoms.T
    if solver is None and isinstance(shape, L1 | ElasticNet) and atoms.device.type == "cpu":
        solver = CoordinateDescent()
    bound = None if isinstance(solver, CoordinateDescent) else largest_eigenvalue_bound(gram)
    parts: list[Solution[Tensor]] = []
    overflows = 0
    for part, rows in problem.chunks(progress):
        first = rows.new_zeros(len(rows), len(atoms)) if z0 is None else tensor_like(z0[part], atoms)
        if z0 is not None and not bool(torch.isfinite(first).all()):
            raise ValueError("z0 contains NaN or infinity; expected finite codes")
        energy = QuadraticEnergy(rows, atoms, shape, alpha, gram, bound)
        solution = solve(energy, solver, first, max_steps=max_steps, tol=tol)
        problem.write(part, solution.z)
        # A gap may be infinite for a sample of zeros; NaN always means that numbers overflowed on the way.
        overflows += int((solution.gap.isnan() | ~solution.z.isfinite().all(dim=1)).sum())
        parts.append(solution._replace(z=solution.z[:0]))
    kinds = (atoms.dtype, atoms.dtype, torch.long, torch.bool)
    joined = [torch.cat([p[i] for p in parts] or [atoms.new_zeros(0, dtype=k)]) for i, k in enumerate(kinds, start=1)]
    result = Solution(codes, *(joined if is_torch else [part.numpy() for part in joined]))
    measure = "relative duality gaps" if isinstance(shape, Convex) else "root mean square KKT residuals"
    _warn_if_unfinished(joined[1], joined[3], overflows, tol, max_steps, measure)
    return result if return_solution else codes


def _warn_if_unfinished(
    gap: Tensor, converged: Tensor, overflows: int, tol: float, max_steps: int, measure: str
) -> None:
    if bool(converged.all()):
        return
    from sklearn.exceptions import ConvergenceWarning  # here, because scikit-learn is slow to import

    left = ~converged
    if overflows:
        warnings.warn(
            f"{overflows} of {len(gap)} codes overflowed: x or D is too large for its dtype, or a fixed step_size is too long",
            ConvergenceWarning,
            stacklevel=3,
        )
        return
    warnings.warn(
        f"{int(left.sum())} of {len(gap)} codes stopped at max_steps={max_steps} with {measure} up to "
        f"{float(gap[left].max()):.1e}, above tol={tol:g}; raise max_steps or tol"
        + (", or pass x as float64" if gap.dtype == torch.float32 and tol < 1e-5 else ""),
        ConvergenceWarning,
        stacklevel=3,
    )
