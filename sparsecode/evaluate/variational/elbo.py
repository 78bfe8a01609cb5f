"""The evidence lower bound of a variational model on a split, in nats per sample and in parts."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import CHUNK, KnownMeasure, MeasureSettings, Result, Table
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_posterior
from sparsecode.models.variational import VariationalModel
from sparsecode.nn.posteriors import Gaussian
from sparsecode.ops.rng import generator

__all__ = ["Bound", "Elbo", "bound", "bounds", "per_batch"]


class Bound(Result, tag="bound"):
    """Means over the n samples of a split, in nats: `elbo` = -(recon + kl_slab + kl_spike + kl_choice), unweighted.

    `recon` is -log p(x | z) of one draw of z per sample. With hard gates the elbo is a bound on log p(x), where the
    likelihood is a distribution of such x (for `bernoulli`: of binary pictures with these grey levels, on average). With
    relaxed ones, as in training, it is none: gates that are neither 0 nor 1 let more through than the divergence counts.
    A part that a model does not have is 0.
    """

    n: int
    elbo: float
    recon: float
    kl_slab: float
    kl_spike: float = 0.0
    kl_choice: float = 0.0

    def means(self) -> dict[str, float]:
        """All but n, in nats."""
        return {name: value for name, value in super().means().items() if name != "n"}

    @classmethod
    def table(cls, name: str, parts: Mapping[str, Bound]) -> Table:  # noqa: ARG003 - the contract
        """A row per kind of gate."""
        names = ("elbo", "recon", "kl_slab", "kl_spike", "kl_choice")
        shown = [n for n in names if n in names[:3] or any(getattr(b, n) for b in parts.values())]
        rows = [(kind, *(f"{getattr(b, n):.2f}" for n in shown)) for kind, b in parts.items()]
        header = ("gates", *(n.replace("_", " ") for n in shown))
        caption = "one draw per sample" + (
            "; relaxed gates, as in training, give no bound" if "relaxed" in parts else ""
        )
        return Table("elbo: nats per sample", header, rows, caption)


@torch.no_grad()
def bound(model: VariationalModel, split: Split, seed: int = 0, hard: bool = True) -> Bound:
    """The bound by one draw per sample, a function of the seed; gates relaxed as at the model's last training step, or hard."""
    recon, slab, spike, choice = 0.0, 0.0, 0.0, 0.0
    for start, part in split.chunks(CHUNK):
        x = part.x.to(next(model.parameters()))
        kl = model.kl(model.posterior(x), x)
        z = model.sample_posterior(x, generator(seed, "bound", start), hard)
        recon -= float(model.log_likelihood(x, z).double().sum())
        slab += float(kl.slab.double().sum())
        spike += 0.0 if kl.spike is None else float(kl.spike.double().sum())
        choice += 0.0 if kl.choice is None else float(kl.choice.double().sum())
    n = split.n
    return Bound(n, -(recon + slab + spike + choice) / n, recon / n, slab / n, spike / n, choice / n)


def bounds(model: VariationalModel, split: Split, seed: int = 0) -> dict[str, Bound]:
    """By kind of gate; `exact` for models that have none."""
    if isinstance(model.spec.posterior, Gaussian):
        return {"exact": bound(model, split, seed)}
    return {"hard": bound(model, split, seed), "relaxed": bound(model, split, seed, hard=False)}


def per_batch(nats: float, n: int, batch_size: int = 32) -> float:
    """nats n / ceil(n / batch_size): a mean over n samples as a mean over batches, what the replication calls VLB.

    It is the negative of a bound: lower is better. 10 000 samples in batches of 32: 31.949 times as much.
    """
    return nats * n / math.ceil(n / batch_size)


class Elbo(KnownMeasure, tag="elbo"):
    """The evidence lower bound and its parts, by kind of gate: `bounds`."""

    def applies(self, model: AbstractSparseModel) -> bool:
        return has_posterior(model)

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, Bound]:
        return bounds(model, split, seed) if has_posterior(model) else {}
