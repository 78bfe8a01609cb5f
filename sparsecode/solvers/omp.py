"""`omp_encode`: codes with a given number of non-zeros, by orthogonal matching pursuit."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.solvers.checks import Problem, above_zero, out_of_range, prepare, whole
from sparsecode.solvers.missing import by_mask
from sparsecode.solvers.scaling import exponents, lost, shifted, squares_fit

__all__ = ["omp_encode", "unit_atoms"]

A = TypeVar("A", NDArray[Any], Tensor)


@overload
def omp_encode(
    x: A,
    D: NDArray[Any] | Tensor,
    n_nonzero: int | NDArray[Any] | Tensor | Sequence[int] | None = ...,
    *,
    tol: float | None = ...,
    positive: bool = ...,
    support: NDArray[np.bool_] | Tensor | None = ...,
    mask: NDArray[np.bool_] | Tensor | None = ...,
    missing: str | None = ...,
    out: A | None = ...,
    chunk: int | None = ...,
    progress: bool = ...,
) -> A: ...
@overload
def omp_encode(
    x: NDArray[Any] | Tensor,
    D: NDArray[Any] | Tensor,
    n_nonzero: int | NDArray[Any] | Tensor | Sequence[int] | None = ...,
    *,
    tol: float | None = ...,
    positive: bool = ...,
    support: NDArray[np.bool_] | Tensor | None = ...,
    mask: NDArray[np.bool_] | Tensor | None = ...,
    missing: str | None = ...,
    out: Literal["csr"],
    chunk: int | None = ...,
    progress: bool = ...,
) -> Any: ...
@torch.no_grad()
def omp_encode(
    x: Any,
    D: NDArray[Any] | Tensor,
    n_nonzero: int | NDArray[Any] | Tensor | Sequence[int] | None = None,
    *,
    tol: float | None = None,
    positive: bool = False,
    support: NDArray[np.bool_] | Tensor | None = None,
    mask: NDArray[np.bool_] | Tensor | None = None,
    missing: str | None = None,
    out: Any = None,
    chunk: int | None = None,
    progress: bool = False,
) -> Any:
    """Codes of the rows of `x` with at most `n_nonzero` atoms of `D` each, by orthogonal matching pursuit.

    Per row: choose the atom that correlates most with the residual, j = argmax |d_j . r| / |d_j|; refit all chosen atoms,
    z = argmin 1/2 |x - z D|_2^2 over codes that are zero elsewhere; repeat with r = x - z D. Atoms that the chosen ones
    already span are passed over. With `positive`, j = argmax d_j . r / |d_j| among those above 0, z is fitted over z >= 0, and
    atoms whose amplitude would become negative leave again: without a limit these are non-negative least squares.

    Parameters
    ----------
    x: samples [n, n_features], a NumPy array (memory-mapped ones are read chunk by chunk) or a torch tensor.
    D: atoms in rows [n_code, n_features], any norm; follows the type and device of `x`.
    n_nonzero: atoms per row at most, one number >= 1 or one per row [n] >= 0; no more than D has rows or columns. None:
        until `tol` is met or, with a `support`, to the least squares on it; one of these is needed then.
    tol: a row stops early when |x - z D|^2 <= tol * |x|^2; default: only when nothing but rounding is left.
    positive: hold codes to z >= 0.
    support: atoms that each row may use [n, n_code], bool; default all.
    mask, missing: which entries of x are observed, as in `sparse_encode`: norms, correlations and errors above are then those of
        the observed entries.
    out: array to write the codes to [n, n_code], of the kind and dtype of `x` (memory-mapped ones too); or "csr" for
        codes that stay sparse, as in `sparse_encode`.
    chunk: rows solved together, default 2048; changes speed, not results.
    progress: show a progress bar.

    Returns
    -------
    Codes [n, n_code], in the array type, dtype and device of `x`; solved on the CPU, half precision in float32. Units do not
    matter: powers of two of each sample and of each atom go through, bit for bit as far as the dtype reaches. A
    ConvergenceWarning counts the codes whose largest value overflows or is no normal number of the dtype.

    Raises
    ------
    TypeError for arrays of the wrong kind or dtype, ValueError for wrong shapes, values out of range, non-finite samples,
    memory that overlaps `out` and more atoms than have a Gram matrix in memory; the message names the argument.

    Source: Pati, Rezaiifar & Krishnaprasad, Asilomar 1993; with a Gram matrix and a progressive factorisation as in
    Rubinstein, Zibulevsky & Elad, Technion CS-2008-08. With `positive`: Lawson & Hanson, Solving Least Squares Problems, 1974,
    ch. 23, stopped early; Bruckstein, Elad & Zibulevsky, IEEE Trans. Information Theory 2008.

    Examples
    --------
    >>> import numpy as np
    >>> import sparsecode as sc
    >>> D = np.eye(4)
    >>> sc.omp_encode(np.array([[3.0, 0.0, -1.0, 0.5]]), D, n_nonzero=2)
    array([[ 3.,  0., -1.,  0.]])
    """
    problem = prepare(x, D, out, chunk, None, mask, missing)
    x = problem.x
    allowed = _checked_support(support, problem)
    if n_nonzero is None and tol is None and allowed is None:
        raise ValueError("n_nonzero, tol and support are all None; expected one of them: give n_nonzero or tol")
    most = _budgets(n_nonzero, problem)
    tol = 0.0 if tol is None else above_zero("tol", tol)
    atoms = problem.atoms.cpu()
    up = _exponents(atoms, atoms.square().sum(dim=1))
    atoms = atoms if up is None else shifted(atoms, -up[:, None])
    atoms, inverse = unit_atoms(atoms)
    gram = (atoms @ atoms.T).numpy()
    n_gone, zero = 0, torch.zeros((), dtype=torch.int32)
    for part, rows, observed in problem.chunks(progress):
        rows = rows.cpu()
        square = rows.square().sum(dim=1)
        down = _exponents(rows, square)
        if down is not None:
            rows = shifted(rows, -down[:, None])
            square = rows.square().sum(dim=1)
        options = most[part], tol, positive, None if allowed is None else allowed[part]
        z = _pursued(rows, square, None if observed is None else observed.cpu(), atoms, gram, *options)
        stored = z.mul_(inverse)
        if up is not None or down is not None:
            stored = shifted(z, (zero if down is None else down[:, None]) - (zero if up is None else up))
        gone = problem.write(part, stored)
        if stored is not z:
            gone = lost(z, stored) if gone is None else gone | lost(z, stored)
        n_gone += 0 if gone is None else int(gone.sum())
    if n_gone:
        from sklearn.exceptions import ConvergenceWarning  # here, because scikit-learn is slow to import

        warnings.warn(out_of_range(n_gone, x, fixed_step=False), ConvergenceWarning, stacklevel=2)
    return problem.result()


def _pursued(
    rows: Tensor, square: Tensor, observed: Tensor | None, atoms: Tensor, gram: Any,
    most: NDArray[np.int64], tol: float, positive: bool, allowed: NDArray[np.bool_] | None,
) -> Tensor:  # fmt: skip
    """Codes of `rows`, for atoms of norm one."""
    from sparsecode.kernels.omp import pursue, pursue_observed  # numba is slow to import

    z, threads = rows.new_zeros(len(rows), len(atoms)), torch.get_num_threads()
    if observed is None:
        corr = (rows @ atoms.T).numpy()
        pursue(gram, corr, square.numpy(), z.numpy(), most, tol, threads, positive=positive, allowed=allowed)
        return z
    groups, others = by_mask(observed)
    for some in groups:
        columns = observed[some[0]]
        part, inverse = unit_atoms(atoms[:, columns])
        x, codes = rows[some][:, columns], z[some]
        pursue(
            (part @ part.T).numpy(), (x @ part.T).numpy(), square[some].numpy(), codes.numpy(), most[some.numpy()], tol,
            threads, positive=positive, allowed=None if allowed is None else allowed[some.numpy()],
        )  # fmt: skip
        z[some] = codes * inverse
    if len(others):
        codes, at = z[others], others.numpy()
        pursue_observed(
            rows[others].numpy(), observed[others].numpy(), atoms.contiguous().numpy(), codes.numpy(), most[at], tol, threads,
            positive=positive, allowed=None if allowed is None else allowed[at],
        )  # fmt: skip
        z[others] = codes
    return z


def unit_atoms(atoms: Tensor) -> tuple[Tensor, Tensor]:
    """`atoms` [k, f] of norm 1, those of zeros as they are, and 1 / norms [k] (0 for these)."""
    norms = torch.linalg.vector_norm(atoms, dim=1)
    inverse = torch.where(norms > 0, 1 / norms, 0)
    return atoms * inverse[:, None], inverse


def _budgets(n_nonzero: Any, problem: Problem) -> NDArray[np.int64]:
    """The number of atoms for each row at most."""
    n, (n_code, n_features) = len(problem.x), problem.atoms.shape
    largest = min(n_code, n_features)
    if n_nonzero is None:
        return np.full(n, largest)
    if isinstance(n_nonzero, Tensor):
        n_nonzero = n_nonzero.detach().cpu().numpy()
    if np.ndim(n_nonzero):
        most = np.asarray(n_nonzero)
        if most.dtype.kind not in "iu" or most.shape != (n,):
            raise ValueError(
                f"n_nonzero has shape {most.shape} and dtype {most.dtype}; expected a whole number >= 1, or one per row of x: "
                f"integers of shape ({n},)"
            )
        if len(most) and most.min() < 0:
            raise ValueError(f"n_nonzero is {most.min()} in row {most.argmin()}; expected whole numbers >= 0")
        most = most.astype(np.int64)
        top = int(most.max(initial=0))
    else:
        top = whole("n_nonzero", n_nonzero)
        most = np.full(n, top)
    if top > largest:
        raise ValueError(
            f"n_nonzero is {top}; expected at most {largest}: D has {n_code} atoms of {n_features} features"
        )
    return most


def _checked_support(support: Any, problem: Problem) -> NDArray[np.bool_] | None:
    if support is None:
        return None
    allowed = support.detach().cpu().numpy() if isinstance(support, Tensor) else np.asarray(support)
    shape = (len(problem.x), len(problem.atoms))
    if allowed.dtype != np.bool_ or allowed.shape != shape:
        raise ValueError(
            f"support has shape {allowed.shape} and dtype {allowed.dtype}; expected a bool for each row of x and of D, "
            f"[n_samples, n_code] = {shape}"
        )
    return allowed


def _exponents(rows: Tensor, squares: Tensor) -> Tensor | None:
    """Those e [n] for which 2^-e rows have squares well within the range; None if they have, or are all 0."""
    return None if not rows.numel() or squares_fit(squares, rows) else exponents(rows)
