"""A short training of every recipe for the catalogue: numbers in benchmarks/results/recipes.json, a picture each in docs/pictures/recipes.

    python docs/make_recipes.py            those that have no entry yet (half an hour of one core)
    python docs/make_recipes.py NAME ...   these, anew

Recipes on data inside scikit-learn are trained to their end, others and convolutional ones for a few steps (STEPS), with schedules that
count fractions of the training scaled to these; scores are of at most 1000 test samples. Data of others are read from
$SPARSECODE_DATA. A recipe without data, or made for a GPU, gets the reason.
"""

from __future__ import annotations

import json
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sparsecode import RECIPES, Evaluate, Run, fit
from sparsecode.data import Splits
from sparsecode.evaluate import Scores
from sparsecode.leaves import tag_of
from sparsecode.models.base import AbstractSparseModel
from sparsecode.plots import is_picture
from sparsecode.reports.run_figures import atoms_of, has_pictures, most_used_first, powers_and_peaks, usage_of

ROOT = Path(__file__).parents[1]
RESULTS, PICTURES = ROOT / "benchmarks/results/recipes.json", ROOT / "docs/pictures/recipes"
SCORED = 1000
WHOLE = ("digits", "photos")
USUAL = 100
STEPS = {
    "photos-csc": 60, "mnist-sdl": 100, "mnist-vdl": 100, "mnist-sdl-nl": 40, "mnist-vdl-nl": 40,
    "patches-sdl": 40, "patches-vdl": 40, "patches-sdl-nl": 10, "patches-vdl-nl": 10,
    "noise-mnist-adversarial": 40, "noise-mnist-explain-away": 40,
    "noise-latents": 10, "noise-latents-continual": 10, "noise-latents-classify": 10, "noise-latents-explain-away": 10,
    "mnist-vae": 300, "mnist-vae-2": 300, "mnist-vsc-50": 300, "mnist-vsc-20": 300, "mnist-vsc-1": 300, "mnist-vsc": 300,
    "shapes-vae": 300, "shapes-tcvae": 200, "shapes-vsc": 300, "mnist-conv-vsc": 30, "olivetti-conv-vsc": 20,
}  # fmt: skip
LARGE = (
    "noise-cifar",
    "noise-cifar-classify",
    "noise-cifar-convmixer",
    "noise-cifar-resnet50",
)
ROWS, COLUMNS = 3, 12
Array = NDArray[Any]


@cache
def _loaded(data: Any) -> Splits:
    return data.load()


def short(name: str, config: Run) -> tuple[Splits, Run, bool]:
    """Samples, the config of the short training, and whether that is the whole one."""
    splits = _loaded(config.data)
    splits = splits._replace(valid=splits.valid.take(slice(SCORED)), test=splits.test.take(slice(SCORED)))
    whole = tag_of(config.data) in WHOLE and name not in STEPS
    few = STEPS.get(name, USUAL) * config.train.batch_size / splits.training.n
    epochs = config.train.epochs if whole else min(config.train.epochs, few)
    train = msgspec.structs.replace(config.train, epochs=epochs, evaluate_every=epochs, patience=None)
    evaluate = Evaluate(theta=config.evaluate.theta, measures=(Scores(),), validation=(Scores(),))
    return splits, msgspec.structs.replace(config, train=train, evaluate=evaluate), whole


