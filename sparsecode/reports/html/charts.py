"""Charts as data: everything that a template needs to draw them, in pixels; the template knows no scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsecode.reports.document import FrontierPlot, Histogram
from sparsecode.reports.html.geometry import ChartAxis, Numbers, Tick, axis_over, number, path_of

__all__ = [
    "Bar",
    "BarChart",
    "DrawnScale",
    "Line",
    "LineChart",
    "Mark",
    "Scatter",
    "bars_of",
    "line_chart",
    "scatter_of",
]

WIDTH, HEIGHT = 360.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 350.0, 12.0, 172.0  # of the plotting area
FEW = 3  # edges of histograms that have room beside their bars
STYLES = 7  # colours in page.css
BROAD = 20.0  # ratio of the largest to the smallest L0 above which its axis is logarithmic
STEEP = 50.0  # ratio of the largest to the smallest value above which an axis starts logarithmic


class Line(NamedTuple):
    """Values [n] over x [n]; `style` chooses the colour, `train` a dashed line."""

    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    style: int
    train: bool = False


class Mark(NamedTuple):
    """A vertical line at a place of the x-axis, or a stretch of it."""

    x: float
    text: str
    end: float | None = None


class DrawnScale(NamedTuple):
    """A chart's contents on one scale: ticks of the y-axis, and a path for each line."""

    name: str
    ticks: list[Tick]
    paths: list[str]
    points: list[list[tuple[float, float]]]


class LineChart(NamedTuple):
    """Lines on a linear scale and, if all values are positive, on a logarithmic one, which is shown first if `starts_log`."""

    lines: list[Line]
    x: ChartAxis
    x_ticks: list[Tick]
    scales: list[DrawnScale]
    marks: list[Mark]
    starts_log: bool

    def summary(self) -> str:
        """First and last values of each line, in words."""
        return "; ".join(_first_and_last(line) for line in self.lines)


class Bar(NamedTuple):
    """A bar of a histogram: its box in pixels, the values that it stands for, and how many values these are."""

    x: float
    width: float
    y: float
    height: float
    low: float
    high: float
    n: int


class BarChart(NamedTuple):
    """A histogram."""

    bars: list[Bar]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    label: str
    note: str

    def summary(self) -> str:
        """Where most values are, in words."""
        total = sum(bar.n for bar in self.bars)
        if not total:
            return "no values"
        top = max(self.bars, key=lambda bar: bar.n)
        return f"{total} values from {number(self.bars[0].low, 3)} to {number(self.bars[-1].high, 3)}; the most ({top.n}) between {number(top.low, 3)} and {number(top.high, 3)}"


class Dot(NamedTuple):
    """A point of a scatter, in pixels and as values."""

    at: tuple[float, float]
    l0: float
    value: float


class ScatterLine(NamedTuple):
    """Points of one label."""

    label: str
    kind: str
    style: int
    dots: list[Dot]
    path: str


class Scatter(NamedTuple):
    """Quality over L0."""

    series: list[ScatterLine]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    label: str


def line_chart(lines: Sequence[Line], marks: Sequence[Mark] = ()) -> LineChart:
    """The chart of lines over training steps, which share their axes."""
    steps = np.concatenate([line.x for line in lines])
    values = np.concatenate([line.y for line in lines])
    finite = values[np.isfinite(values)]
    x = axis_over(np.append(steps, 0.0), LEFT, RIGHT)._replace(low=0.0)
    if x.high <= 0:
        x = x._replace(high=1.0)
    positive = bool(finite.size) and bool((finite > 0).all())
    names = ["linear", "logarithmic"] if positive else ["linear"]
    scales = [_drawn(name, lines, x, axis_over(values, BOTTOM, TOP, log=name != "linear")) for name in names]
    steep = positive and float(finite.max() / finite.min()) > STEEP
    return LineChart(list(lines), x, x.ticks(4, whole=True), scales, _placed(marks, x), steep)


