"""`sparse_encode`: codes for the rows of an array under a fixed dictionary, with a certificate."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, TypeVar, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.ops.norms import largest_eigenvalue_bound
from sparsecode.penalties import L1
from sparsecode.solvers.energy import QuadraticEnergy
from sparsecode.solvers.solve import Solver, solve
from sparsecode.types import Solution

__all__ = ["sparse_encode"]

A = TypeVar("A", NDArray[Any], Tensor)

CHUNK = 2048
MAX_STEPS = 10_000


@overload
def sparse_encode(
    x: A,
    D: NDArray[Any] | Tensor,
    alpha: float,
    *,
    positive: bool = ...,
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
    solver: `CoordinateDescent()` (default on a CPU), `FISTA()` (default elsewhere) or `ISTA()`.
    tol: a row stops when its duality gap is at most tol * 1/2 |x|^2. In float32, 1e-6 is about the least.
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
    TypeError for arrays of the wrong kind or dtype, ValueError for wrong shapes, values out of range and
    non-finite samples; the message names the argument.
    """
    is_torch = isinstance(x, Tensor)
    x = _matrix("x", x)
    atoms = _matrix("D", D)
    if not len(atoms):
        raise ValueError("D has no rows; expected at least one atom")
    atoms = torch.as_tensor(_native(atoms)).to(device=x.device if is_torch else "cpu", dtype=_working_dtype(x))
    n, n_code = len(x), len(atoms)
    if atoms.shape[1] != x.shape[1]:
        raise ValueError(
            f"D has {atoms.shape[1]} columns and x has {x.shape[1]}; expected as many: D is [n_code, n_features], "
            "one atom per row" + (" (did you pass D transposed?)" if len(atoms) == x.shape[1] else "")
        )
    if not bool(torch.isfinite(atoms).all()):
        raise ValueError("D contains NaN or infinity; expected finite atoms")
    alpha, tol = _in_range("alpha", alpha), _in_range("tol", tol)
    if solver is not None and not isinstance(solver, Solver):
        raise TypeError(
            f"solver is {solver!r}; expected CoordinateDescent(), FISTA() or ISTA() from sparsecode.solvers"
        )
    max_steps = MAX_STEPS if max_steps is None else _count("max_steps", max_steps)
    chunk = CHUNK if chunk is None else _count("chunk", chunk)
    z0 = None if z0 is None else _like("z0", z0, x, n_code)
    codes = _empty(x, (n, n_code), x.dtype) if out is None else _like("out", out, x, n_code)

    penalty = L1(positive=positive)
    gram = atoms @ atoms.T
    bound = largest_eigenvalue_bound(gram)
    parts: list[Solution[Tensor]] = []
    overflows = 0
    for start in _track(range(0, n, chunk), progress):
        stop = min(start + chunk, n)
        rows = _tensor(x[start:stop], atoms)
        if not bool(torch.isfinite(rows).all()):
            bad = int(torch.nonzero(~torch.isfinite(rows).all(dim=1))[0]) + start
            raise ValueError(f"x contains NaN or infinity, first in row {bad}; expected finite samples")
        first = rows.new_zeros(stop - start, n_code) if z0 is None else _tensor(z0[start:stop], atoms)
        if not bool(torch.isfinite(first).all()):
            raise ValueError("z0 contains NaN or infinity; expected finite codes")
        energy = QuadraticEnergy(rows, atoms, penalty, alpha, gram, bound)
        solution = solve(energy, solver, first, max_steps=max_steps, tol=tol)
        codes[start:stop] = solution.z if is_torch else solution.z.numpy()
        # A gap may be infinite for a sample of zeros; NaN always means that numbers overflowed on the way.
        overflows += int((solution.gap.isnan() | ~solution.z.isfinite().all(dim=1)).sum())
        parts.append(solution._replace(z=solution.z[:0]))
    kinds = (atoms.dtype, atoms.dtype, torch.long, torch.bool)
    joined = [torch.cat([p[i] for p in parts] or [atoms.new_zeros(0, dtype=k)]) for i, k in enumerate(kinds, start=1)]
    result = Solution(codes, *(joined if is_torch else [part.numpy() for part in joined]))
    _warn_if_unfinished(joined[1], joined[3], overflows, tol, max_steps)
    return result if return_solution else codes


