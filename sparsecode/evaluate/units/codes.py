"""Mean activations of the codes, their KL divergence from the target of a KL term, and its share of the loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import CHUNK, KnownMeasure, MeasureSettings, Result, in_parts
from sparsecode.evaluate.reconstruction.restoration import corrupted
from sparsecode.losses.kl import KLTerm, kl_divergence
from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.rng import generator

__all__ = ["CodeMeans", "Codes", "MeanHistogram"]

BINS = 20


class MeanHistogram(Result, tag="mean_histogram"):
    """`counts` [20]: how many codes have their mean activation between successive `edges` [21], equal steps from the least to the greatest."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class CodeMeans(Result, tag="code_means"):
    """Mean, least and greatest over codes of their mean activation rho_j over n samples, which are corrupted if the model's training samples are.

    `kl` is sum_j KL(rho | rho_j) in nats for the target `rho` of the model's KL term, with rho_j the mean over all n samples,
    so that it does not depend on batches. `kl_share` = weight kl / (error + weight kl), `error` the mean over samples of
    |x - decode(z)|^2 in model space, x clean, and `error_per_feature` that over the number of features. None without a KL
    term; what is about reconstructions also for models of other tasks. Other terms of the loss are left out of the share.
    Source: Ng, "Sparse autoencoder", CS294A lecture notes, 2011.
    """

    n: int
    mean_activation: float
    least_activation: float
    greatest_activation: float
    rho: float | None = None
    kl: float | None = None
    kl_share: float | None = None
    error_per_feature: float | None = None
    histogram: MeanHistogram | None = None

    def means(self) -> dict[str, float]:
        return {name: value for name, value in super().means().items() if name not in ("n", "rho")}


class Codes(KnownMeasure, tag="codes"):
    """Mean activation of the codes of every coder."""

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, CodeMeans]:
        term = next((part for part in model.modules() if isinstance(part, KLTerm)), None)
        return {name: _measured(model, coder, split, term, seed) for name, coder in model.coders().items()}


@torch.no_grad()
def _measured(
    model: AbstractSparseModel, coder: Callable[[Tensor], Tensor], split: Split, term: KLTerm | None, seed: int
) -> CodeMeans:
    total, error = torch.zeros(model.n_code, dtype=torch.float64), 0.0
    compared = term is not None and model.reconstructs
    for start in range(0, split.n, CHUNK):
        x = split.x[start : start + CHUNK]
        made = corrupted(model, x, generator(seed, "restore", start)) if model.reconstructs else None
        z = in_parts(coder, x if made is None else made[0], model.n_code)
        total += z.sum(dim=0, dtype=torch.float64).cpu()
        if compared:
            error += float((model.normalise(x) - model.decode(z)).double().square().sum())
    mean, error = total / split.n, error / split.n
    kl = None if term is None else float(kl_divergence(term.spec.rho, mean).sum())
    cost = None if term is None or kl is None or not compared else float(term.weight) * kl
    return CodeMeans(
        n=split.n,
        mean_activation=float(mean.mean()),
        least_activation=float(mean.min()),
        greatest_activation=float(mean.max()),
        rho=None if term is None else term.spec.rho,
        kl=kl,
        kl_share=cost / (error + cost) if cost else cost,
        error_per_feature=error / math.prod(model.shape) if compared else None,
        histogram=_histogram(mean),
    )


def _histogram(mean: Tensor) -> MeanHistogram:
    counts, edges = np.histogram(mean.numpy(), bins=BINS)
    return MeanHistogram(tuple(edges.tolist()), tuple(counts.tolist()))
