"""Errors at an equal number of active codes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from sparsecode.plots.style import LARGE, SMALL, captioned, colour, headed, titled

__all__ = ["equal_l0"]


def equal_l0(panels: Mapping[str, Mapping[str, float]], title: str = "") -> Figure:
    """A panel of horizontal bars per entry: normalised squared errors by name, each panel's first one marked.

    0 is a perfect reconstruction, 1 what predicting the mean gives (dotted, if it is in sight).
    """
    if not panels or not all(panels.values()):
        raise ValueError("panels is empty or has an empty panel; expected at least one error in each")
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    most = max(len(bars) for bars in panels.values())
    figure = Figure(figsize=(6 * columns, (0.34 * most + 0.9) * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, bars) in zip(grid, panels.items(), strict=False):
        places = np.arange(len(bars))[::-1]
        values = list(bars.values())
        axes.barh(places, values, color=[colour(1), *[colour(0)] * (len(bars) - 1)])
        axes.axvline(values[0], color=colour(1), linewidth=0.8, linestyle="--")
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                f"{value:.4f}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=SMALL
            )
        axes.set_yticks(places, list(bars))
        axes.tick_params(labelsize=SMALL)
        axes.margins(x=0.18)
        if max(values) > 1:
            axes.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
        headed(axes, name, columns)
        axes.set_xlabel("normalised squared error", fontsize=LARGE)
    note = (
        "; dotted: 1, the error of the mean sample" if any(max(bars.values()) > 1 for bars in panels.values()) else ""
    )
    captioned(figure, f"orange and dashed: the first of each panel{note}")
    titled(figure, title)
    return figure
