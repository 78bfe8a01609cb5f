"""Codes in compressed sparse row format, gathered from dense chunks of rows."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

__all__ = ["CSR", "CSRRows", "scipy_csr"]

CSR = "csr"
INT32 = torch.iinfo(torch.int32).max


class CSRRows:
    """Rows of codes [n, n_code] that arrive in chunks; only their non-zero entries are kept.

    The result is a `scipy.sparse.csr_array`, in float64 where `dtype` is and else in float32 (SciPy has no half precision); with
    a `device` a torch tensor of layout `sparse_csr` in `dtype`.
    """

    def __init__(self, n_code: int, dtype: torch.dtype, device: torch.device | None = None) -> None:
        wide = dtype == torch.float64
        self.n_code, self.device = n_code, device
        self.dtype = dtype if device is not None else torch.float64 if wide else torch.float32
        self._values: list[Tensor] = []
        self._columns: list[Tensor] = []
        self._counts: list[Tensor] = []

    def append(self, z: Tensor) -> Tensor:
        """Take the next rows z [b, n_code]; returns them in the dtype of the result."""
        stored = z.to(self.dtype)
        active = stored != 0
        columns = active.nonzero()[:, 1]
        self._values.append(stored[active])
        self._columns.append(columns.int() if self.device is None and self.n_code <= INT32 else columns)
        self._counts.append(active.sum(dim=1))
        return stored

    def result(self) -> Any:
        """All rows; this object is empty afterwards."""
        counts, device = torch.cat([torch.zeros(1, dtype=torch.long), *(c.cpu() for c in self._counts)]), self.device
        self._counts.clear()
        offsets = counts.cumsum(dim=0)
        shape, nnz = (len(counts) - 1, self.n_code), int(offsets[-1])
        columns = torch.int32 if device is None and self.n_code <= INT32 else torch.long
        entries = _joined(self._values, nnz, self.dtype, device), _joined(self._columns, nnz, columns, device)
        if device is not None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sparse CSR tensor support")  # torch calls the layout new
                return torch.sparse_csr_tensor(
                    offsets.to(device), entries[1], entries[0], shape, check_invariants=False
                )
        return _scipy(entries[0], entries[1], offsets, shape)


def scipy_csr(codes: Tensor) -> Any:
    """A torch tensor of layout `sparse_csr` as a `scipy.sparse.csr_array`."""
    values, columns, offsets = (part.cpu() for part in (codes.values(), codes.col_indices(), codes.crow_indices()))
    values = values.float() if values.dtype.itemsize == 2 else values
    return _scipy(values, columns, offsets, (codes.shape[0], codes.shape[1]))


def _scipy(values: Tensor, columns: Tensor, offsets: Tensor, shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_array  # SciPy takes time to import

    index = torch.int32 if max(len(values), shape[1]) <= INT32 else torch.long
    return csr_array((values.numpy(), columns.to(index).numpy(), offsets.to(index).numpy()), shape=shape)


def _joined(parts: list[Tensor], n: int, dtype: torch.dtype, device: torch.device | None) -> Tensor:
    """`parts` one after the other; each is released as soon as it is copied, so that memory holds all entries once."""
    whole = torch.empty(n, dtype=dtype, device=device)
    parts.reverse()
    start = 0
    while parts:
        part = parts.pop()
        whole[start : start + len(part)] = part
        start += len(part)
    return whole
