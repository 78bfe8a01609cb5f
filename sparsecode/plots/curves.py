"""Values over training steps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sparsecode.coders import in_words
from sparsecode.plots.style import LARGE, SMALL, colour, dash, mark, titled

__all__ = ["Course", "curves_beside", "training_curves"]

_NOT_CURVES = ("kind", "step", "seconds")
STEEP = 6  # ratio of the range of all values to that of most values above which an axis is logarithmic
MARKED = 20  # points up to which a line has marks
LINE = 0.17  # inches
WORDS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "fidelity": "fidelity: error term of the loss",
    "amortise": "amortise: encoder's error, |z - z_solved|²",
    "hoyer": "Hoyer sparsity, 0 to 1",
    "selection": "variance of the gates",
    "slope": "slope of the gates",
    "spike_weight": "weight of the spikes' KL",
    "slab_weight": "weight of the slabs' KL",
    "l0": "L0: active codes per sample",
    "dead": "dead: codes active on no sample",
    "always_on": "always on: codes open for all samples",
    "active_units": "active units: codes that vary",
    "elbo": "elbo: nats per sample, gates as in training",
    "recon": "recon: nats per sample",
    "kl_slab": "kl slab: nats per sample",
    "kl_spike": "kl spike: nats per sample",
    "hard_gap": "hard gap: nats, relaxed less hard",
    "gates": "gates: sum of gamma per sample",
    "solver_steps": "solver steps per batch",
    "converged": "converged: share of samples",
    "accuracy": "accuracy: share of samples",
    "mse": "mean squared error",
    "explained_variance": "explained variance: share",
    "active of units": "active: mean share of units",
    "active_before of units": "active before inhibition: share",
    "dead of units": "dead units: active on no sample",
    "dead_share of units": "dead: share of units",
    "dead_share_before of units": "dead before inhibition: share",
    "population of units": "population sparsity, 0 to 1",
    "lifetime of units": "lifetime sparsity, 0 to 1",
    "hoyer of units": "Hoyer sparsity, 0 to 1",
    "entropy of units": "entropy of use / log n, 0 to 1",
    "active_without_bias": "above 0 without bias: share",
    "margin": "margin, standard deviations of noise",
    "flips_noise": "sign changed by noise: share",
    "flips_bias_up": "made positive by bias: share",
    "flips_bias_down": "made negative by bias: share",
    "bias_mean": "mean bias",
    "bias_sd": "standard deviation of biases",
    "negative_bias": "negative biases: share of units",
    "norm_mean": "mean length of keys",
    "norm_cv": "length of keys: deviation / mean",
    "key_value_cosine": "cosine of key and value, mean",
    "key_value_cosine_weighted": "cosine weighted by activity",
    "nearest_target_recon": "own target nearest, restored: share",
    "nearest_target_noisy": "own target nearest, noisy: share",
    "sigma": "sigma of noise, model space",
    "k": "k: active codes per sample",
    "k_deviation": "standard deviation of log k",
    "gate": "mean gate, -1 to 1",
    "gate_inhibits": "gate above 0: share of units",
    "inhibition": "inhibition subtracted, mean",
    "kl": "KL of mean activations, nats",
    "kl_share": "KL term: share of the loss",
    "error_per_feature": "squared error per feature, model space",
}
ON, OFF = "_noisy", "_clean"  # of one quantity with noise on and off: lines of one panel
MANY = 12  # panels above which five stand side by side in place of three


class Course(NamedTuple):
    """Values at epochs."""

    epochs: list[float]
    values: list[float]


Lines = dict[str, tuple[list[float], list[float]]]


def training_curves(records: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """A panel per quantity of `metrics.jsonl`: training values and, with the same last name, validation ones.

    `records` have "kind" ("train" or "evaluate"), "step" and values, None for those undefined; validation names are
    `coder/quantity`. All panels share one axis of steps, and every finite value is inside its panel: where a few are far from
    the others the axis is logarithmic (of positive values) or symmetrically so. Constant quantities have no panel:
    they are listed below the title. Quantities whose names differ in the endings `_noisy` and `_clean` alone share a panel.
    """
    series: dict[str, Lines] = {}
    paired = _pairs(records)
    words = in_words({name.rpartition("/")[0] for record in records for name in record if record["kind"] != "train"})
    for record in records:
        for name, value in record.items():
            if name in _NOT_CURVES:
                continue
            coder, _, quantity = name.rpartition("/")
            line = "train" if record["kind"] == "train" else f"valid, {words.get(coder, coder)}" if coder else "valid"
            if name in paired:
                line = f"valid, noise {'on' if name.endswith(ON) else 'off'}"
                quantity = paired[name]
            line = line.replace("_", " ")
            steps, values = series.setdefault(quantity, {}).setdefault(line, ([], []))
            steps.append(record["step"])
            values.append(math.nan if value is None else value)
    if not series:
        raise ValueError("records hold no values; expected the lines of a metrics.jsonl")
    constant = {quantity: distinct[0] for quantity, lines in series.items() if len(distinct := _distinct(lines)) == 1}
    panels = {quantity: lines for quantity, lines in series.items() if quantity not in constant} or series
    columns = min(5 if len(panels) > MANY else 3, len(panels))
    rows = -(-len(panels) // columns)
    wide = 3.6 * columns
    constants = ", ".join(f"{quantity.replace('_', ' ')} {value:.4g}" for quantity, value in constant.items())
    notes = textwrap.wrap(f"constant: {constants}", int(wide * 14)) if constants and panels is not series else []
    names = list(dict.fromkeys(line for lines in panels.values() for line in lines))  # one colour in all panels
    keys_wide = max(1, int(wide * 14 / (max(map(len, names)) + 6)))  # names of lines beside each other
    extra = LINE * (len(notes) + -(-len(names) // keys_wide))
    top, height = 0.65 + extra, 2.5 * rows + extra
    figure = Figure(figsize=(wide, height))
    # by hand: a layout that is solved for takes seconds with as many panels
    figure.subplots_adjust(0.65 / wide, 0.55 / height, 1 - 0.12 / wide, 1 - top / height, wspace=0.25, hspace=0.45)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    keys: dict[str, Line2D] = {}
    last = max(max(steps) for lines in panels.values() for steps, _ in lines.values())
    for axes, (quantity, lines) in zip(grid, panels.items(), strict=False):
        for line, (steps, values) in lines.items():
            i = names.index(line)
            few = mark(i) if len(values) < MARKED else ""
            (keys[line],) = axes.plot(
                steps, values, dash(i, line), color=colour(i), label=line, linewidth=1.2, marker=few, markersize=3
            )
        _scale(axes, [v for _, values in lines.values() for v in values if math.isfinite(v)])
        axes.set_xlim(-0.03 * last, 1.03 * last)
        axes.set_title(_words(quantity), fontsize=LARGE, y=1)  # searching for a free place is slow
        axes.tick_params(labelsize=SMALL)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(alpha=0.3)
    titled(figure, title, y=1 - 0.1 / height)
    if notes:
        figure.text(0.5, 1 - 0.32 / height, "\n".join(notes), ha="center", va="top", fontsize=SMALL)
    # outside the panels, where it hides no point
    place = (0.5, 1 - (0.3 + LINE * len(notes)) / height)
    figure.legend(
        keys.values(), keys, loc="upper center", bbox_to_anchor=place, ncols=keys_wide, fontsize=SMALL, frameon=False
    )
    figure.supxlabel("optimiser step", fontsize=LARGE, y=0.1 / height)
    return figure


def _words(quantity: str) -> str:
    """The title of a panel: what is measured, and its unit."""
    number = quantity.removeprefix("class_")
    return f"class {number}: accuracy" if number.isdigit() else WORDS.get(quantity, quantity.replace("_", " "))


def _pairs(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The panel of each validation value that is given with noise on and off."""
    names = {name for record in records if record["kind"] != "train" for name in record}
    stems = {name.removesuffix(ON) for name in names if name.endswith(ON) and name.removesuffix(ON) + OFF in names}
    return {stem + end: f"{stem.rpartition('/')[2]} of units" for stem in stems for end in (ON, OFF)}


