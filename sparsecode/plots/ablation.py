"""Activity against noise, a line per setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from sparsecode.plots.style import SMALL, captioned, lettered, mark, plain_log, titled
from sparsecode.plots.style import colour as colour_of

__all__ = ["ablation_lines", "share_axis"]

WIDE = 8  # ratio of the largest to the least share from which on the axis is logarithmic


def ablation_lines(
    sigmas: Sequence[float],
    lines: Mapping[str, Sequence[Sequence[float]]],
    group: str = "",
    title: str = "",
    quantity: str = "mean share of active units",
) -> Figure:
    """A line per setting (`group` names the setting: width, data, noise, task, activation); levels of noise are categories, evenly spaced.

    Each line has for every sigma the shares in [0, 1] that several seeds gave, or none where nothing was measured: the line runs
    through their means, and single values are dots. Raises ValueError if a line has not as many entries as there are sigmas.
    """
    if not lines:
        raise ValueError("lines is empty; expected at least one setting")
    for name, cells in lines.items():
        if len(cells) != len(sigmas):
            raise ValueError(f"line {name!r} has {len(cells)} entries; expected one for each of {len(sigmas)} sigmas")
    figure = Figure(figsize=(6.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, cells) in enumerate(lines.items()):
        colour = colour_of(i)
        means = [float(np.mean(cell)) if len(cell) else np.nan for cell in cells]
        axes.plot(
            range(len(sigmas)),
            means,
            marker=mark(i),
            markersize=4,
            color=colour,
            linewidth=1.3,
            label=name,
        )
        for x, cell in enumerate(cells):
            if len(cell) > 1:
                axes.plot([x] * len(cell), cell, ".", color=colour, markersize=3, alpha=0.6)
    share_axis(axes, [value for cells in lines.values() for cell in cells for value in cell])
    axes.set_xticks(range(len(sigmas)), [f"{sigma:g}" for sigma in sigmas])
    axes.set_xlabel("standard deviation of the noise in training")
    axes.set_ylabel(quantity)
    lettered(axes)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=SMALL, title=group or None, title_fontsize=SMALL)
    titled(figure, title)
    if any(len(cell) > 1 for cells in lines.values() for cell in cells):
        captioned(figure, "lines: means over seeds; dots: single seeds")
    return figure


def share_axis(axes: Axes, shares: Sequence[float]) -> None:
    """The vertical axis for shares in per cent: from 0, or logarithmic where they differ by more than a factor of `WIDE`."""
    results = [share for share in shares if np.isfinite(share) and share > 0]
    if results and max(results) > WIDE * min(results):
        axes.set_yscale("log")
        axes.set_ylim(min(results) / 1.3, min(max(results) * 1.3, 1.05))
        plain_log(axes.yaxis)
    else:
        axes.set_ylim(0, 1.08 * max(results, default=1.0))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
