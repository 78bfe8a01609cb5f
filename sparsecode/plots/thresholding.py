"""Errors of reconstructions from some of the codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from sparsecode.plots.style import SMALL, colour, dash, lettered, mark, plain_log, titled

__all__ = ["KeptLine", "threshold_curves"]


class KeptLine(NamedTuple):
    """Of one run and one rule: thresholds or counts, mean active codes, errors with dropped codes 0, and with their means."""

    at: Sequence[float]
    l0: Sequence[float]
    mse: Sequence[float]
    mse_filled: Sequence[float]


def threshold_curves(by_threshold: Mapping[str, KeptLine], by_count: Mapping[str, KeptLine], title: str = "") -> Figure:
    """Error and L0 against the threshold, and error against L0 for both rules; a colour per run, dashed for dropped codes at their means."""
    if not by_threshold or not by_count:
        raise ValueError("lines are empty; expected at least one run")
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    error, active, both = figure.subplots(1, 3)
    for i, (name, line) in enumerate(by_threshold.items()):
        error.plot(line.at, line.mse, color=colour(i), marker=mark(i), markersize=3, label=name)
        error.plot(line.at, line.mse_filled, "--", color=colour(i), marker=mark(i), markersize=3)
        active.plot(line.at, line.l0, dash(i), color=colour(i), marker=mark(i), markersize=3, label=name)
        count = by_count[name]
        both.plot(line.l0, line.mse, color=colour(i), marker=mark(i), markersize=3)
        both.plot(count.l0, count.mse, ":", color=colour(i), marker=mark(i), markersize=3)
        both.plot(count.l0, count.mse_filled, "--", color=colour(i))
    for axes, x in ((error, "threshold"), (active, "threshold"), (both, "L0: mean number of codes kept")):
        axes.set_xlabel(x)
        lettered(axes)
        axes.grid(alpha=0.3)
    for axes in (error, both):
        axes.set_ylabel("mean squared error")
        axes.set_yscale("log")
        plain_log(axes.yaxis)
    active.set_ylabel("L0: mean number of codes kept")
    active.set_yscale("symlog", linthresh=1)
    both.set_xscale("symlog", linthresh=1)
    for axis in (active.yaxis, both.xaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    error.set_title("solid: dropped codes are 0; dashed: their means", fontsize=SMALL)
    error.legend(fontsize=SMALL)
    active.set_ylim(bottom=0)
    both.set_xlim(left=0)
    rules = {"above a threshold": "-", "k largest": ":", "k largest, others at their means": "--"}
    for words, style in rules.items():
        both.plot([], [], style, color="black", label=words)
    both.legend(fontsize=SMALL)
    titled(figure, title)
    return figure
