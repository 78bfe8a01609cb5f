"""Accuracy against the number of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

__all__ = ["accuracy_curves"]


def accuracy_curves(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float], Sequence[float]]], title: str = ""
) -> Figure:
    """A line per kind of features: labels per class (log axis), mean test accuracy, and a band of one deviation each way.

    Accuracies are shares in [0, 1], shown in per cent.
    """
    if not curves:
        raise ValueError("curves is empty; expected at least one kind of features")
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    styles = ("-", "--", ":", "-.")
    for i, (name, (labels, means, sds)) in enumerate(curves.items()):
        colour, style = f"C{i % 10}", styles[i // 10 % len(styles)]
        percent = [100 * m for m in means]
        low, high = ([p + sign * 100 * s for p, s in zip(percent, sds, strict=True)] for sign in (-1, 1))
        axes.plot(labels, percent, style, color=colour, marker="o", markersize=3, linewidth=1.2, label=name)
        axes.fill_between(labels, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    ticks = sorted({int(k) for labels, _, _ in curves.values() for k in labels})
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(k) for k in ticks])
    axes.set_xlabel("labelled samples per class")
    axes.set_ylabel("test accuracy, per cent")
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right upper")
    axes.set_title(title, fontsize=10)
    return figure
