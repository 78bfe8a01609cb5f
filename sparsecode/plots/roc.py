"""Receiver operating characteristics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsecode.plots.style import SMALL, captioned, colour, dash, lettered, titled

__all__ = ["roc_curves"]


def roc_curves(lines: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], title: str = "") -> Figure:
    """A line per score: shares of false alarms and of detections; dotted: chance."""
    if not lines:
        raise ValueError("lines is empty; expected at least one")
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, (false, right)) in enumerate(lines.items()):
        axes.plot(false, right, dash(i), color=colour(i), linewidth=1.3, label=name)
    axes.plot([0, 1], [0, 1], ":", color="black", linewidth=0.8)
    axes.set_aspect("equal")
    axes.set_xlabel("share of other samples above the threshold")
    axes.set_ylabel("share of anomalies above the threshold")
    lettered(axes)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=SMALL, loc="lower right")
    captioned(figure, "dotted: chance")
    titled(figure, title)
    return figure
