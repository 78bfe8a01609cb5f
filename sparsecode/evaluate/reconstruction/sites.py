"""Scores and atom norms at each site of a crosscoder; the least-squares linear map as a baseline for predicted targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import CHUNK, WHOLE, KnownMeasure, MeasureSettings, Result, Table, rows_together
from sparsecode.evaluate.metrics import ExplainedVariance
from sparsecode.evaluate.reconstruction.score import wanted_of
from sparsecode.models.base import AbstractSparseModel
from sparsecode.nn.affine import BiasedDictionaryModule
from sparsecode.specs import Spec

__all__ = ["LinearBaseline", "LinearMap", "Site", "SiteScores", "Sites", "linear_map", "site_scores"]

ALONE = 0.9  # of an atom's norm: what makes it one of a single site
RIDGE = 1e-3  # of the mean variance: what keeps the normal equations regular


class Site(Spec, tag="site"):
    """One site: errors there in data space, and the atoms' norms in model space.

    `norm_share` is the mean over atoms of |D_j at this site| / sum over sites of |D_j there|; `alone` counts atoms of which that
    is more than 0.9. Explained variance is None where the site's values do not vary.
    """

    mse: float
    explained_variance: float | None
    norm_share: float
    alone: int


class SiteScores(Result, tag="site_scores"):
    """A coder at each site, in order."""

    sites: tuple[Site, ...]

    def means(self) -> dict[str, float]:
        """The explained variance at each site."""
        values = {f"explained_variance_{i}": site.explained_variance for i, site in enumerate(self.sites)}
        return {name: math.nan if value is None else value for name, value in values.items()}

    @classmethod
    def table(cls, name: str, parts: Mapping[str, SiteScores]) -> Table:
        """A row per coder and site."""
        rows = [
            (
                coder,
                str(i),
                _cell(site.explained_variance),
                f"{site.mse:.4g}",
                f"{site.norm_share:.3f}",
                str(site.alone),
            )
            for coder, result in parts.items()
            for i, site in enumerate(result.sites)
        ]
        caption = (
            f"norm: the site's mean share of an atom's norms; alone: atoms with more than {ALONE:.0%} of them there"
        )
        return Table(name, ("codes by", "site", "EV", "MSE", "norm", "alone"), rows, caption)


class LinearBaseline(Result, tag="linear_baseline"):
    """The affine map from samples to targets of least squared error on training samples, and its errors on `n` other samples."""

    n: int
    n_train: int
    mse: float
    explained_variance: float | None

    def means(self) -> dict[str, float]:
        value = self.explained_variance
        return {"mse": self.mse, "explained_variance": math.nan if value is None else value}

    @classmethod
    def table(cls, name: str, parts: Mapping[str, LinearBaseline]) -> Table:
        """One row."""
        rows = [
            ("least squares", _cell(result.explained_variance), f"{result.mse:.4g}", str(result.n_train))
            for result in parts.values()
        ]
        return Table(name.replace("_", " "), ("target by", "EV", "MSE", "fitted to"), rows)


class Sites(KnownMeasure, tag="sites"):
    """For models with several sites: explained variance and error at each site, and the distribution of atom norms over sites."""

    def applies(self, model: AbstractSparseModel) -> bool:
        return model.n_sites > 1

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, SiteScores]:
        return {name: site_scores(model, coder, split) for name, coder in model.coders().items()}


class LinearMap(KnownMeasure, tag="linear_map"):
    """For models that predict a target: the explained variance of the least-squares linear map fitted on training samples."""

    def applies(self, model: AbstractSparseModel) -> bool:
        return model.target_shape is not None

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, LinearBaseline]:
        result = None if settings.train is None else linear_map(settings.train, split)
        return {} if result is None else {WHOLE: result}


@torch.no_grad()
def site_scores(model: AbstractSparseModel, coder: Callable[[Tensor], Tensor], split: Split) -> SiteScores:
    """Scores of each site of samples [N, sites, *F]. Raises ValueError for models whose decoder knows no sites."""
    decoder = getattr(model, "decoder", None)
    if not isinstance(decoder, BiasedDictionaryModule) or decoder.n_sites == 1:
        raise ValueError("the model has one site; expected a decoder with `sites` for samples [sites, ...]")
    scores = [ExplainedVariance() for _ in range(decoder.n_sites)]
    for _, part in split.chunks(rows_together(model.n_code)):
        wanted, made = wanted_of(model, part), model.output(part.x, coder(part.x))
        for site, score in enumerate(scores):
            score.update(wanted[:, site], made[:, site])
    norms = torch.linalg.vector_norm(decoder.by_site().double(), dim=2)
    shares = norms / norms.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    sites = (
        Site(score.mse(), _number(score.result()), float(share.mean()), int((share > ALONE).sum()))
        for score, share in zip(scores, shares.T, strict=True)
    )
    return SiteScores(tuple(sites))


@torch.no_grad()
def linear_map(train: Split, split: Split) -> LinearBaseline | None:
    """How well y = x W + b predicts the targets of `split`, W and b by least squares on `train`; None without targets.

    In float64 on the CPU, with a ridge of 0.001 of the mean variance of x.
    """
    if train.target is None or split.target is None:
        return None
    x, y = train.x.flatten(1).double().cpu(), train.target.flatten(1).double().cpu()
    mean, middle = x.mean(dim=0), y.mean(dim=0)
    x = x - mean
    gram = x.T @ x
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    weights = torch.linalg.solve(gram, x.T @ (y - middle))
    score = ExplainedVariance()
    for rows, target in zip(split.x.split(CHUNK), split.target.split(CHUNK), strict=True):
        score.update(target.cpu(), (rows.flatten(1).double().cpu() - mean) @ weights + middle)
    return LinearBaseline(split.n, train.n, score.mse(), _number(score.result()))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
