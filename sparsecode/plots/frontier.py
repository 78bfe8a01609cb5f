"""Sparsity-reconstruction frontier: PSNR and explained variance against mean L0."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from sparsecode.plots.style import SMALL, SMALLEST, colour, dash, lettered, log_ticks, mark, titled

__all__ = ["FrontierPoint", "sparsity_frontier"]

WIDE = 4.7  # inches of an axis of L0
STYLES = (":", "--", "-.", (0, (1, 3)), (0, (6, 2, 1, 2, 1, 2)))  # of references


class FrontierPoint(NamedTuple):
    """Scores of runs that differ in nothing but the seed, a value per run: mean L0, PSNR in dB, explained variance."""

    label: str
    l0: Sequence[float]
    psnr: Sequence[float]
    explained_variance: Sequence[float]


def sparsity_frontier(
    lines: Mapping[str, Sequence[FrontierPoint]],
    labelled_by: str = "",
    title: str = "",
    references: Mapping[str, Sequence[FrontierPoint]] | None = None,
) -> Figure:
    """A line per entry through its points, PSNR and explained variance against mean L0; bands are standard deviations over seeds.

    Better is up and to the left. The L0 axis is logarithmic where no point is at 0. `references` are thin grey lines; where
    they go far beyond the points they leave the frame.
    """
    if not any(lines.values()):
        raise ValueError("lines hold no points; expected at least one finished run")
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    beyond = False
    quantities = (("psnr", "PSNR, dB"), ("explained_variance", "explained variance"))
    for axes, (quantity, words) in zip(panels, quantities, strict=True):
        for i, (name, points) in enumerate(lines.items()):
            x = np.array([_centre(p.l0) for p in points])
            y = np.array([_centre(getattr(p, quantity)) for p in points])
            axes.errorbar(
                x[:, 0], y[:, 0], xerr=x[:, 1], color=colour(i), linewidth=1.2, capsize=2, elinewidth=0.7,
                marker=mark(i), markersize=4, linestyle=dash(i), label=name,
            )  # fmt: skip
            axes.fill_between(x[:, 0], y[:, 0] - y[:, 1], y[:, 0] + y[:, 1], color=colour(i), alpha=0.2, linewidth=0)
            for point, (across, _), (up, _) in zip(points, x, y, strict=True):
                if point.label and np.isfinite(up):
                    axes.annotate(
                        point.label,
                        (across, up),
                        (3, 3),
                        textcoords="offset points",
                        fontsize=SMALLEST,
                        color=colour(i),
                    )
        seen = [_centre(getattr(p, quantity))[0] for points in lines.values() for p in points]
        beside: list[float] = []
        for i, (name, points) in enumerate((references or {}).items()):
            across, up = ([_centre(getattr(p, what))[0] for p in points] for what in ("l0", quantity))
            grey, style = f"{0.3 + 0.1 * (i % 5):.1f}", STYLES[i % len(STYLES)]
            axes.plot(across, up, color=grey, linewidth=1.4, linestyle=style, label=name, zorder=1)
            beside += up
        if beside:
            axes.set_ylim(*_frame(seen, beside))
            beyond |= bool(max(up for up in beside if math.isfinite(up)) > axes.get_ylim()[1])
        if all(_centre(p.l0)[0] > 0 for points in lines.values() for p in points):
            axes.set_xscale("log")
            log_ticks(axes, WIDE)
        axes.set_xlabel("active codes per sample (mean L0)")
        axes.set_ylabel(words)
        axes.grid(alpha=0.3)
        lettered(axes)
    # runs first: matplotlib puts lines before bars
    handles, labels = panels[0].get_legend_handles_labels()
    shown = sorted(zip(handles, labels, strict=True), key=lambda item: item[1] in (references or {}))
    figure.legend(*zip(*shown, strict=True), loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    note = f" (labels: {labelled_by})" if labelled_by else ""
    note += (
        "; bands: one standard deviation over seeds"
        if any(len(p.l0) > 1 for points in lines.values() for p in points)
        else ""
    )
    note += "; references go on above the frame" if beyond else ""
    titled(figure, f"{title}{note}")
    return figure


def _frame(values: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """The range of values and three quarters of it more on either side, as far as there is something to see."""
    sound = [value for value in values if math.isfinite(value)] or [0.0]
    room = 0.75 * (max(sound) - min(sound)) or 0.05 * abs(sound[0]) or 1.0
    low, high = max(min(sound) - room, min(*sound, *others)), min(max(sound) + room, max(*sound, *others))
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _centre(values: Sequence[float]) -> tuple[float, float]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), deviation
