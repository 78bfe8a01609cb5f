"""Use of the codes: share of samples per code, number of active codes per sample, and mean activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sparsecode.plots.style import colour, fitting

__all__ = ["code_usage", "mean_activations"]


def code_usage(coders: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], title: str = "") -> Figure:
    """A row per coder, from (`frequency` [n_code], `active` [n]).

    Left: the share of samples that use each code, codes sorted by it, on a logarithmic axis; dead codes (share 0) have no
    bar, and the panel's title counts them. Right: a histogram of the number of active codes per sample.
    """
    if not coders:
        raise ValueError("coders is empty; expected at least one")
    height = 2.7 * len(coders)
    figure = Figure(figsize=(9, height))
    figure.subplots_adjust(0.08, 0.5 / height, 0.99, 1 - 0.6 / height, wspace=0.2, hspace=0.55)
    grid = figure.subplots(len(coders), 2, squeeze=False)
    for (left, right), (name, (frequency, active)) in zip(grid, coders.items(), strict=True):
        shares, n = np.sort(frequency)[::-1], len(active)
        dead = int((shares == 0).sum())
        left.fill_between(np.arange(len(shares) + 1), np.append(shares, 0), step="post", linewidth=0, color=colour(0))
        if dead < len(shares):  # matplotlib warns of a logarithmic axis without a bar
            left.set_yscale("log")
            left.minorticks_off()  # they take longer to draw than all the rest
            left.yaxis.set_major_formatter("{x:g}")
        left.set_ylim(0.5 / n, 1.5)  # one sample of n is the smallest share there is
        left.set_xlim(0, len(shares))
        left.set_title(
            f"{name}: {dead} of {len(shares)} codes dead", fontsize=9, y=1
        )  # searching for a free place is slow
        left.set_xlabel("code, most used first", fontsize=8)
        left.set_ylabel("share of samples", fontsize=8)
        low, high = int(active.min()), int(active.max())
        step = max(1, (high - low + 1) // 40)
        counts, edges = np.histogram(active, np.arange(low, high + step + 1, step) - 0.5)
        right.stairs(counts, edges, fill=True, color=colour(0))
        room = 0.05 * (edges[-1] - edges[0]) if high > low else 3.0  # a lone bar stays a bar
        right.set_xlim(edges[0] - room, edges[-1] + room)
        right.axvline(float(active.mean()), color="black", linewidth=1, linestyle="--")
        none = f", none on {(active == 0).mean():.0%} of samples" if (active == 0).any() else ""
        words = f"{name}: {active.mean():.1f} codes active on average{none}"
        right.set_title(words, fontsize=fitting(words, figure, 2, 9), y=1)
        for axis in (right.xaxis, right.yaxis):
            axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        right.set_xlabel("active codes per sample", fontsize=8)
        right.set_ylabel("samples", fontsize=8)
        for axes in (left, right):
            axes.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=fitting(title, figure))
    return figure


def mean_activations(edges: Sequence[float], counts: Sequence[int], target: float, title: str = "") -> Figure:
    """A histogram of the mean activations of units, `counts` [m] between `edges` [m + 1]; dashed: the target mean."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.stairs(counts, edges, fill=True, color=colour(0))
    axes.axvline(target, color="black", linewidth=1, linestyle="--", label=f"target {target:g}")
    axes.set_xlabel("mean activation", fontsize=9)
    axes.set_ylabel("units", fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8)
    figure.suptitle(title, fontsize=fitting(title, figure))
    return figure
