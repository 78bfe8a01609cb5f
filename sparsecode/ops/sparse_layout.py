"""Sparse codes and dense ones: from one layout to the other."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparsecode.records import SparseCode

__all__ = ["dense", "from_dense", "keep", "offsets_of", "samples_of"]


def keep(code: SparseCode, kept: Tensor) -> SparseCode:
    """The entries that are `kept` [nnz]."""
    counts = torch.zeros(len(code.offsets) - 1, dtype=torch.long, device=kept.device).index_add_(
        0, samples_of(code), kept.long()
    )
    return SparseCode(code.values[kept], code.indices[kept], offsets_of(counts), code.n_code)


def dense(code: SparseCode) -> Float[Tensor, "b k"]:
    """The dense code [B, n_code]."""
    n = len(code.offsets) - 1
    flat = code.values.new_zeros(n * code.n_code)
    return flat.index_put((samples_of(code) * code.n_code + code.indices,), code.values).view(n, code.n_code)


def from_dense(z: Float[Tensor, "b k"], active: Tensor) -> SparseCode:
    """The entries of z where `active`."""
    rows, columns = active.nonzero(as_tuple=True)
    return SparseCode(z[rows, columns], columns.int(), offsets_of(active.sum(dim=1)), z.shape[1])


def offsets_of(counts: Int[Tensor, " b"]) -> Int[Tensor, " b_1"]:
    """Where the entries of each sample begin, from their counts, and where the last one ends."""
    return torch.nn.functional.pad(counts.cumsum(dim=0), (1, 0))


def samples_of(code: SparseCode) -> Int[Tensor, " nnz"]:
    """The sample of each entry."""
    counts = code.offsets.diff()
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
