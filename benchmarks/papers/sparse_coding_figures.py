"""Pictures of docs/papers/sparse-coding.md, from the records that `sparse_coding.py` reads and from the runs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sparse_coding_tables import CODERS, KINDS, alike

from sparsecode.evaluate.reconstruction.denoising import add_noise
from sparsecode.ops.rng import generator
from sparsecode.plots import accuracy_curves
from sparsecode.plots.style import colour, dash, mark
from sparsecode.plots.tiles import mosaic, peak_scaled, pictures, scaled
from sparsecode.runs import RunFolder

TICKS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
LEAST = 1.2  # mean L0 at the left of the picture
SAMPLES, ATOMS = 1000, 24  # for the amplitude of an atom; of a model in the picture


def collapse_figure(runs: Sequence[dict[str, Any]]) -> Figure:
    """Norm and standard deviation of codes, and norm of atoms, against the training step: a line per kind, a column per quantity."""
    rows = {"linear decoder": ("SDL", "VDL", "free"), "one hidden layer": ("SDL-NL", "VDL-NL", "free-NL")}
    quantities = {
        "encode/norm": "mean norm of codes",
        "encode/deviation": "mean standard deviation of codes",
        "encode/atom_norm": "mean norm of decoded unit codes",
    }
    words = {"SDL": "unit norms", "VDL": "variance term", "free": "neither"}
    figure = Figure(figsize=(12.5, 5.6), layout="constrained")
    grid = figure.subplots(len(rows), len(quantities) + 1, squeeze=False, width_ratios=(1, 1, 1, 0.7))
    for axes_row, (title, kinds) in zip(grid, rows.items(), strict=True):
        for axes, (quantity, label) in zip(axes_row, quantities.items(), strict=False):
            for i, kind in enumerate(kinds):
                for run in (r for r in runs if r["kind"] == kind):
                    steps = [record["step"] for record in run["over_training"]]
                    values = [record[quantity] for record in run["over_training"]]
                    name = f"{kind}: {words[kind.removesuffix('-NL')]}, weight {run['weight']:.3g}"
                    axes.plot(steps, values, color=colour(i), marker=mark(i), markersize=3, linewidth=1.2, label=name)
            axes.set_yscale("log")
            axes.grid(alpha=0.3)
            axes.set_xlabel("step", fontsize=9)
            axes.set_ylabel(label, fontsize=9)
            axes.set_title(title, fontsize=9)
            axes.tick_params(labelsize=8, which="both")
            low, high = axes.get_ylim()
            axes.set_yticks([t for t in TICKS if low <= t <= high])
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        axes_row[-1].set_axis_off()
        axes_row[-1].legend(*axes_row[0].get_legend_handles_labels(), fontsize=8, loc="center left", frameon=False)
    figure.suptitle("MNIST, 500 validation digits, codes that are solved for", fontsize=10)
    return figure


def frontier_figure(runs: Sequence[dict[str, Any]]) -> Figure:
    """PSNR on test digits against mean L0, a line per model and length through its weights, a panel per coder."""
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    groups = alike([run for run in runs if run["kind"] in KINDS[:4]])
    panels = figure.subplots(1, 2)
    for axes, (coder, words) in zip(panels, CODERS.items(), strict=True):
        collapsed = [run for run in runs if run["kind"] in KINDS[:4] and run["scores"][coder]["l0"] <= LEAST]
        for i, (name, points) in enumerate(groups.items()):
            group = [run for run in points if run not in collapsed]
            l0, psnr = ([run["scores"][coder][k] for run in group] for k in ("l0", "psnr"))
            shade = colour(KINDS.index(group[0]["kind"]))
            axes.plot(l0, psnr, color=shade, linestyle=dash(i), marker=mark(i), markersize=4, linewidth=1.2, label=name)
            for run, across, up in zip(group, l0, psnr, strict=True):
                if len(group) > 2:
                    place, weight = (across, up), f"{run['weight']:.3g}"
                    axes.annotate(weight, place, (3, -8), textcoords="offset points", fontsize=6, color=shade)
        axes.set_xscale("log")
        axes.margins(x=0.08, y=0.08)
        axes.set_xticks([t for t in TICKS if t > 1])
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.grid(alpha=0.3)
        axes.set_xlabel("mean L0 of 128 codes", fontsize=9)
        axes.set_ylabel("PSNR, dB", fontsize=9)
        left_out = ", ".join(f"{run['kind']} at {run['weight']:.3g}" for run in collapsed)
        axes.set_title(f"{words}{f' (not shown, L0 below {LEAST:g}: {left_out})' if left_out else ''}", fontsize=9)
    panels[-1].legend(fontsize=8, bbox_to_anchor=(1.02, 1), loc="upper left", borderaxespad=0)
    figure.suptitle("MNIST, 2 000 test digits; numbers are penalty weights", fontsize=10)
    return figure


@torch.no_grad()
def atoms_of(path: Path) -> np.ndarray:
    """The `ATOMS` most used atoms as pictures: decode(a_j e_j) - decode(0), a_j the largest z_j of 1000 validation samples."""
    folder = RunFolder(path)
    model, x = folder.best_model(), folder.splits().valid.x[:SAMPLES]
    z = model.encode(x)
    size = z.amax(dim=0)
    single = model.decode(torch.diag(size)) - model.decode(torch.zeros_like(z[:1]))
    energy = z.square().mean(dim=0) * (single.square().sum(dim=1) / size.square().clamp(min=1e-12))
    order = energy.argsort(descending=True)[:ATOMS]
    return pictures(single[order].double().numpy(), model.shape, "atoms")


@torch.no_grad()
def denoising_figure(paths: dict[str, Path], sigma: float = 1.0, n: int = 14) -> Figure:
    """Rows: test digits, the same with noise of standard deviation sigma in model space, what each model's encoder makes of them."""
    first = RunFolder(next(iter(paths.values())))
    clean, model = first.splits().test.take(slice(n)), first.best_model()
    noisy = add_noise(model, clean, sigma, "input", 1.0, generator(0, "denoise", 0))
    rows = {"clean": clean.x, f"sigma {sigma:g}": noisy}
    for kind, path in paths.items():
        model = RunFolder(path).best_model()
        rows[kind] = model.denormalise(model.decode(model.coders()["amortised"](noisy)))
    tiles = np.concatenate([pictures(x.double().numpy(), model.shape, "digits") for x in rows.values()])
    figure = Figure(figsize=(0.62 * n, 0.6 * len(rows) + 0.1), layout="constrained")
    axes = figure.add_subplot()
    height = model.shape[-2] + 1
    axes.imshow(mosaic(scaled(tiles, 0.0, 1.0), n), interpolation="nearest")
    axes.set_yticks([height * (i + 0.5) for i in range(len(rows))], list(rows), fontsize=8)
    axes.set_xticks([])
    return figure


def atoms_figure(rows: dict[str, dict[str, Path]]) -> Figure:
    """A block of atoms per kind (columns) and data (rows), each atom over its largest magnitude: grey is 0."""
    columns = max(len(row) for row in rows.values())
    figure = Figure(figsize=(2.6 * columns, 2.05 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, (data, paths) in zip(grid, rows.items(), strict=True):
        for axes in axes_row:
            axes.set_axis_off()
        for axes, (kind, path) in zip(axes_row, paths.items(), strict=False):
            axes.imshow(mosaic(peak_scaled(atoms_of(path)), 6), interpolation="nearest")
            axes.set_title(f"{kind}, {data}", fontsize=9)
    return figure


def probe_figure(results: Sequence[dict[str, Any]]) -> Figure:
    """Test accuracy against labels per class, a line per kind of features."""
    lines: dict[str, tuple[list[int], list[float], list[float]]] = {}
    for name in dict.fromkeys(r["features"] for r in results):
        chosen = [r for r in results if r["features"] == name]
        lines[name] = (
            [r["labels_per_class"] for r in chosen],
            [r["mean"] for r in chosen],
            [r["sd"] for r in chosen],
        )
    return accuracy_curves(lines, "mean and standard deviation over subsets of labels")
