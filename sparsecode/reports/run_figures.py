"""Figures of a run: curves, use of the codes, and for images atoms, reconstructions and restored samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sparsecode import plots
from sparsecode.choices import AtomsAt
from sparsecode.coders import in_words
from sparsecode.data import Splits
from sparsecode.data.splits import Split
from sparsecode.evaluate.base import MeasureSettings, in_parts, rows_together
from sparsecode.evaluate.reconstruction.denoising import add_noise, coder_for
from sparsecode.evaluate.reconstruction.restoration import corrupted
from sparsecode.evaluate.units.codes import Codes
from sparsecode.losses.kl import KLTerm
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_posterior
from sparsecode.ops.rng import generator
from sparsecode.reports.codes import subject_of
from sparsecode.reports.comparing import manifold, shows_codes
from sparsecode.runs import Run, RunFolder
from sparsecode.train.observers import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "ShownSamples",
    "atoms_and_reconstructions",
    "atoms_of",
    "counts_apart",
    "draw",
    "figures_of",
    "has_pictures",
    "most_used_first",
    "powers_and_peaks",
    "shown_of",
    "usage_of",
]

PICTURED = 10  # samples in a grid
COUNTED = 2000  # samples behind the picture of the codes' use


def draw(
    folder: RunFolder, model: AbstractSparseModel, splits: Splits, config: Run, at: AtomsAt = "maximum"
) -> list[Path]:
    """Write the run's figures and return their paths; data that are not images, and models that classify, get curves and code usage alone.

    `at` chooses the value of a code at which atoms of decoders with hidden layers are drawn.
    """
    from sparsecode.plots.saving import save_figure  # matplotlib is slow to import

    paths: list[Path] = []
    for title, figure in figures_of(folder.label, folder.metrics(), model, splits, config, at).items():
        paths.append(folder.figures / f"{title}.png")
        save_figure(paths[-1], figure)
    return paths


def figures_of(
    name: str,
    metrics: list[Record],
    model: AbstractSparseModel,
    splits: Splits,
    config: Run,
    at: AtomsAt = "maximum",
) -> dict[str, Figure]:
    """The figures of a run called `name`, by the names of their files."""
    records = counts_apart(metrics, model, config.evaluate.theta)
    figures = {"curves": plots.training_curves(records, name)} if records else {}
    figures["usage"] = plots.code_usage(
        usage_of(model, splits.test, config.evaluate.theta),
        f"{name}: use of the codes by {min(COUNTED, splits.test.n)} test samples, active: |z| > {config.evaluate.theta:g}",
    )
    figures |= _means(model, splits.test, config.seed, name)
    if has_pictures(model):
        figures |= _pictures(model, splits, config, name, at)
    if has_posterior(model) and plots.is_picture(model.shape):
        subject = subject_of(model, splits, name)
        figures |= {"encoding": subject.encodings(), "prior": subject.prior(config.seed)}
    if model.n_code == 2 and shows_codes(model):
        figures["manifold"] = manifold(model, splits, name)
    return figures


def has_pictures(model: AbstractSparseModel) -> bool:
    """Whether samples, atoms and reconstructions are grey images."""
    return plots.is_grey_image(model.shape) and model.reconstructs and model.n_sites == 1


def counts_apart(records: list[Record], model: AbstractSparseModel, theta: float) -> list[dict[str, Any]]:
    """Records in which L0 of training and of validation have separate names where their thresholds differ.

    Training counts |z_j| > target_l0.theta, or codes other than 0 without a target, or gates with gamma > 0.5; validation
    |z_j| > `theta`, evaluate.theta.
    """
    control = getattr(model, "control", None)
    counted = control.spec.theta if control is not None else 0.0
    if counted == theta:
        return list(records)
    settings = "open gates" if has_posterior(model) else f"|z| > {counted:g}"
    names = {"train": f"L0 in training: {settings}", "evaluate": f"L0 in validation: |z| > {theta:g}"}

    def renamed(name: str, kind: str) -> str:
        coder, slash, quantity = name.rpartition("/")
        return f"{coder}{slash}{names[kind]}" if quantity == "l0" and kind in names else name

    return [{renamed(name, record["kind"]): value for name, value in record.items()} for record in records]


@torch.no_grad()
def usage_of(model: AbstractSparseModel, split: Split, theta: float) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Per coder: the share of samples that use each code, and the number of active codes of each sample."""
    weights, split, words = next(model.parameters()), split.take(slice(COUNTED)), in_words(model.coders())
    series: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    for name, coder in model.coders().items():
        active = in_parts(lambda x, coder=coder: coder(x.to(weights)).abs() > theta, split.x, model.n_code)
        series[words[name]] = _array(active.double().mean(dim=0)), _array(active.sum(dim=1))
    return series


@torch.no_grad()
def _means(model: AbstractSparseModel, split: Split, seed: int, name: str) -> dict[str, Figure]:
    """The mean activations of models with a KL term on up to 2000 test samples; nothing of others."""
    weights = next(model.parameters())
    if not any(isinstance(part, KLTerm) for part in model.modules()):
        return {}
    samples = split.take(slice(COUNTED)).to(weights.device, weights.dtype)
    series = next(iter(Codes().measure(model, samples, MeasureSettings(), seed).values()))
    if series.histogram is None or series.rho is None or series.kl is None:
        return {}
    title = f"{name}: mean activations, KL {series.kl:.3g} nats over {model.n_code} units"
    return {"means": plots.mean_activations(series.histogram.edges, series.histogram.counts, series.rho, title)}


