"""Definitions of metrics per sample, and their accumulation over a data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.evaluate.code_sums import BatchSums, sums_of

__all__ = [
    "DENSE",
    "LARGE",
    "PSNR_CAP",
    "CodeUse",
    "ExplainedVariance",
    "hoyer",
    "l0",
    "mean_squared_error",
    "psnr",
    "sees_structure",
    "ssim",
    "treves_rolls",
    "wape",
]

PSNR_CAP = 100.0
WINDOW, SPREAD = 11, 1.5  # pixels: side and standard deviation of the window that structure is seen through
ROUNDING = 1e-12  # deviations from a feature's mean, relative to it, that are rounding in float64
LARGE = 10  # times the mean share of the variance, from which on a feature is called large
DENSE = 0.1  # share of samples above which a code is called dense; source: Sun et al., arXiv:2506.15679 (2025)


def mean_squared_error(x: Float[Tensor, "b *f"], y: Float[Tensor, "b *f"]) -> Float[Tensor, " b"]:
    """The mean over features of (x - y)^2.

    >>> import torch
    >>> mean_squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
    tensor([2.])
    """
    return (x - y).flatten(1).square().mean(dim=1)


def wape(x: Float[Tensor, "b *f"], y: Float[Tensor, "b *f"]) -> float:
    """sum |x - y| / sum |x| over all samples and features, the weighted absolute percentage error as a fraction; x are the true values.

    0 for y = x, 1 for y = 0; infinite if all true values are 0. Summed over a whole split, it does not depend on batches; the mean of
    |x - y| / |x| (MAPE) is undefined where a value is 0, as most pixels are.
    """
    wrong, size = (float(t.double().abs().sum()) for t in (x - y, x))
    return wrong / size if size else math.inf if wrong else 0.0


def psnr(x: Float[Tensor, "b *f"], y: Float[Tensor, "b *f"], data_range: float) -> Float[Tensor, " b"]:
    """10 log10(data_range^2 / mse) per sample in dB, nothing clipped; at most 100 dB (equal samples).

    The mean over samples is a mean of decibels, not the decibels of a mean.

    >>> import torch
    >>> psnr(torch.tensor([[0.0, 4.0]]), torch.tensor([[1.0, 5.0]]), data_range=10.0)
    tensor([20.])
    """
    ratio = mean_squared_error(x, y) / data_range**2
    return -10 * torch.log10(ratio.clamp(min=10 ** (-PSNR_CAP / 10)))


def sees_structure(shape: Sequence[int]) -> bool:
    """Whether `ssim` is defined for samples of this shape: images [h, w] or [c, h, w] of at least 11 by 11 pixels."""
    return len(shape) in (2, 3) and min(shape[-2:]) >= WINDOW


def ssim(x: Float[Tensor, "b *f"], y: Float[Tensor, "b *f"], data_range: float) -> Float[Tensor, " b"]:
    """Structural similarity of images [h, w] or [c, h, w], per sample: the mean over places (and channels) of

        (2 m_x m_y + c1) (2 s_xy + c2) / ((m_x^2 + m_y^2 + c1) (s_xx + s_yy + c2)),

    c1 = (0.01 data_range)^2, c2 = (0.03 data_range)^2, with means m, variances and covariance s under a Gaussian window of 11 by
    11 pixels (standard deviation 1.5) wherever it fits into the image. 1 for equal images, -1 at the least; in float64.
    Raises ValueError for smaller images. Source: Wang, Bovik, Sheikh & Simoncelli, IEEE TIP 2004, section III.
    """
    if not sees_structure(x.shape[1:]):
        raise ValueError(
            f"samples have shape {tuple(x.shape[1:])}; expected images of at least {WINDOW} x {WINDOW} pixels"
        )
    x, y = x.double(), y.double()
    rows, columns = (_windows(n, x.device) for n in x.shape[-2:])
    m_x, m_y, s_xx, s_yy, s_xy = (rows @ image @ columns.T for image in (x, y, x * x, y * y, x * y))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * m_x * m_y + c1) / (m_x.square() + m_y.square() + c1)
    structure = (2 * (s_xy - m_x * m_y) + c2) / (s_xx - m_x.square() + s_yy - m_y.square() + c2)
    return (luminance * structure).flatten(1).mean(dim=1)


def _windows(n: int, device: torch.device) -> Float[Tensor, "p n"]:
    """The window at each of its places in a line of n pixels."""
    weights = torch.exp(-(torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2).square() / (2 * SPREAD**2))
    matrix = torch.zeros(n - WINDOW + 1, n, dtype=torch.float64)
    for place, row in enumerate(matrix):
        row[place : place + WINDOW] = weights / weights.sum()
    return matrix.to(device)


def l0(z: Float[Tensor, "b k"], theta: float = 0.0) -> Float[Tensor, " b"]:
    """The number of codes with |z_j| > theta, per sample."""
    return (z.abs() > theta).sum(dim=1).to(z.dtype)


def hoyer(z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """(sqrt(k) - |z|_1 / |z|_2) / (sqrt(k) - 1) per sample: 1 for one active code, 0 for equal ones, NaN for z = 0.

    Source: Hoyer, JMLR 2004, section 3.1.

    >>> import torch
    >>> hoyer(torch.tensor([[0.0, 3.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]))
    tensor([1., 0.])
    """
    return hoyer_of(z.abs().sum(dim=1), torch.linalg.vector_norm(z, dim=1), z.shape[1])


def hoyer_of(total: Tensor, norm: Tensor, n: int) -> Tensor:
    """`hoyer` of n entries with this sum of magnitudes and this 2-norm."""
    root = math.sqrt(n)
    return (root - total / norm) / (root - 1)


def treves_rolls(z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """(1 - mean(|z|)^2 / mean(z^2)) / (1 - 1/k) per row: 1 for one active entry, 0 for equal ones, NaN for z = 0.

    Of codes in rows this is population sparsity, of samples in rows (z transposed) lifetime sparsity.
    Source: Treves & Rolls, Network 1991; rescaled as in Vinje & Gallant, Science 2000.

    >>> import torch
    >>> treves_rolls(torch.tensor([[0.0, 3.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]))
    tensor([1., 0.])
    """
    return treves_rolls_of(z.abs().sum(dim=1), z.square().sum(dim=1), z.shape[1])


def treves_rolls_of(total: Tensor, squares: Tensor, n: int) -> Tensor:
    """`treves_rolls` of n entries with this sum of magnitudes and this sum of squares."""
    return (1 - total.square() / squares / n) / (1 - 1 / n)


class ExplainedVariance:
    """1 - sum |x - y|^2 / sum |x - mean(x)|^2, sums over all samples and features, mean per feature.

    1 for perfect reconstruction, 0 for predicting the mean, negative for worse. Accumulated in float64
    around the first batch's mean, so that the result does not depend on the batches.
    """

    class ByFeature(NamedTuple):
        """The mean over features that vary of 1 - sum (x_j - y_j)^2 / sum (x_j - mean_j)^2 (NaN if none does); and the large features.

        `large` features hold more than `LARGE` times the mean share of the variance, `share` is what they hold together, and
        `rest` the explained variance of all others (NaN if there is no large one, or the others do not vary).
        """

        mean: float
        large: list[int]
        share: float
        rest: float

    def __init__(self) -> None:
        self.n = 0
        self.errors: Tensor | None = None
        self.shift: Tensor | None = None
        self.sums: Tensor | None = None
        self.squares: Tensor | None = None

    def update(self, x: Float[Tensor, "b *f"], y: Float[Tensor, "b *f"]) -> None:
        x, y = x.flatten(1).double(), y.flatten(1).double()
        if self.shift is None or self.sums is None or self.squares is None or self.errors is None:
            self.shift = x.mean(dim=0)
            self.sums, self.squares, self.errors = (torch.zeros_like(self.shift) for _ in range(3))
        centred = x - self.shift
        self.n += len(x)
        self.errors += (x - y).square_().sum(dim=0)
        self.sums += centred.sum(dim=0)
        self.squares += centred.square_().sum(dim=0)

    def result(self) -> float:
        """NaN if the data do not vary."""
        return 1 - self.normalised_mse()

    def normalised_mse(self) -> float:
        """sum |x - y|^2 / sum |x - mean(x)|^2, also called the fraction of variance unexplained: 1 - `result()`."""
        return _ratio(*self._sums())

    def mse(self) -> float:
        """sum |x - y|^2 / (samples * features), in the units of x squared."""
        errors, _ = self._sums()
        return float(errors.sum()) / (self.n * len(errors)) if len(errors) else math.nan

    def by_feature(self) -> ByFeature:
        """Explained variance feature by feature; the sums of `result` are dominated by features of large variance."""
        errors, squares = self._sums()
        level = torch.zeros_like(squares) if self.shift is None else self.shift
        varies = squares > self.n * (ROUNDING * level).square()
        total = float(squares.sum())
        large = squares > LARGE * total / max(len(squares), 1)
        return self.ByFeature(
            float((1 - errors[varies] / squares[varies]).mean()),
            large.nonzero()[:, 0].tolist(),
            float(squares[large].sum()) / total if total > 0 else 0.0,
            1 - _ratio(errors[~large], squares[~large]) if bool(large.any()) else math.nan,
        )

    def _sums(self) -> tuple[Tensor, Tensor]:
        """Per feature, the squared errors and the squared deviations from the mean."""
        if self.errors is None or self.squares is None or self.sums is None:
            return torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
        return self.errors, (self.squares - self.sums.square() / self.n).clamp(min=0)


def _ratio(errors: Tensor, squares: Tensor) -> float:
    total = float(squares.sum())
    return float(errors.sum()) / total if total > 0 else math.nan


class CodeUse:
    """Per code: the share of samples on which it is active, |z_j| > theta, and its lifetime sparsity."""

    class Counts(NamedTuple):
        """`frequency` [n_code], the share of samples; counts of codes by it: never, always, on more than `DENSE` of them.

        `lifetime_sparsity` [n_code]: Treves-Rolls of each code over the samples, NaN where it is always 0.
        """

        frequency: Tensor
        dead: int
        always_on: int
        dense: int
        lifetime_sparsity: Tensor

    def __init__(self, n_code: int, theta: float = 0.0) -> None:
        self.theta, self.n = theta, 0
        self.active = torch.zeros(n_code, dtype=torch.long)
        self.total = torch.zeros(n_code, dtype=torch.float64)
        self.squares = torch.zeros(n_code, dtype=torch.float64)

    def update(self, z: Float[Tensor, "b k"]) -> None:
        add_sums(self, sums_of(z, self.theta))

    def result(self) -> Counts:
        frequency = self.active.double() / max(self.n, 1)
        return self.Counts(
            frequency,
            int((self.active == 0).sum()),
            int((self.active == self.n).sum()),
            int((frequency > DENSE).sum()),
            treves_rolls_of(self.total, self.squares, self.n) if self.n > 1 else torch.full_like(frequency, math.nan),
        )


def add_sums(use: CodeUse, sums: BatchSums) -> None:
    """Take the sums of the codes of further samples, above the same theta."""
    use.active += sums.by_code.active.cpu()
    use.total += sums.by_code.total.cpu()
    use.squares += sums.by_code.squares.cpu()
    use.n += sums.n
