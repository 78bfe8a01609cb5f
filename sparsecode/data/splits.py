"""What every data source gives."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Split", "Splits", "permuted_splits"]


class Split(NamedTuple):
    """Samples x [N, *F] in data space and, where there are any, their class labels [N]."""

    x: Tensor
    label: Tensor | None = None

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.x)

    def take(self, rows: Tensor | slice) -> Split:
        return Split(self.x[rows], None if self.label is None else self.label[rows])

    def to(self, device: torch.device, dtype: torch.dtype) -> Split:
        return Split(self.x.to(device, dtype), None if self.label is None else self.label.to(device))


class Splits(NamedTuple):
    """Three disjoint parts of the data, and the range [low, high] that pictures and PSNR refer to."""

    train: Split
    valid: Split
    test: Split
    low: float
    high: float

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape *F of one sample."""
        return tuple(self.train.x.shape[1:])

    def fingerprint(self) -> str:
        """A short hash of all samples in order."""
        hasher = hashlib.blake2b(digest_size=8)
        for split in (self.train, self.valid, self.test):
            hasher.update(str(tuple(split.x.shape)).encode())
            hasher.update(np.ascontiguousarray(split.x.numpy()).data)
        return hasher.hexdigest()

    @property
    def data_range(self) -> float:
        return self.high - self.low


def permuted_splits(
    x: NDArray[np.float32], label: NDArray[np.int64] | None, sizes: tuple[int, int], seed: int, low: float, high: float
) -> Splits:
    """Disjoint random parts: `sizes` = (train, valid) samples, the rest is test."""
    order = np.random.RandomState(seed).permutation(len(x))
    train, valid, test = (
        Split(torch.from_numpy(x[rows]), None if label is None else torch.from_numpy(label[rows]))
        for rows in np.split(order, np.cumsum(sizes))
    )
    return Splits(train, valid, test, low, high)
