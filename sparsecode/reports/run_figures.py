"""Figures of a run: curves, use of the codes, and for images atoms, reconstructions and restored samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsecode.coders import in_words
from sparsecode.data import Splits
from sparsecode.data.splits import Split
from sparsecode.evaluate.base import CHUNK
from sparsecode.evaluate.reconstruction.denoising import add_noise, coder_for
from sparsecode.evaluate.reconstruction.restoration import corrupted
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_posterior
from sparsecode.ops.rng import generator
from sparsecode.plots import atoms_mosaic, code_usage, image_grid, is_grey_image, is_picture, training_curves
from sparsecode.plots.saving import save_figure
from sparsecode.reports.codes import subject_of
from sparsecode.reports.comparing import manifold, shows_codes
from sparsecode.runs import Run, RunFolder
from sparsecode.train.observers import Record

__all__ = ["FIGURES", "counts_apart", "draw", "figures_of", "most_used_first"]

PICTURED = 10  # samples in a grid
COUNTED = 2000  # samples behind the picture of the codes' use
FIGURES = ("curves", "usage", "atoms", "reconstructions", "restored", "denoising", "encoding", "prior", "manifold")


def draw(folder: RunFolder, model: AbstractSparseModel, splits: Splits, config: Run) -> list[Path]:
    """Write the run's figures and return their paths; data that are not images, and models that classify, get curves and code usage alone."""
    paths: list[Path] = []
    for title, figure in figures_of(folder.label, folder.metrics(), model, splits, config).items():
        paths.append(folder.figures / f"{title}.png")
        save_figure(paths[-1], figure)
    return paths


def figures_of(
    name: str, metrics: list[Record], model: AbstractSparseModel, splits: Splits, config: Run
) -> dict[str, Figure]:
    """The figures of a run called `name`, by the names of their files."""
    records = counts_apart(metrics, model, config.evaluate.theta)
    figures = {"curves": training_curves(records, name)} if records else {}
    figures["usage"] = code_usage(
        _usage(model, splits.test, config.evaluate.theta),
        f"{name}: use of the codes by {min(COUNTED, splits.test.n)} test samples",
    )
    if is_grey_image(model.shape) and model.reconstructs and model.n_sites == 1:
        figures |= _pictures(model, splits, config, name)
    if has_posterior(model) and is_picture(model.shape):
        subject = subject_of(model, splits, name)
        figures |= {"encoding": subject.encodings(), "prior": subject.prior(config.seed)}
    if model.n_code == 2 and shows_codes(model):
        figures["manifold"] = manifold(model, splits, name)
    return figures


def counts_apart(records: list[Record], model: AbstractSparseModel, theta: float) -> list[dict[str, Any]]:
    """Records in which L0 of training and of validation have separate names where their thresholds differ.

    Training counts |z_j| > target_l0.theta, or codes other than 0 without a target, or gates with gamma > 0.5; validation
    |z_j| > `theta`, evaluate.theta.
    """
    control = getattr(model, "control", None)
    counted = control.spec.theta if control is not None else 0.0
    if counted == theta:
        return list(records)
    how = "open gates" if has_posterior(model) else f"|z| > {counted:g}"
    names = {"train": f"L0 in training: {how}", "evaluate": f"L0 in validation: |z| > {theta:g}"}

    def renamed(name: str, kind: str) -> str:
        coder, slash, quantity = name.rpartition("/")
        return f"{coder}{slash}{names[kind]}" if quantity == "l0" and kind in names else name

    return [{renamed(name, record["kind"]): value for name, value in record.items()} for record in records]


