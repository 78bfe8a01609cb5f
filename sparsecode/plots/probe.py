"""Accuracy against the number of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from sparsecode.plots.style import SMALL, colour, dash, headed, lettered, mark, ticks_at, titled

__all__ = ["AccuracyPoint", "accuracy_curves", "accuracy_over"]


WIDE = 5.0  # inches of the axis of labels


class AccuracyPoint(NamedTuple):
    """Mean and standard deviation of accuracies, shares in [0, 1], at one value along the axis."""

    at: float
    mean: float
    sd: float


def accuracy_curves(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float], Sequence[float]]], title: str = ""
) -> Figure:
    """A line per kind of features: labels per class (log axis), mean test accuracy, and a band of one standard deviation each way.

    Accuracies are shares in [0, 1], shown in per cent.
    """
    if not curves:
        raise ValueError("curves is empty; expected at least one kind of features")
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, (labels, means, sds)) in enumerate(curves.items()):
        shade, style = colour(i), dash(i)
        percent = [100 * m for m in means]
        low, high = ([p + sign * 100 * s for p, s in zip(percent, sds, strict=True)] for sign in (-1, 1))
        axes.plot(labels, percent, style, color=shade, marker=mark(i), markersize=3, linewidth=1.2, label=name)
        axes.fill_between(labels, low, high, color=shade, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    ticks = sorted({int(k) for labels, _, _ in curves.values() for k in labels})
    ticks_at(axes, ticks, [str(k) for k in ticks], WIDE)
    axes.set_xlabel("labelled samples per class")
    axes.set_ylabel("test accuracy, per cent")
    axes.grid(alpha=0.3)
    figure.legend(fontsize=SMALL, loc="outside right center", frameon=False)
    lettered(axes)
    titled(figure, title)
    return figure


def accuracy_over(panels: Mapping[str, Mapping[str, Sequence[AccuracyPoint]]], x: str = "") -> Figure:
    """A panel per entry, in it a line per entry through its points, with bars of one standard deviation each way.

    Raises ValueError without points.
    """
    if not panels or not all(points for lines in panels.values() for points in lines.values()):
        raise ValueError("panels hold no points; expected at least one")
    figure = Figure(figsize=(1.5 + 4.5 * len(panels), 4.5), layout="constrained")
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, points in lines.items():
            i = names.index(name)
            ordered = sorted(points)
            axes.errorbar(
                [p.at for p in ordered],
                [100 * p.mean for p in ordered],
                [100 * p.sd for p in ordered],
                fmt=dash(i),
                color=colour(i),
                marker=mark(i),
                markersize=4,
                linewidth=1.2,
                capsize=2,
                label=name,
            )
        axes.set_xlabel(x)
        headed(axes, title, len(panels))
        lettered(axes)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("test accuracy, per cent")
    titled(figure, "means over subsets of labels; bars: one standard deviation each way")
    handles = {n: h for axes in figure.axes for h, n in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        list(handles.values()), list(handles), fontsize=SMALL, loc="outside lower center", ncols=3, frameon=False
    )
    return figure
