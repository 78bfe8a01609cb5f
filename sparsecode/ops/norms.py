"""Norms and bounds on them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.kernels import on_device

__all__ = ["largest_eigenvalue_bound", "remove_parallel_", "rescale_rows"]

TINY = 1e-30
LARGE = 1_000_000  # entries from which a compiled pass pays


def largest_eigenvalue_bound(a: Float[Tensor, "k k"], *, squarings: int = 6) -> float:
    """An upper bound on the largest eigenvalue of a symmetric positive semi-definite matrix.

    |A^p|_F^(1/p) with p = 2^squarings lies between the largest eigenvalue and k^(1/(2p)) times it
    (5 % above at worst for k = 512, p = 64). Unlike power iteration it never falls below, so 1/bound is
    a safe step size; it is deterministic and needs `squarings` matrix products.
    """
    log_scale = 0.0
    for i in range(squarings):
        norm = torch.linalg.matrix_norm(a)
        if norm == 0:
            return 0.0
        log_scale += float(norm.double().log()) / 2**i
        a = a / norm
        a = a @ a
    return float(torch.exp(log_scale + torch.linalg.matrix_norm(a).double().log() / 2**squarings))


def remove_parallel_(grad: Float[Tensor, "k f"], rows: Float[Tensor, "k f"]) -> None:
    """Remove from each row of `grad`, in place, its component along the same row of `rows`: grad_j -= (grad_j . w_j) w_j / |w_j|^2."""
    if grad.device.type == "cpu" and grad.numel() >= LARGE and grad.is_contiguous() and rows.is_contiguous():
        from sparsecode.kernels.unit_rows import remove_parallel  # numba is slow to import

        return remove_parallel(grad.numpy(), rows.numpy(), TINY, torch.get_num_threads())
    if kernel := on_device("unit_rows", "remove_parallel_", grad.device.type):
        return kernel(grad, rows)
    along = (grad * rows).sum(dim=1) / rows.square().sum(dim=1).clamp(min=TINY)
    grad.addcmul_(rows, along.unsqueeze(1), value=-1)
    return None


def rescale_rows(w: Float[Tensor, "k f"], radius: float) -> Float[Tensor, "k f"]:
    """Rows of `w` moved to the sphere of the given radius; rows of zeros stay zero.

    w_j * radius / |w_j|_2.
    """
    norms = torch.linalg.vector_norm(w, dim=1, keepdim=True)
    return w * (radius / norms).masked_fill(norms == 0, 0.0)
