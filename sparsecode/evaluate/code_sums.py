"""Sums over codes: of each sample and of each code, without the zeros where these are many."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.ops.sparse_layout import from_mostly_zero, samples_of

__all__ = ["AxisSums", "BatchSums", "sums_of"]


class AxisSums(NamedTuple):
    """How many entries are above the threshold in magnitude, the sum of magnitudes, and that of their squares."""

    active: Tensor
    total: Tensor
    squares: Tensor


class BatchSums(NamedTuple):
    """The sums of each of n samples, and of each code."""

    n: int
    by_sample: AxisSums
    by_code: AxisSums


def sums_of(z: Float[Tensor, "b k"], theta: float = 0.0) -> BatchSums:
    """The sums of codes z, in float64, those of samples in the dtype of z where most are not 0."""
    code = from_mostly_zero(z)
    if code is None:
        size = z.abs()
        on, squares = size > theta, size.double().square()
        by_sample = AxisSums(on.sum(dim=1), size.sum(dim=1), z.square().sum(dim=1))
        return BatchSums(
            len(z), by_sample, AxisSums(on.sum(dim=0), size.sum(dim=0, dtype=torch.float64), squares.sum(dim=0))
        )
    on = (code.values.abs() > theta).double()  # in the dtype of z, as above: theta is rounded to it
    size = code.values.abs().double()
    squares = size.square()

    def along(place: Tensor, length: int) -> AxisSums:
        active, total, both = (torch.bincount(place, part, minlength=length) for part in (on, size, squares))
        return AxisSums(active.long(), total, both)

    return BatchSums(len(z), along(samples_of(code), len(z)), along(code.indices.long(), code.n_code))
