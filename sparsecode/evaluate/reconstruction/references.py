"""Reference approximations with equally many components per sample: principal components and random dictionaries.

A reference is an `Approximate`: rows and a number of components for each of them in, approximations out. Fitted on training
rows, scored on others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import CHUNK
from sparsecode.evaluate.dictionary.geometry import unit_rows
from sparsecode.evaluate.metrics import ExplainedVariance, psnr
from sparsecode.evaluate.reconstruction.pursuits import greedy_codes, refitted_codes, spread, strongest
from sparsecode.ops.rng import generator
from sparsecode.specs import Spec

__all__ = [
    "Approximate",
    "ReferencePoint",
    "by_pursuit",
    "by_strongest",
    "principal_components",
    "random_directions",
    "random_rows",
    "reference_scores",
    "references",
]

FITTED_ON = 20_000  # training rows for principal components and means

Approximate = Callable[[Tensor, Tensor], Tensor]


class ReferencePoint(Spec, tag="reference_point"):
    """A reference at a mean number of components: means over the samples of a split, in data space; PSNR of its pixels."""

    l0: float
    psnr: float
    normalised_mse: float | None
    explained_variance: float | None


@torch.no_grad()
def principal_components(train: Float[Tensor, "n f"]) -> Approximate:
    """The first k principal components of the training rows less their mean: the best k-dimensional affine space.

    The components are the same for all samples, so a sparse code chooses among more.
    """
    rows = train.double()
    mean = rows.mean(dim=0)
    axes = torch.linalg.eigh((rows - mean).T @ (rows - mean)).eigenvectors.flip(1)

    def approximate(x: Tensor, budgets: Tensor) -> Tensor:
        chosen = torch.arange(axes.shape[1]) < budgets.clamp(max=axes.shape[1])[:, None]
        return (((x.double() - mean) @ axes * chosen) @ axes.T + mean).to(x)

    return approximate


def by_pursuit(D: Float[Tensor, "k f"], bias: Float[Tensor, " f"] | None = None, positive: bool = False) -> Approximate:
    """Orthogonal matching pursuit in `D` of rows less `bias` (default 0); `positive`: of codes >= 0."""

    def approximate(x: Tensor, budgets: Tensor) -> Tensor:
        shift = x.new_zeros(x.shape[1]) if bias is None else bias.to(x)
        z = greedy_codes(x - shift, D.to(x), budgets.clamp(max=min(D.shape)), positive)
        return z @ D.to(x) + shift

    return approximate


def by_strongest(D: Float[Tensor, "k f"], bias: Float[Tensor, " f"] | None = None) -> Approximate:
    """The k atoms of `D` that correlate most with the row less `bias`, amplitudes by least squares: top-k at its best."""

    def approximate(x: Tensor, budgets: Tensor) -> Tensor:
        shift = x.new_zeros(x.shape[1]) if bias is None else bias.to(x)
        support = strongest(x - shift, D.to(x), budgets.clamp(max=min(D.shape)))
        return refitted_codes(x - shift, D.to(x), support) @ D.to(x) + shift

    return approximate


def random_directions(n_code: int, n_features: int, seed: int) -> Float[Tensor, "k f"]:
    """Atoms of norm 1, uniform on the sphere."""
    rng = generator(seed, "random directions")
    return unit_rows(torch.randn(n_code, n_features, generator=rng, dtype=torch.float64)).float()


def random_rows(train: Float[Tensor, "n f"], n_code: int, seed: int) -> Float[Tensor, "k f"]:
    """Training rows less their mean, scaled to norm 1, each at most once; fewer than `n_code` if there are no more."""
    rows = train - train.mean(dim=0)
    rows = rows[(rows != 0).any(dim=1)]
    order = torch.randperm(len(rows), generator=generator(seed, "random rows"))[:n_code]
    return unit_rows(rows[order]).float()


def references(train: Tensor, n_code: int, seed: int = 0) -> dict[str, Approximate]:
    """PCA, and codes in random dictionaries of `n_code` atoms, for training samples [n, *F].

    The atoms are random directions or random training samples; codes are of either sign, which is the harder reference for
    codes that may not be negative. Pursuit searches where an encoder has one pass, and training samples are good atoms: a
    model that beats them by one pass is rare.
    """
    x = train.flatten(1)[:FITTED_ON]
    mean = x.double().mean(dim=0).to(x)
    directions, rows = random_directions(n_code, x.shape[1], seed), random_rows(x, n_code, seed)
    return {
        "PCA": principal_components(x),
        "random directions, OMP": by_pursuit(directions, mean),
        "random directions, top-k": by_strongest(directions, mean),
        "data rows, OMP": by_pursuit(rows, mean),
        "data rows, top-k": by_strongest(rows, mean),
    }


@torch.no_grad()
def reference_scores(
    approximate: Approximate, split: Split, data_range: float, l0s: Sequence[float]
) -> list[ReferencePoint]:
    """A point for each mean number of components, spread evenly over the samples of the split.

    Where there are fewer components than asked for, all are taken.
    """
    return [_point(approximate, split, data_range, l0) for l0 in l0s]


def _point(approximate: Approximate, split: Split, data_range: float, l0: float) -> ReferencePoint:
    budgets = spread(l0, split.n)
    variance, quality = ExplainedVariance(), 0.0
    for start, part in split.chunks(CHUNK):
        y = approximate(part.x.flatten(1), budgets[start : start + CHUNK]).reshape(part.x.shape)
        variance.update(part.x, y)
        quality += float(psnr(part.pixels(part.x), part.pixels(y), data_range).double().sum())
    normalised, explained = variance.normalised_mse(), variance.result()
    unknown = math.isnan(explained)
    return ReferencePoint(
        l0=float(budgets.double().mean()),
        psnr=quality / split.n,
        normalised_mse=None if unknown else normalised,
        explained_variance=None if unknown else explained,
    )
