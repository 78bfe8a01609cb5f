"""Sparse codes and dense ones: from one layout to the other."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparsecode.records import SparseCode

__all__ = ["dense", "from_dense", "from_mostly_zero", "keep", "offsets_of", "samples_of"]

CROWDED = 1 / 32  # share of entries that are not 0, above which a dense batch is quicker
TRIED = 8  # rows that are looked at first


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


def from_mostly_zero(z: Float[Tensor, "b k"]) -> SparseCode | None:
    """The entries of z that are not 0, in float32 on a CPU; None elsewhere, and where more than a share of `CROWDED` of them are not 0."""
    b, k = z.shape
    if z.device.type != "cpu" or z.dtype != torch.float32 or z.requires_grad or not z.is_contiguous() or not z.numel():
        return None
    few = z[:TRIED]
    if int(torch.count_nonzero(few)) > CROWDED * few.numel():
        return None
    at = np.flatnonzero(z.numpy() != 0)  # a third of the time of torch's nonzero
    if len(at) > CROWDED * z.numel():
        return None
    row, column = np.divmod(at, k)
    offsets = torch.from_numpy(np.searchsorted(row, np.arange(b + 1)))
    return SparseCode(z.view(-1)[torch.from_numpy(at)], torch.from_numpy(column.astype(np.int32)), offsets, k)


def offsets_of(counts: Int[Tensor, " b"]) -> Int[Tensor, " b_1"]:
    """Where the entries of each sample begin, from their counts, and where the last one ends."""
    return torch.nn.functional.pad(counts.cumsum(dim=0), (1, 0))


def samples_of(code: SparseCode) -> Int[Tensor, " nnz"]:
    """The sample of each entry."""
    counts = code.offsets.diff()
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
