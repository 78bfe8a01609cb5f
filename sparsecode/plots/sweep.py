"""A quantity of a sweep along one of its axes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsecode.plots.style import SMALL, captioned, colour, dash, headed, lettered, mark, ticks_at, titled

__all__ = ["SweepPoint", "sweep_lines", "sweep_panels"]


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
    return sweep_panels({"": lines}, x, y, title)


def sweep_panels(
    panels: Mapping[str, Mapping[str, Sequence[SweepPoint]]], x: str = "", y: str = "", title: str = ""
) -> Figure:
    """As `sweep_lines`, a panel with a separate axis per entry, for values that cannot be compared."""
    if not any(points for lines in panels.values() for points in lines.values()):
        raise ValueError("lines hold no points; expected at least one finished run")
    figure = Figure(figsize=(7 * len(panels), 4.5), layout="constrained")
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    for axes, (head, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        _draw(axes, lines, names)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        lettered(axes)
        headed(axes, head, len(panels))
        if len(names) > 1:
            axes.legend(fontsize=SMALL)
    if any(len(point.values) > 1 for lines in panels.values() for points in lines.values() for point in points):
        captioned(figure, "lines: means over seeds; bands: from the least to the greatest value")
    titled(figure, title)
    return figure


def _draw(axes: Axes, lines: Mapping[str, Sequence[SweepPoint]], names: Sequence[str]) -> None:
    places = list(dict.fromkeys(point.at for points in lines.values() for point in points))
    numbers = [float(place) for place in places if not isinstance(place, str)]
    logarithmic = len(numbers) == len(places) and min(numbers) >= 0 and max(numbers) > 0
    for name, points in lines.items():
        i = names.index(name)
        at = np.array([float(p.at) if logarithmic else places.index(p.at) for p in points])
        order = np.argsort(at, kind="stable")
        means, least, most = (np.array([f(p.values) for p in points]) for f in (np.mean, np.min, np.max))
        axes.plot(at[order], means[order], color=colour(i), linestyle=dash(i), marker=mark(i), markersize=4, label=name)
        axes.fill_between(at[order], least[order], most[order], color=colour(i), alpha=0.2, linewidth=0)
    if logarithmic:
        axes.set_xscale("symlog", linthresh=min(number for number in numbers if number > 0))
        ticks_at(axes, numbers, [f"{number:g}" for number in numbers], WIDE)
    else:
        ticks_at(axes, range(len(places)), [_short(str(place), WIDE / len(places)) for place in places], WIDE)
    axes.grid(alpha=0.3)


def _short(label: str, inches: float) -> str:
    """A label on lines of this length."""
    return "\n".join(textwrap.wrap(label, max(6, int(inches * 11)))) or label
