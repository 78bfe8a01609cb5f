"""Mean activations of the codes, and their KL divergence from the target of a KL term."""

from __future__ import annotations

import torch

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import CHUNK, How, KnownMeasure, Result
from sparsecode.losses.kl import KL, kl_divergence
from sparsecode.models.base import AbstractSparseModel

__all__ = ["CodeMeans", "Codes"]


class CodeMeans(Result, tag="code_means"):
    """Mean, least and greatest over codes of their mean activation rho_j over n samples.

    `kl` is sum_j KL(rho | rho_j) in nats for the target `rho` of the model's KL term; None without one.
    Source: Ng, "Sparse autoencoder", CS294A lecture notes, 2011.
    """

    n: int
    mean_activation: float
    least_activation: float
    greatest_activation: float
    rho: float | None = None
    kl: float | None = None

    def means(self) -> dict[str, float]:
        return {name: value for name, value in super().means().items() if name not in ("n", "rho")}


class Codes(KnownMeasure, tag="codes"):
    """Mean activation of the codes of every coder."""

    def measure(self, model: AbstractSparseModel, split: Split, how: How, seed: int) -> dict[str, CodeMeans]:  # noqa: ARG002 - the contract
        rho = next((term.rho for term in getattr(model.spec, "terms", ()) if isinstance(term, KL)), None)
        found: dict[str, CodeMeans] = {}
        for name, coder in model.coders().items():
            total = sum(
                (coder(x).double().sum(dim=0) for x in split.x.split(CHUNK)), start=torch.zeros((), dtype=torch.float64)
            )
            mean = total / split.n
            kl = None if rho is None else float(kl_divergence(rho, mean).sum())
            found[name] = CodeMeans(split.n, float(mean.mean()), float(mean.min()), float(mean.max()), rho, kl)
        return found
