"""Activity of the units of networks trained with input noise, with noise on and off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import WHOLE, KnownMeasure, MeasureSettings, Result, Table
from sparsecode.evaluate.units.noise_terms import NoiseTerms, noise_terms
from sparsecode.evaluate.units.unit_use import UnitUse, mean_of_finite
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import one_layer
from sparsecode.nn.noises import GaussianNoise, Noise
from sparsecode.ops.rng import generator
from sparsecode.specs import Count

__all__ = ["Activity", "NoiseSource", "UnitActivity", "activity", "noise_source", "with_noise"]

BLOCK = 250  # samples at a time, each block with noise of its own: numbers do not depend on how many there are
PARTS = ("residual", "mean_shift", "variance", "covariance")  # of `NoiseTerms`
PROBED = 500  # samples whose nearest neighbours are looked for


class Activity(Result, tag="activity"):
    """Activity of the units of a one-layer network, with the noise of training and without. On `n` samples; `_noisy` with noise of standard
    deviation `sigma` in model space, `_clean` without.

    A unit is active on a sample if |h_j| > `theta`. None: not defined for this model, or at this sigma.

    - `active`: mean share of units that are active. `dead`: units active on no sample, `dead_share` of all.
    - `hoyer`, `population`: of a sample's activations, mean over samples; `lifetime`: Treves-Rolls of a unit over samples,
      mean over units. What is all 0 is left out.
    - `entropy`: -sum_j p_j log p_j / log n_code, p_j the share of unit j in all activity counts; 1 if all are equally often active.
    - `margin`: mean |pre_j| / (sigma |key_j|), clean: the distance from the threshold in standard deviations of its noise
      (None for cosines, whose noise is not of that size).
    - `flips_noise`: share of (sample, unit) whose pre-activation changes sign by the noise; `flips_bias_up`, `flips_bias_down`:
      share that the bias makes positive, not positive (clean). `active_without_bias`: share above 0 with the bias left out (clean).
    - `active_before`, `dead_share_before`: `active` and `dead_share` of relu(pre) in the place of h, before units compete with
      each other (inhibition, Top-K and its variants); None for activations that treat each unit alone.
    - `bias_mean`, `bias_sd`, `negative_bias` (share); `norm_mean`, `norm_cv` (standard deviation / mean) of the lengths of keys.
    - `key_value_cosine`: mean cosine of a unit's key (encoder row) and value (decoder row); `key_value_cosine_weighted`: weighted by
      activity counts, noisy.
    - `nearest_target_recon`, `nearest_target_noisy`: share of `n_probe` samples spread over all whose nearest one among them, in
      L2, is the one that was reconstructed from noisy input, or that noise was added to.
    - `terms`: what noise adds to the squared error, in closed form; for Gaussian noise and rectified units alone.
    """

    n: int
    n_code: int
    theta: float
    sigma: float
    active_noisy: float
    active_clean: float
    dead_noisy: int
    dead_clean: int
    dead_share_noisy: float
    dead_share_clean: float
    population_noisy: float | None
    population_clean: float | None
    lifetime_noisy: float | None
    lifetime_clean: float | None
    hoyer_noisy: float | None
    hoyer_clean: float | None
    entropy_noisy: float | None
    entropy_clean: float | None
    margin: float | None
    flips_noise: float
    flips_bias_up: float
    flips_bias_down: float
    bias_mean: float
    bias_sd: float
    negative_bias: float
    norm_mean: float
    norm_cv: float | None
    key_value_cosine: float | None
    key_value_cosine_weighted: float | None
    n_probe: int | None
    nearest_target_recon: float | None
    nearest_target_noisy: float | None
    terms: NoiseTerms | None
    active_without_bias: float | None = None
    active_before_noisy: float | None = None
    active_before_clean: float | None = None
    dead_share_before_noisy: float | None = None
    dead_share_before_clean: float | None = None

    def means(self) -> dict[str, float]:
        """The numbers that change in training, and the terms of the noise's error as `noise_...`."""
        fixed = ("n", "n_code", "theta", "n_probe")
        parts = {} if self.terms is None else {f"noise_{name}": getattr(self.terms, name) for name in PARTS}
        return {name: value for name, value in super().means().items() if name not in fixed} | parts

    @classmethod
    def table(cls, name: str, parts: Mapping[str, Activity]) -> Table:  # noqa: ARG003 - the contract
        """Shares of units with noise on and off; `sparsecode units` shows the rest."""
        rows = [
            (words, f"{on:.4f}", f"{off:.4f}")
            for result in parts.values()
            for words, on, off in (
                ("active before inhibition", result.active_before_noisy, result.active_before_clean),
                ("active", result.active_noisy, result.active_clean),
                ("dead", result.dead_share_noisy, result.dead_share_clean),
            )
            if on is not None and off is not None
        ]
        first = next(iter(parts.values()))
        lines = (
            f"of {first.n_code} units, {first.n} samples",
            f"active: |h| > {first.theta:g}, mean share",
            "dead: active on no sample",
        )
        return Table(f"units, noise of sigma {first.sigma:.4g}", ("", "noise on", "noise off"), rows, "\n".join(lines))


