"""`Variational`: a network computes a distribution of codes and is trained by the evidence lower bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.coders import ENCODE, MEAN
from sparsecode.leaves import tag_of
from sparsecode.losses.total_correlation import TotalCorrelation, total_correlation
from sparsecode.models.base import AbstractSparseModel, grouped
from sparsecode.models.fused_elbo import fuses
from sparsecode.models.inputs import takes_samples
from sparsecode.nn.convnet import Net, build_decoder, build_encoder
from sparsecode.nn.likelihoods import Bernoulli, Likelihood
from sparsecode.nn.normalisers import Identity, Normaliser
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.posteriors import Gaussian, Parameters, Posterior
from sparsecode.nn.priors import Divergence, Prior, StandardNormal
from sparsecode.ops.collective import mean_over_ranks
from sparsecode.ops.rng import Stream, generator
from sparsecode.records import Batch, Loss
from sparsecode.schedules import Schedule, at
from sparsecode.specs import NonNegative, Spec

__all__ = ["Variational", "VariationalModel"]

Weight = Annotated[float, Meta(ge=0)] | Schedule


class Variational(Spec, tag="variational"):
    """z ~ q(z | x), computed by a network; p(x | z), by its mirror image; p(z) the prior.

    Training loss, mean over the batch, in nats per sample, one draw of z for each:
    -log p(x | z) + slab_weight KL of the slabs + spike_weight KL of the spikes, sums over features and codes.
    The code of a sample is the posterior's mode: mu, or mu where gamma > 1/2 and exactly 0 elsewhere.
    Sources: VAE, Kingma & Welling, ICLR 2014; beta-VAE (weights), Higgins et al., ICLR 2017; variational sparse coding,
    Tonolini, Jensen & Murray-Smith, UAI 2019; free bits, Kingma et al., NeurIPS 2016; `total_correlation`: beta-TCVAE, Chen et al.,
    NeurIPS 2018.
    """

    n_code: Annotated[int, Meta(ge=1, description="number of codes")]
    posterior: Posterior
    prior: Prior
    likelihood: Likelihood = Bernoulli()
    net: Annotated[Net, Meta(description="the encoder; the decoder is its mirror image")] = Perceptron()
    slab_weight: Annotated[Weight, Meta(description="of the slabs' divergence, beta; all of it for 'gaussian'")] = 1.0
    spike_weight: Annotated[Weight, Meta(description="of the spikes' divergence")] = 1.0
    free_bits: Annotated[
        NonNegative, Meta(description="nats per code, mean over the batch, below which a divergence is not penalised")
    ] = 0.0
    normaliser: Normaliser = Identity()
    total_correlation: Annotated[
        TotalCorrelation | None, Meta(description="a penalty of dependence between codes (beta-TCVAE)")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.posterior, Gaussian) != isinstance(self.prior, StandardNormal):
            given = f"posterior is {tag_of(self.posterior)!r} and prior {tag_of(self.prior)!r}"
            raise ValueError(
                f"Variational: {given}; expected 'gaussian' with 'standard_normal', or 'spike_slab' with 'spike_slab' or "
                "'pseudo_inputs': the divergence of one that has spikes from one that has none is infinite"
            )
        if self.total_correlation is not None and not isinstance(self.posterior, Gaussian):
            raise ValueError(
                f"Variational: total_correlation is given and posterior is {tag_of(self.posterior)!r}; expected 'gaussian': relaxed gates "
                "have no density that could be estimated from a batch; leave total_correlation out"
            )

    @property
    def objective(self) -> str:
        """A description of `energy`."""
        return "-log p(x | z) + KL in nats, unweighted, in model space"

    def build(self, shape: tuple[int, ...], seed: int) -> VariationalModel:
        """A fresh model for samples of `shape`; weights are a function of the seed."""
        return VariationalModel(self, shape, seed)


class VariationalModel(AbstractSparseModel):
    """The model of a `Variational` config. `latest` is the last training step, at which schedules are evaluated after training.

    `fused`: whether training may take the faster way to the same numbers, in small batches of float32 on CPUs.
    """

    def __init__(self, spec: Variational, shape: tuple[int, ...], seed: int) -> None:
        super().__init__()
        self._spec = spec
        self.fused = (
            fuses(spec.posterior, spec.prior, spec.likelihood, spec.net, spec.free_bits)
            and spec.total_correlation is None
        )
        self.shape = shape
        self.normaliser = spec.normaliser.build(shape)
        n_out = spec.posterior.heads * spec.n_code  # all heads in one product
        self.encoder = build_encoder(spec.net, shape, n_out, generator(seed, "encoder"))
        self.decoder = build_decoder(spec.net, spec.n_code, shape, generator(seed, "decoder"))
        self.likelihood = spec.likelihood.build(shape)
        self.prior = spec.prior.build(spec.n_code, shape, generator(seed, "prior"))
        self.register_buffer("latest", torch.zeros((), dtype=torch.long))
        self.latest: Tensor

    @property
    def spec(self) -> Variational:
        return self._spec

    @property
    def n_code(self) -> int:
        return self._spec.n_code

    def normalise(self, x: Tensor) -> Tensor:
        return self.normaliser(x.flatten(1))

    def denormalise(self, x: Tensor) -> Tensor:
        return self.normaliser.undo(x).reshape(len(x), *self.shape)

    def posterior(self, x: Tensor) -> Parameters:
        """Parameters of q(z | x), [B, n_code] each, of x [B, *F] in data space, as samples were drawn at the last training step."""
        return self.spec.posterior.sampled(self._infer(self.normalise(x)), int(self.latest))

    def _encode(self, x: Tensor) -> Tensor:
        """The posterior's mode [B, n_code]: mu, exactly 0 where gamma <= 1/2."""
        return self.spec.posterior.mode(self.posterior(x))

    @takes_samples
    def mean_code(self, x: Tensor) -> Tensor:
        """The posterior's mean [B, n_code]: gamma mu."""
        return self.spec.posterior.mean(self.posterior(x))

    def coders(self) -> dict[str, Callable[[Tensor], Tensor]]:
        if isinstance(self.spec.posterior, Gaussian):
            return {ENCODE: self.encode}
        return {ENCODE: self.encode, MEAN: self.mean_code}

    @torch.no_grad()
    def sample_posterior(self, x: Tensor, rng: torch.Generator, hard: bool = False) -> Tensor:
        """A draw [B, n_code] for each x [B, *F]; its gates relaxed as at the last training step, or hard: 0 or 1."""
        return self.spec.posterior.sample(self.posterior(x), rng, int(self.latest), hard)

    @torch.no_grad()
    def sample_prior(self, n: int, rng: torch.Generator) -> Tensor:
        """n codes [n, n_code] drawn from p(z)."""
        return self.prior.sample(n, rng, self._infer).to(next(self.parameters()))

    def _decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(z))

    def log_likelihood(self, x: Float[Tensor, "b *f"], z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        """log p(x | z) in nats, x in data space."""
        return -self.likelihood.nll(self.decoder(z), self.normalise(x))

    def kl(self, q: Parameters, x: Float[Tensor, "b *f"]) -> Divergence:
        """KL(q || p) in nats and in parts; x, in data space, is used by a prior of pseudo-inputs to weight its components."""
        return self.prior.divergence(q, self.normalise(x), self._infer)

    @torch.no_grad()
    def energy(self, x: Tensor, z: Tensor) -> Tensor:
        """-log p(x | z) + KL(q(. | x) || p) [B] in nats, unweighted; the second term does not depend on z."""
        return self.kl(self.posterior(x), x).per_sample() - self.log_likelihood(x, z)

    def loss(self, batch: Batch, step: int, rng: Stream) -> Loss:
        spec = self.spec
        x = self.observed(batch, step, rng)
        q = self._infer(x)
        z = spec.posterior.sample(spec.posterior.sampled(q, step), rng("posterior"), step)
        recon = self.likelihood.nll(self.decoder(z), x).mean()
        kl = self.prior.divergence(q, x, self._infer)
        weights = {"slab_weight": at(spec.slab_weight, step)}
        parts = {"recon": recon, "kl_slab": kl.slab.sum() / len(x)}
        if kl.spike is not None:
            weights["spike_weight"] = at(spec.spike_weight, step)
            parts["kl_spike"] = kl.spike.sum() / len(x)
        if kl.choice is not None:
            parts["kl_choice"] = kl.choice.mean()
        with torch.no_grad():
            stats = {"elbo": -torch.stack(list(parts.values())).sum(), **_gates(q)}
        scheduled = weights | spec.posterior.settings(step)
        stats |= {name: torch.tensor(value, dtype=torch.float64) for name, value in scheduled.items()}
        if spec.free_bits:
            parts |= self._beyond_free_bits(kl)
        parts["kl_slab"] = parts["kl_slab"] * weights["slab_weight"]
        if "kl_spike" in parts:
            parts["kl_spike"] = parts["kl_spike"] * weights["spike_weight"]
        if kl.aggregate is not None:
            parts["kl_aggregate"] = kl.aggregate
        if spec.total_correlation is not None:
            term, weight = spec.total_correlation, at(spec.total_correlation.weight, step)
            estimated = total_correlation(z, q.mu, q.logvar, term.n_samples, term.estimate).mean()
            parts["total_correlation"] = weight * estimated
            stats |= {"tc": estimated.detach(), "tc_weight": torch.tensor(weight, dtype=torch.float64)}
        return Loss(torch.stack(list(parts.values())).sum(), parts, stats)

    def observed(self, batch: Batch, step: int, rng: Stream) -> Tensor:
        """A batch [B, n_features] in model space as the likelihood scores it at a training step, which becomes the `latest`."""
        if self.training:
            self.latest.fill_(step)
        return self.likelihood.observed(self.normalise(batch.x), rng)

    def initialise_(self, sample: Tensor, target: Tensor | None = None) -> None:
        super().initialise_(sample, target)
        self.normaliser.initialise_(sample.flatten(1))
        rows = self.normalise(sample)
        low, high = float(rows.amin()), float(rows.amax())
        if self.likelihood.unit_interval and (low < 0 or high > 1):
            raise ValueError(
                f"likelihood is {tag_of(self.spec.likelihood)!r}, and samples span {low:.3g} to {high:.3g} in model space; expected "
                "[0, 1]: choose likelihood 'normal', or a normaliser that brings them there"
            )
        self.prior.initialise_(rows)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return grouped(
            {
                "net.encoder": self.encoder,  # so that one pattern, `net`, takes both: one optimiser is faster than two
                "net.decoder": self.decoder,
                "likelihood": self.likelihood,
                "prior": self.prior,
            }
        )

    def _infer(self, x: Float[Tensor, "b f"]) -> Parameters:
        return self.spec.posterior.parameters(self.encoder(x))

    def _beyond_free_bits(self, kl: Divergence) -> dict[str, Tensor]:
        """Divergences of the codes that are above `free_bits` on the global batch, and the constant that replaces the others."""
        slab = kl.slab.mean(dim=0)
        spike = None if kl.spike is None else kl.spike.mean(dim=0)
        pressed = mean_over_ranks((slab if spike is None else slab + spike).detach()) > self.spec.free_bits
        parts = {"kl_slab": (slab * pressed).sum(), "free_bits": self.spec.free_bits * (~pressed).sum().to(slab)}
        return parts if spike is None else parts | {"kl_spike": (spike * pressed).sum()}


def _gates(q: Parameters) -> dict[str, Tensor]:
    """The mean number of codes that are on: as `encode` counts them, and in expectation."""
    if q.gamma is None:
        return {}
    return {"l0": (q.gamma > 0.5).sum() / len(q.gamma), "gates": q.gamma.sum() / len(q.gamma)}