def _matrix(name: str, value: Any) -> Any:
    if not isinstance(value, np.ndarray | Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}; expected a NumPy array or a torch tensor")
    array = cast("NDArray[Any] | Tensor", value)
    if array.ndim != 2:
        raise ValueError(
            f"{name} has shape {tuple(array.shape)}; expected two axes, [n_samples, n_features]-like "
            f"(one row: {name}[None])"
        )
    floating = array.is_floating_point() if isinstance(array, Tensor) else array.dtype.kind == "f"
    if not floating:
        raise TypeError(f"{name} has dtype {array.dtype}; expected a floating-point type: convert it to float32 first")
    if isinstance(array, np.ndarray) and array.dtype.itemsize > 8:
        raise TypeError(f"{name} has dtype {array.dtype}; float64 is the widest that can be solved: convert it first")
    return array


def _native(array: Any) -> Any:
    """A copy in this machine's byte order (torch knows no other); tensors as they are."""
    return array.astype(array.dtype.newbyteorder("=")) if isinstance(array, np.ndarray) else array


def _working_dtype(x: Any) -> torch.dtype:
    double = x.dtype == torch.float64 if isinstance(x, Tensor) else x.dtype.itemsize >= 8
    return torch.float64 if double else torch.float32


def _tensor(rows: Any, like: Tensor) -> Tensor:
    # a copy, too: a chunk of a read-only memory map cannot back a tensor
    return torch.as_tensor(_native(rows)).to(like)


def _empty(x: Any, shape: tuple[int, int], dtype: Any) -> Any:
    return x.new_empty(shape) if isinstance(x, Tensor) else np.empty(shape, dtype)


def _like(name: str, value: Any, x: Any, n_code: int) -> Any:
    same_kind = isinstance(value, Tensor) == isinstance(x, Tensor) and isinstance(value, np.ndarray | Tensor)
    if not same_kind or value.dtype != x.dtype:
        given = f"{type(value).__name__} of dtype {getattr(value, 'dtype', '?')}"
        raise TypeError(f"{name} is a {given}; expected the kind and dtype of x: {type(x).__name__}, {x.dtype}")
    if tuple(value.shape) != (len(x), n_code):
        raise ValueError(f"{name} has shape {tuple(value.shape)}; expected [n_samples, n_code] = {(len(x), n_code)}")
    if name == "out" and isinstance(value, np.ndarray) and not value.flags.writeable:
        raise ValueError(
            "out is read-only; expected an array that can be written (a memory map opened with mode r+ or w+)"
        )
    return value


def _in_range(name: str, value: Any) -> float:
    number = value.item() if isinstance(value, np.generic | Tensor) and value.ndim == 0 else value
    if not (isinstance(number, int | float) and math.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {value!r}; expected a finite number > 0")
    return float(number)


def _count(name: str, value: Any) -> int:
    if not (isinstance(value, int | np.integer) and value >= 1):
        raise ValueError(f"{name} is {value!r}; expected a whole number >= 1")
    return int(value)


def _track(starts: range, progress: bool) -> Any:
    if not progress:
        return starts
    from rich.progress import track

    return track(starts, description="encoding")


def _warn_if_unfinished(gap: Tensor, converged: Tensor, overflows: int, tol: float, max_steps: int) -> None:
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
        f"{int(left.sum())} of {len(gap)} codes stopped at max_steps={max_steps} with relative duality gaps up to "
        f"{float(gap[left].max()):.1e}, above tol={tol:g}; raise max_steps or tol"
        + (", or pass x as float64" if gap.dtype == torch.float32 and tol < 1e-5 else ""),
        ConvergenceWarning,
        stacklevel=3,
    )
