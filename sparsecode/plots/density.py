"""Histograms of firing rates and of cosines between atoms; cosines of matched atoms of two dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sparsecode.plots.style import LARGE, QUIET, SMALL, captioned, colour, dash, lettered, titled

__all__ = ["firing_density", "matched_cosines"]

Values = NDArray[Any] | Sequence[float]


def firing_density(
    coders: Mapping[str, Values], n: int, nearest: Values | None = None, dense: float = 0.1, title: str = ""
) -> Figure:
    """Histograms of log10 of the share of `n` samples on which each code fires, a line per coder.

    Codes that never fire have no logarithm: the legend counts them, and those above `dense` (dotted line). With `nearest`, the
    largest |cosine| of each atom to another one, a second panel has its histogram.
    """
    if not coders:
        raise ValueError("coders is empty; expected at least one")
    figure = Figure(figsize=(10.5 if nearest is not None else 6, 3.8), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, 2 if nearest is not None else 1))
    left: Axes = panels[0]
    edges = np.linspace(np.log10(0.8 / n), 0, 41)
    for i, (name, shares) in enumerate(coders.items()):
        rates = np.asarray(shares, np.float64)
        logs = np.log10(rates[rates > 0])
        label = f"{name}: {int((rates == 0).sum())} dead, {int((rates > dense).sum())} dense of {len(rates)}"
        left.stairs(np.histogram(logs, edges)[0], edges, label=label, color=colour(i), linewidth=1.3)
        left.stairs(np.histogram(logs, edges)[0], edges, fill=True, color=colour(i), alpha=0.2)
    left.axvline(np.log10(dense), color="black", linestyle=":", linewidth=1)
    left.set_xlabel(f"log10 of the share of {n} samples on which a code fires")
    left.set_ylabel("codes")
    left.margins(y=0.25)
    left.legend(fontsize=SMALL, loc="upper left")
    if nearest is not None:
        values = np.asarray(nearest, np.float64)
        right: Axes = panels[1]
        right.hist(values, np.linspace(0, 1, 51).tolist(), color=QUIET)
        right.axvline(float(np.median(values)), color="black", linestyle="--", linewidth=1)
        right.set_xlabel("largest |cosine| of an atom to another one")
        right.set_ylabel("atoms")
        right.set_title(f"median {np.median(values):.2f}, {int((values > 0.9).sum())} above 0.9", fontsize=LARGE)
    lettered(*figure.axes)
    note = f"dotted: {dense:g} of the samples, above which codes are dense"
    captioned(figure, f"{note}; dashed: the median" if nearest is not None else note)
    for axes in figure.axes:
        axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    titled(figure, title)
    return figure


def matched_cosines(pairs: Mapping[str, Values], title: str = "") -> Figure:
    """Cosines of matched atoms of two dictionaries, largest first, a line per entry; dotted at 0.7 and 0.9."""
    if not pairs:
        raise ValueError("pairs is empty; expected at least one matching")
    figure = Figure(figsize=(6.5, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, values) in enumerate(pairs.items()):
        cosine = np.sort(np.asarray(values, np.float64))[::-1]
        label = f"{name}: mean {cosine.mean():.3f}"
        axes.plot(np.arange(1, len(cosine) + 1), cosine, dash(i), color=colour(i), label=label)
    for level in (0.7, 0.9):
        axes.axhline(level, color="black", linestyle=":", linewidth=0.8)
    least = min(float(np.min(values)) for values in pairs.values())  # beyond 0 where signs were matched
    axes.set_ylim(min(0.0, least - 0.02), 1.02)
    axes.set_xlabel("pair of atoms, closest first")
    axes.set_ylabel("cosine")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    captioned(figure, "dotted: 0.7 and 0.9")
    axes.legend(fontsize=SMALL)
    lettered(axes)
    titled(figure, title)
    return figure