class NoiseSource(NamedTuple):
    """A noise distribution, and its standard deviation in model space."""

    distribution: Noise
    sigma: float


def noise_source(model: AbstractSparseModel, sigma: float | None = None) -> NoiseSource | None:
    """The noise of a model's training as it is at its end, or of another size `sigma` in model space.

    A model trained without noise has some only if sigma is given: Gaussian. None for models without an affine encoder, and for
    those with a projection, whose noise may be in another space than their input.
    """
    layer = one_layer(model)
    if layer is None or layer.model.projection is not None:
        return None
    settings = layer.model.corruption
    if settings is not None and settings.noise is not None:
        return NoiseSource(settings.noise, settings.sigma if sigma is None else sigma)
    return None if sigma is None else NoiseSource(GaussianNoise(sigma=sigma), sigma)


def with_noise(
    x: Float[Tensor, "b f"], noise: NoiseSource, seed: int, purpose: str, start: int = 0
) -> Float[Tensor, "b f"]:
    """x in model space plus noise that is a function of (seed, purpose, start)."""
    return x + noise.distribution.noise(x, noise.sigma, generator(seed, purpose, start)) if noise.sigma else x


@torch.no_grad()
def activity(
    model: AbstractSparseModel,
    split: Split,
    sigma: float | None = None,
    seed: int = 0,
    theta: float = 0.0,
    *,
    costs: bool = True,
) -> Activity | None:
    """`Activity` on all samples of a split, at the noise of training or at another `sigma` in model space.

    The noise is a function of the seed; `costs` are the `terms`. None for models that `noise_source` knows no noise for.
    """
    noise, layer = noise_source(model, sigma), one_layer(model)
    if noise is None or layer is None:
        return None
    model, encoder = layer
    keys, bias, _ = (w.double() for w in encoder.map(model.decoder))
    norms = torch.linalg.vector_norm(keys, dim=1)
    n_code, device = len(keys), keys.device
    noisy_use, clean_use = UnitUse(n_code, theta, device), UnitUse(n_code, theta, device)
    signs = torch.zeros(4, dtype=torch.float64, device=device)
    before = torch.zeros(2, n_code, dtype=torch.float64, device=device)
    distance = torch.zeros(n_code, dtype=torch.float64, device=device)
    for start, part in split.chunks(BLOCK):
        x = part.x
        pre = model.pre_activations(x)
        noisy = model.pre_activations(model.denormalise(with_noise(model.normalise(x), noise, seed, "activity", start)))
        clean_use.update(model.activation.infer(pre))  # as `encode` does, without another product with the keys
        noisy_use.update(model.activation.infer(noisy))
        before += torch.stack([(drive.relu() > theta).sum(dim=0) for drive in (noisy, pre)])
        on, without = pre > 0, pre - bias.to(pre) > 0
        changed = on != (noisy > 0)
        signs += torch.stack([changed.sum(), (on & ~without).sum(), (without & ~on).sum(), without.sum()])
        distance += pre.abs().sum(dim=0, dtype=torch.float64)
    on, off = noisy_use.result(), clean_use.result()
    by_noise, up, down, without_bias = (signs / (split.n * n_code)).tolist()
    active_before, dead_before = (before / split.n).mean(dim=1).tolist(), (before == 0).double().mean(dim=1).tolist()
    if not model.activation.competes:
        active_before = dead_before = (None, None)
    cosine = weighted = None
    if model.dictionary is not None:
        values = model.dictionary.atoms.double()
        lengths = (norms * torch.linalg.vector_norm(values, dim=1)).clamp(min=torch.finfo(torch.float64).tiny)
        each = torch.linalg.vecdot(keys, values) / lengths  # `cosine_similarity` takes three times as long
        cosine, weighted = float(each.mean()), mean_of_finite((noisy_use.counts @ each / noisy_use.counts.sum())[None])
    near = _nearest(model, split, noise, seed) if model.reconstructs else None
    closed = costs and isinstance(noise.distribution, GaussianNoise) and noise.sigma > 0
    return Activity(
        n=split.n,
        n_code=n_code,
        theta=theta,
        sigma=noise.sigma,
        active_noisy=on.active,
        active_clean=off.active,
        dead_noisy=on.dead,
        dead_clean=off.dead,
        dead_share_noisy=on.dead_share,
        dead_share_clean=off.dead_share,
        population_noisy=on.population,
        population_clean=off.population,
        lifetime_noisy=on.lifetime,
        lifetime_clean=off.lifetime,
        hoyer_noisy=on.hoyer,
        hoyer_clean=off.hoyer,
        entropy_noisy=on.entropy,
        entropy_clean=off.entropy,
        margin=mean_of_finite(distance / split.n / (noise.sigma * norms))
        if noise.sigma and not encoder.spec.cosine
        else None,
        flips_noise=by_noise,
        flips_bias_up=up,
        flips_bias_down=down,
        bias_mean=float(bias.mean()),
        bias_sd=float(bias.std(correction=0)),
        negative_bias=float((bias < 0).double().mean()),
        norm_mean=float(norms.mean()),
        norm_cv=mean_of_finite((norms.std(correction=0) / norms.mean())[None]),
        key_value_cosine=cosine,
        key_value_cosine_weighted=weighted,
        n_probe=None if near is None else near.n,
        nearest_target_recon=None if near is None else near.recon,
        nearest_target_noisy=None if near is None else near.noisy,
        terms=noise_terms(model, split, noise.sigma) if closed else None,
        active_without_bias=without_bias,
        active_before_noisy=active_before[0],
        active_before_clean=active_before[1],
        dead_share_before_noisy=dead_before[0],
        dead_share_before_clean=dead_before[1],
    )


