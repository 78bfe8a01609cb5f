"""What a crosscoder gives at each of its sites, and where its atoms stand; what a linear map could predict of a target."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparsecode.data.splits import Split
from sparsecode.evaluate.metrics import ExplainedVariance
from sparsecode.evaluate.score import CHUNK, wanted_of
from sparsecode.models.base import AbstractSparseModel
from sparsecode.nn.affine import BiasedDictionaryModule
from sparsecode.specs import Spec

__all__ = ["Linear", "Site", "linear", "sites"]

ALONE = 0.9  # of an atom's norm: what makes it one of a single site
RIDGE = 1e-3  # of the mean variance: what keeps the normal equations regular


class Site(Spec, tag="site"):
    """One site of a crosscoder: errors there in data space, and the atoms' norms in model space.

    `norm_share` is the mean over atoms of |D_j at this site| / sum over sites of |D_j there|; `alone` counts atoms of which that
    is more than 0.9. Explained variance is None where the site's values do not vary.
    """

    site: int
    mse: float
    explained_variance: float | None
    norm_share: float
    alone: int


class Linear(Spec, tag="linear"):
    """The affine map from samples to targets of least squared error on training samples, and how it does on `n` others."""

    n: int
    n_train: int
    mse: float
    explained_variance: float | None


@torch.no_grad()
def sites(model: AbstractSparseModel, coder: Callable[[Tensor], Tensor], split: Split) -> tuple[Site, ...] | None:
    """Scores of each site of samples [N, sites, *F]; None for models whose decoder knows no sites."""
    decoder = getattr(model, "decoder", None)
    if not isinstance(decoder, BiasedDictionaryModule) or decoder.n_sites == 1:
        return None
    scores = [ExplainedVariance() for _ in range(decoder.n_sites)]
    for start in range(0, split.n, CHUNK):
        part = split.take(slice(start, start + CHUNK))
        wanted, made = wanted_of(model, part), model.output(part.x, coder(part.x))
        for site, score in enumerate(scores):
            score.update(wanted[:, site], made[:, site])
    norms = torch.linalg.vector_norm(decoder.by_site().double(), dim=2)
    shares = norms / norms.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    return tuple(
        Site(
            site=site,
            mse=score.mse(),
            explained_variance=_number(score.result()),
            norm_share=float(shares[:, site].mean()),
            alone=int((shares[:, site] > ALONE).sum()),
        )
        for site, score in enumerate(scores)
    )


@torch.no_grad()
def linear(train: Split, split: Split) -> Linear | None:
    """How well y = x W + b predicts the targets of `split`, W and b by least squares on `train`; None without targets.

    In float64, with a ridge of 0.001 of the mean variance of x.
    """
    if train.target is None or split.target is None:
        return None
    x, y = train.x.flatten(1).double(), train.target.flatten(1).double()
    mean, middle = x.mean(dim=0), y.mean(dim=0)
    x = x - mean
    gram = x.T @ x
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    weights = torch.linalg.solve(gram, x.T @ (y - middle))
    score = ExplainedVariance()
    for start in range(0, split.n, CHUNK):
        part = split.take(slice(start, start + CHUNK))
        assert part.target is not None
        score.update(part.target, (part.x.flatten(1).double().cpu() - mean) @ weights + middle)
    return Linear(n=split.n, n_train=train.n, mse=score.mse(), explained_variance=_number(score.result()))


def _number(value: float) -> float | None:
    return None if value != value else value