def trained(name: str) -> dict[str, Any]:
    """The entry of a recipe; its picture is written."""
    config = RECIPES[name]()
    if name in LARGE:
        return {"reason": "a network for a GPU: not trained here"}
    try:
        splits, brief, whole = short(name, config)
    except (OSError, ValueError) as problem:
        sys.stderr.write(f"{name}: {problem}\n")
        return {"reason": f"its data were not at hand ({tag_of(config.data)})"}
    before = time.process_time()
    torch.manual_seed(0)
    fitted = fit(brief.model, splits, optim=brief.optim, train=brief.train, evaluate=brief.evaluate, seed=brief.seed,
                 device="cpu", progress=False, figures=False)  # fmt: skip
    seconds = time.process_time() - before
    assert fitted.scores is not None
    coder, score = next(iter(fitted.scores.scores.items()))
    picture(fitted.model, splits, brief, PICTURES / f"{name}.png")
    kept = ("psnr", "explained_variance", "accuracy", "l0", "dead", "n_code", "gap_max", "n")
    return {
        "data": tag_of(config.data), "parameters": sum(p.numel() for p in fitted.model.parameters()),
        "samples": splits.training.n, "steps": fitted.state.step, "whole": whole, "epochs": config.train.epochs,
        "seconds": round(seconds, 2), "coder": coder,
        **{key: value for key in kept if (value := getattr(score, key)) is not None},
    }  # fmt: skip


def picture(model: AbstractSparseModel, splits: Splits, config: Run, path: Path) -> None:
    """The atoms used most, above test samples and their reconstructions; for what is no image, the share of samples that use each code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if has_pictures(model) or (is_picture(model.shape) and model.reconstructs):
        _mosaic(model, splits, path)
        return
    shares, _ = next(iter(usage_of(model, splits.test, config.evaluate.theta).values()))
    figure, axes = plt.subplots(figsize=(3.3, 1.1), layout="constrained")
    axes.fill_between(range(len(shares)), np.sort(shares)[::-1], step="post", color="0.35", linewidth=0)
    axes.set_xlim(0, len(shares))
    axes.set_ylim(0, None)
    axes.set_xlabel("code, most used first", fontsize=7)
    axes.set_ylabel("share of samples", fontsize=7)
    axes.tick_params(labelsize=6)
    figure.savefig(path, dpi=110)
    plt.close(figure)


@torch.no_grad()
def _mosaic(model: AbstractSparseModel, splits: Splits, path: Path) -> None:
    power, peak = powers_and_peaks(model, splits.test)
    unit, atoms, shape = atoms_of(model, peak, "maximum")
    atoms = atoms[most_used_first(power, unit)][: ROWS * COLUMNS]
    scale = atoms.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
    tiles = [_tile(np.asarray(each.reshape(shape))) for each in 0.5 + 0.5 * atoms / scale]
    x = splits.test.take(slice(COLUMNS))
    low, high = splits.low, splits.high
    for shown in (x.x, model.reconstruct(x.x)):
        pixels = x.pixels(shown)
        tiles += [_tile(np.asarray((each - low) / (high - low))) for each in pixels]
    height, width = tiles[0].shape[:2]
    height, width = max(height, tiles[-1].shape[0]), max(width, tiles[-1].shape[1])
    rows = -(-len(atoms) // COLUMNS)
    gap = 3
    canvas = np.ones(((rows + 2) * (height + 1) + gap, COLUMNS * (width + 1) - 1, 3))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, COLUMNS) if number < len(atoms) else divmod(number - len(atoms), COLUMNS)
        top = (row if number < len(atoms) else rows + row) * (height + 1) + (0 if number < len(atoms) else gap)
        canvas[top : top + tile.shape[0], column * (width + 1) : column * (width + 1) + tile.shape[1]] = tile
    image = Image.fromarray((255 * canvas.clip(0, 1)).astype(np.uint8))
    factor = max(1, round(360 / image.width))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.quantize(64).save(path, optimize=True)


def _tile(values: Array) -> Array:
    """An image [h, w, 3] of a grey or coloured sample."""
    if values.ndim == 2:
        values = values[None]
    return np.repeat(values, 3, axis=0).transpose(1, 2, 0) if len(values) == 1 else values.transpose(1, 2, 0)


def main(names: list[str]) -> None:
    """Train what is asked for; every entry is written as soon as it is there."""
    entries: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or [name for name in RECIPES if name not in entries]:
        entries[name] = trained(name)
        ordered = {key: entries[key] for key in RECIPES if key in entries}
        RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")
        sys.stdout.write(f"{name} {entries[name]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