def bars_of(histogram: Histogram) -> BarChart:
    """The chart of a histogram; bins of a logarithmic one are equally wide."""
    edges = np.asarray(histogram.edges, np.float64)
    log = histogram.log and bool((edges > 0).all())
    x = ChartAxis(float(edges[0]), float(edges[-1]), LEFT, RIGHT, log)
    counted = bool((edges % 1 == 0.5).all())  # bins around whole numbers
    if len(edges) <= FEW and not log:
        room = max(float(edges[-1] - edges[0]), 1.0)
        x = x._replace(low=x.low - room, high=x.high + room)
    y = axis_over(np.append(histogram.counts, 0), BOTTOM, TOP, zero=True)
    places, tops = x.at(edges), y.at(histogram.counts)
    bars = [
        Bar(
            round(float(a), 2),
            round(max(float(b - a), 0.5), 2),
            round(float(top), 2),
            round(float(BOTTOM - top), 2),
            float(low),
            float(high),
            count,
        )
        for a, b, top, low, high, count in zip(
            places[:-1], places[1:], tops, edges[:-1], edges[1:], histogram.counts, strict=True
        )
    ]
    note = f"Not in the histogram: {histogram.below} ({histogram.below_is or 'below it'})" if histogram.below else ""
    return BarChart(bars, x.ticks(5, whole=counted), y.ticks(4, whole=True), histogram.label, note)


def scatter_of(frontier: FrontierPlot, styles: Mapping[str, int]) -> Scatter:
    """The chart of a frontier: value over L0, on a logarithmic axis where L0 spans more than a factor of 20.

    Series have the colours of `styles`, by their labels; others those that are free.
    """
    pairs = [
        [(l0, value) for l0, value in zip(series.l0, series.values, strict=True) if value is not None]
        for series in frontier.series
    ]
    l0 = np.asarray([a for points in pairs for a, _ in points])
    log = bool(l0.size) and bool((l0 > 0).all()) and float(l0.max() / l0.min()) > BROAD
    x = axis_over(l0, LEFT, RIGHT, log=log)
    y = axis_over([b for points in pairs for _, b in points], BOTTOM, TOP)
    known = {styles[series.label] for series in frontier.series if series.label in styles}
    free = iter([i for i in range(STYLES) if i not in known] * len(frontier.series) or [0])
    result: list[ScatterLine] = []
    for series, points in zip(frontier.series, pairs, strict=True):
        style = styles[series.label] if series.label in styles else next(free, 0)
        points = sorted(points) if series.joined else points
        xs, ys = x.at([a for a, _ in points]), y.at([b for _, b in points])
        dots = [
            Dot((round(float(u), 1), round(float(v), 1)), a, b) for u, v, (a, b) in zip(xs, ys, points, strict=True)
        ]
        path = path_of(xs, ys) if series.joined else ""
        result.append(ScatterLine(series.label, series.kind, style, dots, path))
    return Scatter(result, x.ticks(5), y.ticks(5), frontier.label)


def _drawn(name: str, lines: Sequence[Line], x: ChartAxis, y: ChartAxis) -> DrawnScale:
    places = [(x.at(line.x), y.at(line.y)) for line in lines]
    points = [_apart(xs, ys) for xs, ys in places]
    return DrawnScale(name, y.ticks(4), [path_of(xs, ys) for xs, ys in places], points)


def _apart(x: Numbers, y: Numbers) -> list[tuple[float, float]]:
    """Places of points that no line joins to others, or of all if they are few."""
    places = [(round(float(a), 1), round(float(b), 1)) for a, b in zip(np.asarray(x), np.asarray(y), strict=True)]
    known = [bool(np.isfinite(b)) for _, b in places]
    if sum(known) <= 2:
        return [place for place, ok in zip(places, known, strict=True) if ok]
    beside = [a or b for a, b in zip([False, *known[:-1]], [*known[1:], False], strict=True)]
    return [place for place, ok, near in zip(places, known, beside, strict=True) if ok and not near]


def _placed(marks: Sequence[Mark], x: ChartAxis) -> list[Mark]:
    """Marks in pixels; those outside the axis are left out."""
    result: list[Mark] = []
    for mark in marks:
        if not x.low <= mark.x <= x.high:
            continue
        end = None if mark.end is None else x.place(min(mark.end, x.high))
        result.append(Mark(x.place(mark.x), mark.text, end))
    return result


def _first_and_last(line: Line) -> str:
    known = line.y[np.isfinite(line.y)]
    if not known.size:
        return f"{line.label}: no value"
    return f"{line.label}: {len(known)} points, from {number(float(known[0]))} to {number(float(known[-1]))}"
