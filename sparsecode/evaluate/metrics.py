"""Definitions of the numbers, one row in, one number out, and their sums over a data set."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["PSNR_CAP", "CodeUse", "ExplainedVariance", "l0", "mean_squared_error", "psnr"]

PSNR_CAP = 100.0


def mean_squared_error(x: Float[Tensor, "b *f"], y: Float[Tensor, "b *f"]) -> Float[Tensor, " b"]:
    """The mean over features of (x - y)^2."""
    return (x - y).flatten(1).square().mean(dim=1)


def psnr(x: Float[Tensor, "b *f"], y: Float[Tensor, "b *f"], data_range: float) -> Float[Tensor, " b"]:
    """10 log10(data_range^2 / mse) per sample in dB, nothing clipped; at most 100 dB (equal samples).

    The mean over samples is a mean of decibels, not the decibels of a mean.
    """
    ratio = mean_squared_error(x, y) / data_range**2
    return -10 * torch.log10(ratio.clamp(min=10 ** (-PSNR_CAP / 10)))


def l0(z: Float[Tensor, "b k"], theta: float = 0.0) -> Float[Tensor, " b"]:
    """How many |z_j| > theta, per sample."""
    return (z.abs() > theta).sum(dim=1).to(z.dtype)


class ExplainedVariance:
    """1 - sum |x - y|^2 / sum |x - mean(x)|^2, sums over all samples and features, mean per feature.

    1 for perfect reconstruction, 0 for predicting the mean, negative for worse. Accumulated in float64
    around the first batch's mean, so that the result does not depend on the batches.
    """

    def __init__(self) -> None:
        self.n = 0
        self.error = 0.0
        self.shift: Tensor | None = None
        self.sums: Tensor | None = None
        self.squares = 0.0

    def update(self, x: Float[Tensor, "b *f"], y: Float[Tensor, "b *f"]) -> None:
        x, y = x.flatten(1).double(), y.flatten(1).double()
        if self.shift is None or self.sums is None:
            self.shift = x.mean(dim=0)
            self.sums = torch.zeros_like(self.shift)
        centred = x - self.shift
        self.n += len(x)
        self.error += float((x - y).square().sum())
        self.sums += centred.sum(dim=0)
        self.squares += float(centred.square().sum())

    def result(self) -> float:
        """NaN if the data do not vary."""
        if self.sums is None:
            return math.nan
        total = self.squares - float(self.sums.square().sum()) / self.n
        return 1 - self.error / total if total > 0 else math.nan


class CodeUse:
    """Per code: on how many samples it was active, |z_j| > theta."""

    class Counts(NamedTuple):
        """`frequency` [n_code], the share of samples; counts of codes never and of codes always active."""

        frequency: Tensor
        dead: int
        always_on: int

    def __init__(self, n_code: int, theta: float = 0.0) -> None:
        self.theta, self.n = theta, 0
        self.active = torch.zeros(n_code, dtype=torch.long)

    def update(self, z: Float[Tensor, "b k"]) -> None:
        self.active += (z.abs() > self.theta).sum(dim=0).cpu()
        self.n += len(z)

    def result(self) -> Counts:
        return self.Counts(
            self.active.double() / max(self.n, 1), int((self.active == 0).sum()), int((self.active == self.n).sum())
        )
