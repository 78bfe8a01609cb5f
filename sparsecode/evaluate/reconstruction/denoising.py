"""Denoising by reconstruction: code the noisy sample, decode, compare with the clean one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sparsecode.choices import NoiseUnit
from sparsecode.data.splits import Split
from sparsecode.evaluate.base import CHUNK, KnownMeasure, MeasureSettings, Result, Table, rows_together
from sparsecode.evaluate.code_sums import sums_of
from sparsecode.evaluate.metrics import psnr
from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.rng import generator
from sparsecode.specs import Spec

__all__ = ["Denoised", "DenoisedLevels", "Denoising", "NoiseUnit", "add_noise", "coder_for", "denoise"]


class Denoised(Spec, tag="denoised"):
    """Mean PSNR in dB of the noisy input and of its reconstruction, both against the clean sample.

    `noise_weight` is that of `denoise`; 0 in results of older versions.
    """

    sigma: float
    unit: NoiseUnit
    n: int
    noisy_psnr: float
    psnr: float
    margin: float
    l0: float
    noise_weight: float = 0.0


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
    coder: str,
    split: Split,
    sigmas: Sequence[float],
    unit: NoiseUnit,
    data_range: float,
    theta: float = 0.0,
    seed: int = 0,
    noise_weight: float = 0.0,
) -> list[Denoised]:
    """A row per noise level; every coder of every model sees the same noise for the same seed.

    `coder` is the name of one of the model's (`AbstractSparseModel.coders`). With `noise_weight` = c > 0, codes that are
    solved for get the penalty weight c s instead of that of the training, with s the standard deviation of the noise in
    model space: there, noise alone has coefficients of size s on atoms of norm 1 (Chen, Donoho & Saunders, SIAM J. Sci.
    Comput. 1998). A fixed weight is too large for little noise and too small for much.
    Samples with local means and contrasts (`Split.ctx`) are compared as pixels, with the maps of the clean sample.
    """
    rows: list[Denoised] = []
    for sigma in sigmas:
        noisy_total, total, count = 0.0, 0.0, 0.0
        for start, part in split.chunks(CHUNK):
            clean = part.pixels(part.x)
            noisy = add_noise(model, part, sigma, unit, data_range, generator(seed, "denoise", start))
            code = coder_for(model, coder, part.x, noisy, noise_weight)
            noisy_total += float(psnr(clean, part.pixels(noisy), data_range).double().sum())
            cleaned: list[Tensor] = []
            for some in noisy.split(rows_together(model.n_code)):
                z = code(some)
                cleaned.append(model.denormalise(model.decode(z)))
                count += float(sums_of(z, theta).by_sample.active.double().sum())
            total += float(psnr(clean, part.pixels(torch.cat(cleaned)), data_range).double().sum())
        before, after = noisy_total / split.n, total / split.n
        rows.append(Denoised(sigma, unit, split.n, before, after, after - before, count / split.n, noise_weight))
    return rows


def coder_for(
    model: AbstractSparseModel, coder: str, clean: Tensor, noisy: Tensor, noise_weight: float
) -> Callable[[Tensor], Tensor]:
    """The model's coder of this name for samples with such noise; see `denoise`."""
    if not noise_weight:
        return model.coders()[coder]
    deviation = (model.normalise(noisy) - model.normalise(clean)).double().square().mean().sqrt()
    return model.coders_at(noise_weight * float(deviation))[coder]


class DenoisedLevels(Result, tag="denoised_levels"):
    """A coder's denoising at every noise level."""

    levels: tuple[Denoised, ...]

    def means(self) -> dict[str, float]:
        """PSNR after denoising, by noise level."""
        return {f"psnr_{level.sigma:.3g}": level.psnr for level in self.levels}

    @classmethod
    def table(cls, name: str, parts: Mapping[str, DenoisedLevels]) -> Table:
        """A row per noise level: PSNR of the noisy input, and what each coder gains."""
        columns = [part.levels for part in parts.values()]
        words = {"input": "of the model's normalised input", "range": "as a fraction of the data range"}
        rows = [
            (
                f"{levels[0].sigma:.3g}",
                f"{levels[0].noisy_psnr:.2f}",
                *(f"{level.psnr:.2f} ({level.margin:+.2f})" for level in levels),
            )
            for levels in zip(*columns, strict=True)
        ]
        factor = next((level.noise_weight for levels in columns for level in levels), 0.0)
        caption = (
            f"encode: penalty weight {factor:g} x noise (in model space);\namortised: as trained" if factor else ""
        )
        title = f"{name}: PSNR in dB (gain); sigma {words[columns[0][0].unit]}"
        return Table(title, ("sigma", "noisy input", *(f"by {part}" for part in parts)), rows, caption, named=False)


class Denoising(KnownMeasure, tag="denoising"):
    """PSNR of every coder's reconstructions of samples with Gaussian noise of each size in `MeasureSettings.sigmas`: `denoise`."""

    def applies(self, model: AbstractSparseModel) -> bool:
        return model.reconstructs

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, DenoisedLevels]:
        def levels(coder: str) -> tuple[Denoised, ...]:
            return tuple(
                denoise(
                    model,
                    coder,
                    split,
                    settings.sigmas,
                    settings.unit,
                    settings.data_range,
                    settings.theta,
                    seed,
                    settings.noise_weight,
                )
            )

        return {coder: DenoisedLevels(levels(coder)) for coder in model.coders()} if settings.sigmas else {}
