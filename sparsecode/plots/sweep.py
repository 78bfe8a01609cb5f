"""What came of a sweep: a quantity along an axis of it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from sparsecode.plots.style import colour, dash, fitting, mark, ticks_at

__all__ = ["SweepPoint", "sweep_lines"]


WIDE = 6.0  # inches of the axis


class SweepPoint(NamedTuple):
    """The values of runs that differ in nothing but the seed, at one value along the axis: a number, or a word."""

    at: float | str
    values: Sequence[float]


def sweep_lines(lines: Mapping[str, Sequence[SweepPoint]], x: str = "", y: str = "", title: str = "") -> Figure:
    """A line per entry through its points' means; bands go from the least to the greatest value.

    Numbers stand on a logarithmic axis that is linear below the least positive one, so that it holds 0, too; words, and numbers
    below 0, in the order in which they come. Raises ValueError without points.
    """
    places = list(dict.fromkeys(point.at for points in lines.values() for point in points))
    if not places:
        raise ValueError("lines hold no points; expected at least one finished run")
    numbers = [float(place) for place in places if not isinstance(place, str)]
    logarithmic = len(numbers) == len(places) and min(numbers) >= 0 and max(numbers) > 0
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for i, (name, points) in enumerate(lines.items()):
        at = np.array([float(p.at) if logarithmic else places.index(p.at) for p in points])
        order = np.argsort(at, kind="stable")
        means, least, most = (np.array([f(p.values) for p in points]) for f in (np.mean, np.min, np.max))
        shade, style = colour(i), dash(i)
        axes.plot(at[order], means[order], color=shade, linestyle=style, marker=mark(i), markersize=4, label=name)
        axes.fill_between(at[order], least[order], most[order], color=shade, alpha=0.2, linewidth=0)
    if logarithmic:
        axes.set_xscale("symlog", linthresh=min(number for number in numbers if number > 0))
        ticks_at(axes, numbers, [f"{number:g}" for number in numbers], WIDE)
    else:
        ticks_at(axes, range(len(places)), [_short(str(place), WIDE / len(places)) for place in places], WIDE)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(fontsize=8)
    axes.set_title(title, fontsize=fitting(title, figure))
    return figure


def _short(label: str, inches: float) -> str:
    """A label on lines of this length."""
    return "\n".join(textwrap.wrap(label, max(6, int(inches * 11)))) or label