@torch.no_grad()
def _usage(model: AbstractSparseModel, split: Split, theta: float) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Per coder: the share of samples that use each code, and the number of active codes of each sample."""
    weights, split, words = next(model.parameters()), split.take(slice(COUNTED)), in_words(model.coders())
    found: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    for name, coder in model.coders().items():
        active = torch.cat([coder(x.to(weights)).abs() > theta for x in split.x.split(CHUNK)])
        found[words[name]] = _array(active.double().mean(dim=0)), _array(active.sum(dim=1))
    return found


@torch.no_grad()
def most_used_first(model: AbstractSparseModel, split: Split, atoms: torch.Tensor) -> torch.Tensor:
    """The order of atoms [n, n_features] by mean z_j^2 |d_j|^2, for the first coder on up to 2000 samples.

    Atoms that stand at several places have as many codes each, one atom's after the other's.
    """
    weights, split = next(model.parameters()), split.take(slice(COUNTED))
    coder = next(iter(model.coders().values()))
    power = torch.stack([coder(x.to(weights)).square().sum(dim=0) for x in split.x.split(CHUNK)]).sum(dim=0)
    power = power.reshape(len(atoms), -1).sum(dim=1)
    return (power * atoms.square().sum(dim=1)).argsort(descending=True, stable=True)


def _atoms(model: AbstractSparseModel) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Atoms as rows, and the shape of one: filters where the decoder has them, else what each code adds."""
    filters = getattr(getattr(model, "decoder", None), "filters", None)
    if filters is not None:
        return filters.flatten(1), tuple(filters.shape[-2:])
    codes = torch.eye(model.n_code).to(next(model.parameters()))
    return model.decode(codes) - model.decode(torch.zeros_like(codes)), model.shape


@torch.no_grad()
def _pictures(model: AbstractSparseModel, splits: Splits, config: Run, name: str) -> dict[str, Figure]:
    weights = next(model.parameters())
    shown = splits.test.take(_with_contrast(splits.test.x)).to(weights.device, weights.dtype)
    coders, how = model.coders(), config.evaluate
    words = in_words(coders)

    def pixels(samples: torch.Tensor) -> NDArray[Any]:
        return _array(shown.pixels(samples))

    def through(coder: Any, samples: torch.Tensor) -> NDArray[Any]:
        return pixels(model.denormalise(model.decode(coder(samples))))

    clean = {"test sample": pixels(shown.x), **{words[c]: through(f, shown.x) for c, f in coders.items()}}
    atoms, shape = _atoms(model)
    atoms = atoms[most_used_first(model, splits.test, atoms)]
    figures = {
        "atoms": atoms_mosaic(_array(atoms), shape, title=f"{name}: learned atoms, most used first"),
        "reconstructions": image_grid(clean, model.shape, splits.low, splits.high, f"{name}: reconstructions"),
    }
    made = corrupted(model, shown.x, generator(config.seed, "picture"))
    if made is not None:
        rows = {
            "clean": clean["test sample"],
            "corrupted": pixels(made[0]),
            "restored": pixels(model.reconstruct(made[0])),
        }
        title = f"{name}: samples corrupted as in training"
        figures["restored"] = image_grid(rows, model.shape, splits.low, splits.high, title)
    if how.sigmas:
        sigma = how.sigmas[len(how.sigmas) // 2]
        noisy = add_noise(model, shown, sigma, how.unit, splits.data_range, generator(config.seed, "picture"))
        denoised = {words[c]: through(coder_for(model, c, shown.x, noisy, how.noise_weight), noisy) for c in coders}
        rows = {"clean": clean["test sample"], "noisy": pixels(noisy), **denoised}
        title = f"{name}: denoising at sigma {sigma:.3g} ({how.unit})"
        figures["denoising"] = image_grid(rows, model.shape, splits.low, splits.high, title)
    return figures


def _with_contrast(x: torch.Tensor) -> torch.Tensor:
    """Rows to look at: evenly spaced through the upper half of the samples by contrast."""
    order = x.flatten(1).std(dim=1).argsort(stable=True)
    ranks = torch.linspace(len(order) // 2, len(order) - 1, min(PICTURED, len(order)))
    return order[ranks.long()]


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return np.asarray(tensor.detach().cpu())