@torch.no_grad()
def powers_and_peaks(model: AbstractSparseModel, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    """Per code of the first coder, over up to 2000 samples: the sum of z^2, and the value of largest magnitude, with its sign."""
    weights, split = next(model.parameters()), split.take(slice(COUNTED))
    coder = next(iter(model.coders().values()))
    power, peak = (torch.zeros(model.n_code).to(weights) for _ in range(2))
    for x in split.x.split(rows_together(model.n_code)):
        z = coder(x.to(weights))
        power += z.square().sum(dim=0)
        for value in (z.amax(dim=0), z.amin(dim=0)):
            peak = torch.where(value.abs() > peak.abs(), value, peak)
    return power, peak


@torch.no_grad()
def most_used_first(power: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
    """The order of atoms [n, n_features] by mean z_j^2 |d_j|^2, from the `power` sum z_j^2 [n_code] of their codes.

    Atoms that stand at several places have as many codes each, one atom's after the other's.
    """
    power = power.reshape(len(atoms), -1).sum(dim=1)
    return (power * atoms.square().sum(dim=1)).argsort(descending=True, stable=True)


def atoms_of(
    model: AbstractSparseModel, peak: torch.Tensor, at: AtomsAt
) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]:
    """Atoms as rows, per unit of their code; the same as they are drawn; and the shape of one.

    Filters where the decoder has them, else what each code adds alone, decode(c e_j) - decode(0). Where that is no multiple of
    the same picture for all c, in decoders with hidden layers, c is the largest value of the code over samples, as in
    the figures of Evtimova & LeCun, or 1 with `at` "unit". Those of unused codes are then 0.
    """
    decoder = getattr(model, "decoder", None)
    filters = getattr(decoder, "filters", None)
    if filters is not None:
        return filters.flatten(1), filters.flatten(1), tuple(filters.shape[-2:])
    linear = hasattr(decoder, "atoms") or has_posterior(model)  # codes of the latter have unit scale in their prior
    value = torch.ones_like(peak) if linear or at == "unit" else peak
    codes = torch.diag(value)
    added = model.decode(codes) - model.decode(torch.zeros_like(codes[:1]))
    used = torch.where(value == 0, 1.0, value).unsqueeze(1)
    return added / used, added, model.shape


class ShownSamples(NamedTuple):
    """The samples of a picture, of the split that is called `what`, and the range of their pixels."""

    split: Split
    what: str
    low: float
    high: float

    def pixels(self, samples: torch.Tensor) -> NDArray[Any]:
        return _array(self.split.pixels(samples))


def shown_of(model: AbstractSparseModel, split: Split, what: str, splits: Splits) -> ShownSamples:
    """A few samples of a split, with contrast, where the model is."""
    weights = next(model.parameters())
    rows = split.take(_with_contrast(split.x)).to(weights.device, weights.dtype)
    return ShownSamples(rows, what, splits.low, splits.high)


@torch.no_grad()
def atoms_and_reconstructions(
    model: AbstractSparseModel, split: Split, shown: ShownSamples, name: str, at: AtomsAt = "maximum"
) -> dict[str, Figure]:
    """The atoms, ordered by their use on samples of `split`, and what each coder makes of the samples shown."""
    words = in_words(model.coders())
    clean = {f"{shown.what} sample": shown.pixels(shown.split.x)}
    clean |= {words[c]: shown.pixels(_through(model, f, shown.split.x)) for c, f in model.coders().items()}
    power, peak = powers_and_peaks(model, split)
    unit, atoms, shape = atoms_of(model, peak, at)
    atoms = atoms[most_used_first(power, unit)]
    return {
        "atoms": plots.atoms_mosaic(_array(atoms), shape, title=f"{name}: learned atoms, most used first"),
        "reconstructions": plots.image_grid(clean, model.shape, shown.low, shown.high, f"{name}: reconstructions"),
    }


def _through(model: AbstractSparseModel, coder: Any, samples: torch.Tensor) -> torch.Tensor:
    return model.denormalise(model.decode(coder(samples)))


@torch.no_grad()
def _pictures(model: AbstractSparseModel, splits: Splits, config: Run, name: str, at: AtomsAt) -> dict[str, Figure]:
    shown = shown_of(model, splits.test, "test", splits)
    samples, coders, settings = shown.split, model.coders(), config.evaluate
    words = in_words(coders)
    figures = atoms_and_reconstructions(model, splits.test, shown, name, at)
    made = corrupted(model, samples.x, generator(config.seed, "picture"))
    if made is not None:
        rows = {
            "clean": shown.pixels(samples.x),
            "corrupted": shown.pixels(made[0]),
            "restored": shown.pixels(model.reconstruct(made[0])),
        }
        title = f"{name}: samples corrupted as in training"
        figures["restored"] = plots.image_grid(rows, model.shape, splits.low, splits.high, title)
    if settings.sigmas:
        sigma = settings.sigmas[len(settings.sigmas) // 2]
        noisy = add_noise(model, samples, sigma, settings.unit, splits.data_range, generator(config.seed, "picture"))
        denoised = {
            words[c]: shown.pixels(_through(model, coder_for(model, c, samples.x, noisy, settings.noise_weight), noisy))
            for c in coders
        }
        rows = {"clean": shown.pixels(samples.x), "noisy": shown.pixels(noisy), **denoised}
        of = "of the data range" if settings.unit == "range" else "in model space"
        title = f"{name}: Gaussian noise removed, standard deviation {sigma:.3g} {of}"
        figures["denoising"] = plots.image_grid(rows, model.shape, splits.low, splits.high, title)
    return figures


def _with_contrast(x: torch.Tensor) -> torch.Tensor:
    """Rows to look at: evenly spaced through the upper half of the samples by contrast."""
    order = x.flatten(1).std(dim=1).argsort(stable=True)
    ranks = torch.linspace(len(order) // 2, len(order) - 1, min(PICTURED, len(order)))
    return order[ranks.long()]


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return np.asarray(tensor.detach().cpu())
