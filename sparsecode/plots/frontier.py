"""What sparsity costs: reconstruction against the number of active codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

__all__ = ["FrontierPoint", "sparsity_frontier"]


class FrontierPoint(NamedTuple):
    """Scores of runs that differ in nothing but the seed, a value per run: mean L0, PSNR in dB, explained variance."""

    label: str
    l0: Sequence[float]
    psnr: Sequence[float]
    explained_variance: Sequence[float]


def sparsity_frontier(lines: Mapping[str, Sequence[FrontierPoint]], labelled_by: str = "", title: str = "") -> Figure:
    """A line per entry through its points, PSNR and explained variance against mean L0; bars are deviations over seeds.

    Better is up and to the left. The L0 axis is logarithmic where no point is at 0.
    """
    if not any(lines.values()):
        raise ValueError("lines hold no points; expected at least one finished run")
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    quantities = (("psnr", "PSNR, dB"), ("explained_variance", "explained variance"))
    for axes, (quantity, words) in zip(panels, quantities, strict=True):
        for i, (name, points) in enumerate(lines.items()):
            x = np.array([_centre(p.l0) for p in points])
            y = np.array([_centre(getattr(p, quantity)) for p in points])
            axes.errorbar(
                x[:, 0], y[:, 0], xerr=x[:, 1], yerr=y[:, 1], color=f"C{i % 10}", linewidth=1, capsize=2,
                marker="osD^v"[i // 10 % 5], markersize=4, linestyle=("-", "--")[i % 2], label=name,
            )  # fmt: skip
            for point, (across, _), (up, _) in zip(points, x, y, strict=True):
                if point.label and np.isfinite(up):
                    axes.annotate(
                        point.label, (across, up), (3, 3), textcoords="offset points", fontsize=7, color=f"C{i % 10}"
                    )
        if all(_centre(p.l0)[0] > 0 for points in lines.values() for p in points):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("active codes per sample (mean L0)")
        axes.set_ylabel(words)
        axes.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    note = f" (labels: {labelled_by})" if labelled_by else ""
    figure.suptitle(f"{title}{note}", fontsize=10)
    return figure


def _centre(values: Sequence[float]) -> tuple[float, float]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), deviation