class _Nearest(NamedTuple):
    n: int
    recon: float
    noisy: float


def _nearest(model: AbstractSparseModel, split: Split, noise: NoiseSource, seed: int) -> _Nearest:
    """The number of probed samples that are the nearest neighbour of their reconstruction, and of their noisy input."""
    n = min(split.n, PROBED)
    clean = model.normalise(split.take(torch.linspace(0, split.n - 1, n).long()).x)
    noisy = with_noise(clean, noise, seed, "probe")
    made = model.decode(model.encode(model.denormalise(noisy)))
    index = torch.arange(n, device=clean.device)
    hits = [(torch.cdist(rows, clean).argmin(dim=1) == index).double().mean() for rows in (made, noisy)]
    recon, by_noise = torch.stack(hits).tolist()
    return _Nearest(n, recon, by_noise)


class UnitActivity(KnownMeasure, tag="activity"):
    """The units of a one-layer network with its noise on and off, on the first `samples` of a split: `activity`."""

    samples: Annotated[Count, Meta(description="number of samples measured")] = 2000
    costs: Annotated[
        bool, Meta(description="whether what noise adds to the error is computed, at n_code^2 operations per sample")
    ] = True

    def applies(self, model: AbstractSparseModel) -> bool:
        return noise_source(model) is not None

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, Activity]:
        result = activity(model, split.take(slice(self.samples)), seed=seed, theta=settings.theta, costs=self.costs)
        return {} if result is None else {WHOLE: result}
