"""Greedy codes with a given number of non-zeros, and least-squares amplitudes on a given support."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparsecode.evaluate.base import rows_together
from sparsecode.solvers.checks import working_dtype
from sparsecode.solvers.omp import unit_atoms

__all__ = ["greedy_codes", "refitted_codes", "spread", "strongest"]


def spread(l0: float, n: int) -> Int[Tensor, " n"]:
    """Whole numbers, floor and ceiling of `l0` in turn, whose mean is `l0` to within 1 / (2 n).

    Raises ValueError for a negative `l0`.
    """
    if not l0 >= 0:
        raise ValueError(f"l0 is {l0}; expected a number >= 0")
    return (torch.arange(n + 1, dtype=torch.float64) * l0).round().long().diff()


def greedy_codes(
    x: Float[Tensor, "n f"], D: Float[Tensor, "k f"], budgets: Int[Tensor, " n"], positive: bool = False
) -> Float[Tensor, "n k"]:
    """Orthogonal matching pursuit with a number of non-zeros for each row of x; with `positive`, of codes >= 0.

    Per row: take the atom that lowers the error most by itself, j = argmax d_j . r / |d_j| (its magnitude if not positive);
    refit all taken atoms, over z >= 0 if positive, where an atom may leave again; repeat up to its budget or until nothing
    lowers the error. Source: Pati et al., Asilomar 1993; with `positive`: Lawson & Hanson 1974, ch. 23, stopped early
    (Bruckstein, Elad & Zibulevsky, IEEE Trans. Information Theory 2008).
    """
    return _active_set(x, D, budgets, None, positive)


def refitted_codes(
    x: Float[Tensor, "n f"], D: Float[Tensor, "k f"], support: Bool[Tensor, "n k"], positive: bool = False
) -> Float[Tensor, "n k"]:
    """argmin |x - z D|^2 over codes that are 0 outside `support`, and z >= 0 if `positive`, row by row."""
    return _active_set(x, D, support.sum(dim=1), support, positive)


def strongest(x: Float[Tensor, "n f"], D: Float[Tensor, "k f"], budgets: Int[Tensor, " n"]) -> Bool[Tensor, "n k"]:
    """The support of so many atoms per row that correlate most with it, |d_j . x| / |d_j|."""
    norms = torch.linalg.vector_norm(D, dim=1).clamp(min=torch.finfo(D.dtype).tiny)
    order = ((x @ D.T).abs() / norms).argsort(dim=1, descending=True, stable=True)
    ranks = torch.empty_like(order).scatter_(1, order, torch.arange(len(D), device=x.device).expand_as(order))
    return ranks < budgets.to(x.device)[:, None]


@torch.no_grad()
def _active_set(x: Tensor, D: Tensor, budgets: Tensor, support: Tensor | None, positive: bool) -> Tensor:
    """Factorised in float64 whatever x is, for supports may be large; atoms that are dependent to its rounding are passed over."""
    from sparsecode.kernels.omp import pursue  # numba is slow to import

    atoms, inverse = unit_atoms(D.detach().to("cpu", torch.float64))
    gram, eps = (atoms @ atoms.T).numpy(), torch.finfo(working_dtype(x)).eps
    z = torch.zeros(len(x), len(atoms), dtype=torch.float64)
    size = rows_together(len(atoms))
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        rows = x[part].to("cpu", torch.float64)
        allowed = None if support is None else support[part].cpu().numpy()
        square, most = rows.square().sum(dim=1).numpy(), budgets[part].cpu().numpy()
        threads = torch.get_num_threads()
        corr = (rows @ atoms.T).numpy()
        pursue(gram, corr, square, z[part].numpy(), most, 0.0, threads, positive=positive, allowed=allowed, eps=eps)
    return z.mul_(inverse).to(x)