def curves_beside(panels: Mapping[str, Mapping[str, Course]], title: str = "") -> Figure:
    """A panel per quantity, a line per run in it, over epochs: one colour per run in all panels; axes as in `training_curves`."""
    if not panels or not all(panels.values()):
        raise ValueError("panels is empty or has an empty panel; expected at least one line in each")
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.1 * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    keys: dict[str, Line2D] = {}
    for axes, (quantity, lines) in zip(grid, panels.items(), strict=False):
        for i, (name, (epochs, values)) in enumerate(lines.items()):
            few = mark(i) if len(values) < MARKED else ""
            (keys[name],) = axes.plot(
                epochs, values, dash(i), color=colour(i), label=name, linewidth=1.2, marker=few, markersize=3
            )
        _scale(axes, [v for _, values in lines.values() for v in values if math.isfinite(v)])
        place, _, last = quantity.rpartition("/")
        words = _words(last)
        axes.set_title(f"{words} ({place.replace('_', ' ')})" if place else words, fontsize=LARGE)
        axes.tick_params(labelsize=SMALL)
        last_epoch = max(epochs[-1] for epochs, _ in lines.values() if len(epochs))
        axes.set_xlim(-0.03 * last_epoch, 1.03 * last_epoch)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=last_epoch >= 2))
        axes.set_xlabel("epoch", fontsize=LARGE)
        axes.grid(alpha=0.3)
    titled(figure, title)
    figure.legend(
        keys.values(), keys, loc="outside lower center", ncols=min(len(keys), 3), fontsize=SMALL, frameon=False
    )
    return figure


def _distinct(lines: Lines) -> list[float]:
    """The values that occur, NaN apart."""
    return list(dict.fromkeys(value for _, values in lines.values() for value in values if not math.isnan(value)))


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Scale the vertical axis so that all values are visible and most of them can be told apart."""
    if not values:
        return
    low, high = np.percentile(values, [5, 95])
    most = float(high - low) or float(abs(high)) or 1.0
    if max(values) - min(values) > STEEP * most:
        if min(values) > 0:
            axes.set_yscale("log")
            axes.minorticks_off()  # they take longer to draw than all the rest
        else:
            axes.set_yscale("symlog", linthresh=max(most, float(np.median(np.abs(values)))))
    elif all(float(value).is_integer() for value in values):
        axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
