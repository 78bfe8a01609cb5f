"""`omp_encode`: codes with a given number of non-zeros, by orthogonal matching pursuit."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.solvers.checks import above_zero, out_of_range, prepare, whole
from sparsecode.solvers.scaling import exponents, lost, shifted, squares_fit

__all__ = ["omp_encode"]

A = TypeVar("A", NDArray[Any], Tensor)


@torch.no_grad()
def omp_encode(
    x: A,
    D: NDArray[Any] | Tensor,
    n_nonzero: int,
    *,
    tol: float | None = None,
    out: A | None = None,
    chunk: int | None = None,
    progress: bool = False,
) -> A:
    """Codes of the rows of `x` with at most `n_nonzero` atoms of `D` each, by orthogonal matching pursuit.

    Per row: take the atom that correlates most with the residual, j = argmax |d_j . r| / |d_j|; refit all taken atoms,
    z = argmin 1/2 |x - z D|_2^2 over codes that are zero elsewhere; repeat with r = x - z D. Atoms that the taken ones
    already span are passed over.

    Parameters
    ----------
    x: samples [n, n_features], a NumPy array (memory-mapped ones are read chunk by chunk) or a torch tensor.
    D: atoms in rows [n_code, n_features], any norm; follows the type and device of `x`.
    n_nonzero: atoms per row at most; no more than D has rows or columns.
    tol: a row stops early when |x - z D|^2 <= tol * |x|^2; default: only when nothing but rounding is left.
    out: array to write the codes to [n, n_code], of the kind and dtype of `x` (memory-mapped ones too).
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
    Rubinstein, Zibulevsky & Elad, Technion CS-2008-08.
    """
    problem = prepare(x, D, out, chunk)
    x = problem.x
    n_nonzero = whole("n_nonzero", n_nonzero)
    most = min(problem.atoms.shape)
    if n_nonzero > most:
        raise ValueError(
            f"n_nonzero is {n_nonzero}; expected at most {most}: D has {problem.atoms.shape[0]} atoms of "
            f"{problem.atoms.shape[1]} features"
        )
    tol = 0.0 if tol is None else above_zero("tol", tol)
    from sparsecode.kernels.omp import pursue  # numba is slow to import

    atoms = problem.atoms.cpu()
    up = _exponents(atoms, atoms.square().sum(dim=1))
    atoms = atoms if up is None else shifted(atoms, -up[:, None])
    norms = torch.linalg.vector_norm(atoms, dim=1)
    inverse = torch.where(norms > 0, 1 / norms, 0)
    atoms = atoms * inverse[:, None]
    gram = (atoms @ atoms.T).numpy()
    n_gone, zero = 0, torch.zeros((), dtype=torch.int32)
    for part, rows, _ in problem.chunks(progress):
        rows = rows.cpu()
        square = rows.square().sum(dim=1)
        down = _exponents(rows, square)
        if down is not None:
            rows = shifted(rows, -down[:, None])
            square = rows.square().sum(dim=1)
        z = rows.new_zeros(len(rows), len(atoms))
        corr = (rows @ atoms.T).numpy()
        pursue(gram, corr, square.numpy(), z.numpy(), n_nonzero, tol, torch.get_num_threads())
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
    return problem.codes


def _exponents(rows: Tensor, squares: Tensor) -> Tensor | None:
    """Those e [n] for which 2^-e rows have squares well within the range; None if they have, or are all 0."""
    return None if not rows.numel() or squares_fit(squares, rows) else exponents(rows)
