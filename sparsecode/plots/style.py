"""Shared style of plots: colours that colour-blind readers can distinguish, markers, and tick labels that do not overlap."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

__all__ = [
    "CHANGED",
    "LARGE",
    "QUIET",
    "SMALL",
    "SMALLEST",
    "captioned",
    "colour",
    "dash",
    "headed",
    "lettered",
    "log_ticks",
    "mark",
    "plain_log",
    "shades",
    "ticks_at",
    "titled",
]

# Okabe & Ito (2008), without yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
CHANGED, QUIET = COLOURS[1], "#8b929a"  # what is pointed out; what is there for orientation
MARKS = "osD^vP*"
TRAINING = "train"  # the name of lines that are dashed
DASHES = ("-", "--", ":", "-.")
LARGEST, LARGE, SMALL, SMALLEST = (
    10,
    9,
    8,
    7,
)  # letters of titles; of panels and axes; of ticks, legends and captions; least of all
POINTS = 72  # per inch
BROAD = 0.62  # mean width of a digit, in font sizes


def colour(i: int) -> str:
    """The colour of the i-th line; colours repeat, with the next `dash`."""
    return COLOURS[i % len(COLOURS)]


def mark(i: int) -> str:
    """The marker of the i-th line's points, so that colour is never the only difference."""
    return MARKS[i % len(MARKS)]


def dash(i: int, name: str = "") -> str:
    """The dash pattern of the i-th line; training is always dashed, so that colour alone does not tell it from validation."""
    return "--" if name == TRAINING else DASHES[i // len(COLOURS) % len(DASHES)]


def titled(figure: Figure, title: str, **place: float) -> None:
    """The title of a figure, in one line of letters as large as fit, or in several of the least size."""
    text, size = _fitted(title, figure, 1, LARGEST)
    figure.suptitle(text, fontsize=size, **place)


def headed(axes: Axes, title: str, columns: int = 1, size: float = LARGE, **place: Any) -> None:
    """The title of a panel, one of so many beside each other; of letters smaller than `size` where it is long."""
    text, size = _fitted(title, axes.figure, columns, size)
    axes.set_title(text, fontsize=size, **place)


def captioned(figure: Figure, caption: str, inches: float = 0.08) -> None:
    """Text at the foot of a figure, which says what its shades, bars or lines mean; in figures laid out by hand this far from the edge."""
    text, size = _fitted(caption, figure, 1, SMALL)
    if figure.get_layout_engine() is not None:
        figure.supxlabel(text, fontsize=size)
    else:
        figure.text(0.5, inches / figure.get_figheight(), text, ha="center", va="bottom", fontsize=size)


def _fitted(text: str, figure: Any, columns: int, most: float) -> tuple[str, float]:
    """The text and the size of its letters, `most` at most, at which it takes one line of a column, or several of the least size."""
    points = 0.97 * figure.get_figwidth() / columns * POINTS
    size = min(most, points / (BROAD * max(len(text), 1)))
    if size >= SMALLEST:
        return text, size
    return "\n".join(textwrap.wrap(text, max(8, int(points / (BROAD * SMALLEST))))), SMALLEST


def lettered(*several: Axes) -> None:
    """The sizes of letters along axes."""
    for axes in several:
        axes.tick_params(which="both", labelsize=SMALL)
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set_fontsize(LARGE)


def shades(span: tuple[float, float]) -> str:
    """The caption of pictures with these values as black and white."""
    return f"black is {span[0]:.3g}, white {span[1]:.3g}, in units of the data"


def log_ticks(axes: Axes, inches: float) -> None:
    """Ticks for a logarithmic x-axis of this length, at 1, 2, 5 or finer in each decade, as many as there is room for."""
    low, high = axes.get_xlim()
    room = inches / max(np.log10(high / low), 1e-3)  # inches per decade
    steps = next((s for s, least in (((1, 1.5, 2, 3, 5, 7), 3.0), ((1, 2, 5), 1.3)) if room >= least), (1,))
    axes.xaxis.set_major_locator(LogLocator(subs=steps, numticks=50))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def plain_log(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5 of each decade, as numbers without powers."""
    axis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def ticks_at(axes: Axes, places: Sequence[float], labels: Sequence[str], inches: float, size: float = 10) -> None:
    """A tick at each place of the x-axis, of this length; labels that would run into their left neighbour are left out."""
    order = np.argsort(places, kind="stable")
    transform = axes.transScale.transform
    (low, _), (high, _) = transform([(axes.get_xlim()[0], 1.0), (axes.get_xlim()[1], 1.0)])
    shown, end = [""] * len(places), -np.inf
    for i in order:
        middle = (transform((places[i], 1.0))[0] - low) / (high - low) * inches
        label = labels[int(i)]
        half = BROAD * size * (max(map(len, label.split("\n"))) + 1) / 2 / POINTS
        if middle - half >= end:
            shown[i], end = label, middle + half
    axes.xaxis.set_major_locator(FixedLocator([float(places[i]) for i in order]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([shown[i] for i in order])
