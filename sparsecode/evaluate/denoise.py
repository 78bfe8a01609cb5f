"""Denoising by reconstruction: code the noisy sample, decode, compare with the clean one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sparsecode.choices import NoiseUnit
from sparsecode.data.splits import Split
from sparsecode.evaluate.metrics import l0, psnr
from sparsecode.evaluate.score import CHUNK
from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.streams import generator
from sparsecode.specs import Spec

__all__ = ["Denoised", "NoiseUnit", "add_noise", "denoise"]


class Denoised(Spec, tag="denoised"):
    """Mean PSNR in dB of the noisy input and of its reconstruction, both against the clean sample."""

    sigma: float
    unit: NoiseUnit
    n: int
    noisy_psnr: float
    psnr: float
    margin: float
    l0: float


def add_noise(
    model: AbstractSparseModel, clean: Split, sigma: float, unit: NoiseUnit, data_range: float, rng: torch.Generator
) -> Tensor:
    """Samples + Gaussian noise of standard deviation sigma, in data space, nothing clipped.

    unit "input": sigma counts in the model's normalised space; "range": in fractions of the data range, in the space of
    `Split.pixels`.
    """
    x = clean.x
    noise = torch.randn(x.shape, generator=rng).to(x)  # drawn in float32: the same whatever the precision
    if unit == "range":
        return x + clean.from_pixels(sigma * data_range * noise)
    return model.denormalise(model.normalise(x) + sigma * noise.flatten(1))


@torch.no_grad()
def denoise(
    model: AbstractSparseModel,
    coder: Callable[[Tensor], Tensor],
    split: Split,
    sigmas: Sequence[float],
    unit: NoiseUnit,
    data_range: float,
    theta: float = 0.0,
    seed: int = 0,
) -> list[Denoised]:
    """A row per noise level; every coder of every model sees the same noise for the same seed.

    Samples with local means and contrasts (`Split.ctx`) are compared as pixels, with the maps of the clean sample.
    """
    rows: list[Denoised] = []
    for sigma in sigmas:
        noisy_total, total, count = 0.0, 0.0, 0.0
        for start in range(0, split.n, CHUNK):
            part = split.take(slice(start, start + CHUNK))
            clean = part.pixels(part.x)
            noisy = add_noise(model, part, sigma, unit, data_range, generator(seed, "denoise", start))
            z = coder(noisy)
            noisy_total += float(psnr(clean, part.pixels(noisy), data_range).double().sum())
            cleaned = part.pixels(model.denormalise(model.decode(z)))
            total += float(psnr(clean, cleaned, data_range).double().sum())
            count += float(l0(z, theta).double().sum())
        before, after = noisy_total / split.n, total / split.n
        rows.append(Denoised(sigma, unit, split.n, before, after, after - before, count / split.n))
    return rows
