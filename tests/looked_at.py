"""What can be told of any figure without eyes: nothing measured is hidden, labels do not run into each other, letters and colours are of one style."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox, BboxBase

from sparsecode.plots.style import COLOURS, LARGEST, QUIET, SMALLEST

__all__ = ["faults"]

SLACK = 1.0  # pixels by which boxes of text may touch
NUMBER = re.compile(r"[-\N{MINUS SIGN}]?[.\d]+|\$.*\$")  # along an axis
COVERED = 0.1  # share of the points of a line that may lie under a legend


def faults(figure: Figure) -> list[str]:
    """What is wrong with the figure, in words; nothing, if all is well."""
    figure.draw_without_rendering()
    places = [axes for axes in figure.axes if axes.axison]
    result = [fault for i, axes in enumerate(places) for fault in _of_axes(axes, f"axes {i} {axes.get_title()!r}")]
    heads = [axes.title for axes in figure.axes] + [axes._left_title for axes in figure.axes]  # pyright: ignore[reportAttributeAccessIssue]
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    result += _overlaps([*heads, *figure.texts, *legends], "titles and texts")
    subtexts = [text for subfigure in figure.subfigs for text in subfigure.texts]
    texts = [*figure.texts, *subtexts, *legends, *(text for axes in places for text in _texts(axes)), *heads]
    return result + [fault for text in texts if text.get_text().strip() for fault in _of_text(text, figure.bbox)]


def _of_text(text: Text, edge: BboxBase) -> Iterator[str]:
    box, size = text.get_window_extent(), float(text.get_fontsize())
    if not (edge.x0 - 2 <= box.x0 <= box.x1 <= edge.x1 + 2 and edge.y0 - 2 <= box.y0 <= box.y1 <= edge.y1 + 2):
        yield f"text {text.get_text()!r} leaves the figure"
    if not SMALLEST <= size <= LARGEST:
        yield f"text {text.get_text()!r} has letters of size {size:g}"


def _texts(axes: Axes) -> list[Text]:
    legend = axes.get_legend()
    return [
        *(axes.xaxis.label, axes.yaxis.label),
        *axes.texts,
        *_labels(axes.xaxis),
        *_labels(axes.yaxis),
        *(legend.get_texts() if legend else []),
    ]


def _of_axes(axes: Axes, name: str) -> Iterator[str]:
    (left, right), (bottom, top) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    legend = axes.get_legend()
    for line in axes.lines:
        if line.get_transform() != axes.transData:
            continue  # axhline, axvline: half of it is in units of the axes
        xy = np.asarray(line.get_xydata(), dtype=float)
        xy = xy[np.isfinite(xy).all(axis=1)]
        outside = (xy[:, 0] < left) | (xy[:, 0] > right) | (xy[:, 1] < bottom) | (xy[:, 1] > top)
        if outside.any():
            yield f"{name}: {int(outside.sum())} points of {line.get_label()!r} are outside"
        if legend is not None and len(xy):
            box, at = legend.get_window_extent(), axes.transData.transform(xy)
            under = ((at > (box.x0, box.y0)) & (at < (box.x1, box.y1))).all(axis=1)
            if under.mean() > COVERED:
                yield f"{name}: the legend covers {int(under.sum())} points of {line.get_label()!r}"
    for axis in (axes.xaxis, axes.yaxis):
        yield from (f"{name}: {fault}" for fault in _overlaps(_labels(axis), "tick labels"))
    yield from _unnamed(axes, name)
    for shade in sorted(_shades(axes)):
        yield f"{name}: colour {shade} is not one of the style"


def _unnamed(axes: Axes, name: str) -> Iterator[str]:
    """Axes with numbers along them say what these are: their label, the figure's, or, of the vertical one, the panel's title."""
    figure = axes.figure.get_figure(root=True)
    assert figure is not None
    words = {"x": axes.get_xlabel() or figure.get_supxlabel(), "y": axes.get_ylabel() or axes.get_title()}
    for axis, word in zip((axes.xaxis, axes.yaxis), words.values(), strict=True):
        numbers = [label for label in _labels(axis) if NUMBER.fullmatch(label.get_text())]
        if numbers and not word.strip():
            yield f"{name}: the {axis.axis_name} axis has no label"


def _shades(axes: Axes) -> set[str]:
    """Colours of lines, bars and dots that are neither of the palette nor grey."""
    drawn = [line.get_color() for line in axes.lines]
    drawn += [patch.get_facecolor() for patch in axes.patches if patch.get_fill()]
    drawn += [patch.get_edgecolor() for patch in axes.patches if not patch.get_fill()]
    for collection in axes.collections:
        drawn += [*collection.get_facecolor(), *collection.get_edgecolor()]  # pyright: ignore[reportArgumentType]
    known = {shade.lower() for shade in (*COLOURS, QUIET)}
    return {
        code
        for red, green, blue, alpha in np.concatenate([to_rgba_array(shade) for shade in drawn] or [np.zeros((0, 4))])
        if alpha and not red == green == blue and (code := to_hex((red, green, blue))) not in known
    }


def _labels(axis: Axis) -> list[Text]:
    """Labels of the ticks that are drawn: those within the axis."""
    low, high = sorted(axis.get_view_interval())
    room = 1e-9 * (high - low)
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    inside = [tick for tick in ticks if low - room <= tick.get_loc() <= high + room]
    return [label for tick in inside for label in (tick.label1, tick.label2) if label.get_visible()]


def _overlaps(texts: Sequence[Text], what: str) -> list[str]:
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text().strip()]
    return [
        f"{what} {first!r} and {second!r} overlap"
        for i, (first, a) in enumerate(boxes)
        for second, b in boxes[i + 1 :]
        if _meet(a, b)
    ]


def _meet(a: Bbox, b: Bbox) -> bool:
    return (min(a.x1, b.x1) - max(a.x0, b.x0) > SLACK) and (min(a.y1, b.y1) - max(a.y0, b.y0) > SLACK)
