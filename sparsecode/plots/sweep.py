"""What came of a sweep: a quantity along an axis of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

__all__ = ["SweepPoint", "sweep_lines"]


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
        colour, style = f"C{i % 10}", ("-", "--", ":")[i // 10 % 3]
        axes.plot(
            at[order], means[order], color=colour, linestyle=style, marker="osD^v"[i % 5], markersize=4, label=name
        )
        axes.fill_between(at[order], least[order], most[order], color=colour, alpha=0.2, linewidth=0)
    if logarithmic:
        axes.set_xscale("symlog", linthresh=min(number for number in numbers if number > 0))
        axes.xaxis.set_major_locator(FixedLocator(sorted(numbers)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{number:g}" for number in sorted(numbers)])
    else:
        axes.set_xticks(range(len(places)), [str(place) for place in places])
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(fontsize=8)
    axes.set_title(title, fontsize=10)
    return figure
