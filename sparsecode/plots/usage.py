"""Use of the codes: share of samples per code, number of active codes per sample, and mean activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sparsecode.plots.style import SMALL, captioned, colour, headed, lettered, titled

__all__ = ["code_usage", "mean_activations"]


def code_usage(coders: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], title: str = "") -> Figure:
    """A row per coder, from (`frequency` [n_code], `active` [n]).

    Left: the share of samples that use each code, codes sorted by it, on a logarithmic axis; dead codes (share 0) have no
    bar, and the panel's title counts them. Right: a histogram of the number of active codes per sample.
    """
    if not coders:
        raise ValueError("coders is empty; expected at least one")
    height = 2.7 * len(coders) + 0.2
    figure = Figure(figsize=(9, height))
    figure.subplots_adjust(0.08, 0.7 / height, 0.99, 1 - 0.6 / height, wspace=0.2, hspace=0.55)
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
        headed(left, f"{name}: {dead} of {len(shares)} codes dead", 2, y=1)  # searching for a free place is slow
        left.set_xlabel("code, most used first")
        left.set_ylabel("share of samples")
        low, high = int(active.min()), int(active.max())
        step = max(1, (high - low + 1) // 40)
        counts, edges = np.histogram(active, np.arange(low, high + step + 1, step) - 0.5)
        right.stairs(counts, edges, fill=True, color=colour(0))
        room = 0.05 * (edges[-1] - edges[0]) if high > low else 3.0  # a lone bar stays a bar
        right.set_xlim(edges[0] - room, edges[-1] + room)
        right.axvline(float(active.mean()), color="black", linewidth=1, linestyle="--")
        none = f", none on {(active == 0).mean():.0%} of samples" if (active == 0).any() else ""
        words = f"{name}: {active.mean():.1f} codes active on average{none}"
        headed(right, words, 2, y=1)
        for axis in (right.xaxis, right.yaxis):
            axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        right.set_xlabel("active codes per sample")
        right.set_ylabel("samples")
        lettered(left, right)
    captioned(figure, "dead: active on no sample, without a bar; dashed: the mean")
    titled(figure, title)
    return figure


def mean_activations(edges: Sequence[float], counts: Sequence[int], target: float, title: str = "") -> Figure:
    """A histogram of the mean activations of units, `counts` [m] between `edges` [m + 1]; dashed: the target mean."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.stairs(counts, edges, fill=True, color=colour(0))
    axes.axvline(target, color="black", linewidth=1, linestyle="--", label=f"target {target:g}")
    axes.set_xlabel("mean activation")
    axes.set_ylabel("units")
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    lettered(axes)
    axes.legend(fontsize=SMALL)
    titled(figure, title)
    return figure
