"""Codes at many penalty weights: number of active codes and error against alpha, and against each other."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsecode.plots.style import SMALL, colour, lettered, log_ticks, titled

__all__ = ["alpha_path"]

WIDE = 3.8  # inches of the axis of alphas


def alpha_path(
    alphas: NDArray[np.float64],
    l0: NDArray[np.float64],
    error: NDArray[np.float64],
    title: str = "codes at many alphas",
    chosen: float | None = None,
) -> Figure:
    """L0 and the share of the samples' squares that is left, against alpha (left) and against each other (right).

    The arrays are fields of a `SparsePath`. `chosen` marks an alpha.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    beside, frontier = figure.subplots(1, 2)
    beside.set_xscale("log")
    _line(beside, alphas, l0, 0)
    beside.set_xlabel("alpha")
    beside.set_ylabel("active codes per sample (mean L0)", color=colour(0))
    right = beside.twinx()
    _line(right, alphas, error, 1)
    right.set_ylim(bottom=0)
    right.set_ylabel("share of |x|² that is left", color=colour(1))
    _line(frontier, l0, error, 2)
    frontier.set_xlabel("active codes per sample (mean L0)")
    frontier.set_ylabel("share of |x|² that is left")
    frontier.set_ylim(bottom=0)
    if chosen is not None:
        beside.axvline(chosen, color="0.4", linewidth=0.8, linestyle=":")
        beside.annotate(
            f"{chosen:.3g}", (chosen, 1), (3, -3), ("data", "axes fraction"), "offset points", va="top", fontsize=SMALL
        )
        order = np.argsort(alphas)
        at = [float(np.interp(chosen, alphas[order], values[order])) for values in (l0, error)]
        frontier.plot(*at, marker="o", color="0.4", markersize=5, linestyle="none")
        frontier.annotate(f" alpha {chosen:.3g}", (at[0], at[1]), va="bottom", fontsize=SMALL)
    log_ticks(beside, WIDE)
    lettered(beside, right, frontier)
    for axes in (beside, frontier):
        axes.grid(alpha=0.3)
    titled(figure, title)
    return figure


def _line(axes: Axes, across: NDArray[np.float64], up: NDArray[np.float64], number: int) -> None:
    axes.plot(across, up, color=colour(number), marker=".", markersize=4, linewidth=1.2)
