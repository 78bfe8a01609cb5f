"""Shared style of plots: colours that colour-blind readers can distinguish, markers, and tick labels that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

__all__ = [
    "CHANGED",
    "QUIET",
    "captioned",
    "colour",
    "dash",
    "fitting",
    "lettered",
    "log_ticks",
    "mark",
    "shades",
    "ticks_at",
]

# Okabe & Ito (2008), without yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
CHANGED, QUIET = COLOURS[1], "#8b929a"  # what is pointed out; what is there for orientation
MARKS = "osD^vP*"
TRAINING = "train"  # the name of lines that are dashed
DASHES = ("-", "--", ":", "-.")
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


def fitting(title: str, figure: Figure, columns: int = 1, most: float = 10) -> float:
    """The size of a title's letters, `most` at most, at which it takes one line of a figure, or of a column of one."""
    inches = 0.97 * figure.get_figwidth() / columns
    return min(most, inches * POINTS / (BROAD * max(len(title), 1)))


def captioned(figure: Figure, caption: str, inches: float = 0.08) -> None:
    """A line of text at the foot of a figure, which says what its shades or bars mean, this far from its edge."""
    size = fitting(caption, figure, most=8)
    figure.text(0.5, inches / figure.get_figheight(), caption, ha="center", va="bottom", fontsize=size)


def lettered(*several: Axes) -> None:
    """The sizes of letters along axes."""
    for axes in several:
        axes.tick_params(which="both", labelsize=8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set_fontsize(9)


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
