"""What can be told of any figure without eyes: all that was measured lies inside its axes, and labels do not run into each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

__all__ = ["faults"]

SLACK = 1.0  # pixels by which boxes of text may touch


def faults(figure: Figure) -> list[str]:
    """What is wrong with the figure, in words; nothing, if all is well."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    result = [fault for i, axes in enumerate(figure.axes) if axes.axison for fault in _of_axes(axes, f"axes {i}")]
    heads = [axes.title for axes in figure.axes]
    result += _overlaps([*heads, *figure.texts], "titles and texts")
    for text in [*figure.texts, *(text for axes in figure.axes if axes.axison for text in _texts(axes)), *heads]:
        box, edge = text.get_window_extent(), figure.bbox
        if text.get_text().strip() and not (
            edge.x0 - 2 <= box.x0 <= box.x1 <= edge.x1 + 2 and edge.y0 - 2 <= box.y0 <= box.y1 <= edge.y1 + 2
        ):
            result.append(f"text {text.get_text()!r} leaves the figure")
    return result


def _texts(axes: Axes) -> list[Text]:
    legend = axes.get_legend()
    return [
        *(axes.xaxis.label, axes.yaxis.label),
        *axes.texts,
        *_labels(axes.xaxis),
        *_labels(axes.yaxis),
        *(legend.get_texts() if legend else []),
    ]


def _of_axes(axes: Axes, name: str) -> list[str]:
    result: list[str] = []
    (left, right), (bottom, top) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    for line in axes.lines:
        if line.get_transform() != axes.transData:
            continue  # axhline, axvline: half of it is in units of the axes
        xy = np.asarray(line.get_xydata(), dtype=float)
        xy = xy[np.isfinite(xy).all(axis=1)]
        outside = (xy[:, 0] < left) | (xy[:, 0] > right) | (xy[:, 1] < bottom) | (xy[:, 1] > top)
        if outside.any():
            result.append(
                f"{name} {axes.get_title()!r}: {int(outside.sum())} points of {line.get_label()!r} are outside"
            )
    for axis in (axes.xaxis, axes.yaxis):
        result += [f"{name} {axes.get_title()!r}: {fault}" for fault in _overlaps(_labels(axis), "tick labels")]
    return result


def _labels(axis: Axis) -> list[Text]:
    """Labels of the ticks that are drawn: those within the axis."""
    low, high = sorted(axis.get_view_interval())
    room = 1e-9 * (high - low)
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [tick.label1 for tick in ticks if low - room <= tick.get_loc() <= high + room and tick.label1.get_visible()]


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
