"""Figures as files, with every text in them as it is: names of runs and files are no mathematics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from sparsecode.files import printable, save_atomic

__all__ = ["as_pixels", "literal", "save_figure"]

LONG, SMALL = 160, 50  # characters of a line: in titles, and where axes would give way to them


def save_figure(path: Path, figure: Figure, dpi: int = 120) -> None:
    """Write a picture, whole or not at all."""
    literal(figure)
    save_atomic(path, lambda file: figure.savefig(file, dpi=dpi))


def as_pixels(figure: Figure, dpi: int = 100) -> NDArray[np.uint8]:
    """The picture that `save_figure` would write, as an array [h, w, 3]."""
    literal(figure)
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def literal(figure: Figure) -> None:
    """Show texts character by character: `$` is no mathematics, and what the font lacks is a question mark.

    Numbers along an axis stay as matplotlib writes them, powers as powers.
    """
    numbers: set[int] = set()
    for axis in _axes_of(figure.axes):
        for formatter, minor in ((axis.get_major_formatter(), False), (axis.get_minor_formatter(), True)):
            if isinstance(formatter, FuncFormatter):  # labels that were given, too
                formatter.func = partial(_labelled, formatter.func)
            elif not isinstance(formatter, NullFormatter):
                numbers |= {id(label) for label in axis.get_ticklabels(minor=minor)}
    texts = figure.findobj(
        lambda artist: isinstance(artist, Legend | Text)
    )  # once: it makes lists of all that there is
    listed = {id(text) for legend in texts if isinstance(legend, Legend) for text in legend.get_texts()}
    for text in texts:
        if isinstance(text, Text) and id(text) not in numbers:
            text.set_parse_math(False)
            text.set_text(_shown(text.get_text(), SMALL if id(text) in listed else LONG))


def _labelled(label: Callable[[Any, int | None], str], value: Any, position: int | None = None) -> str:
    return _shown(label(value, position), SMALL)


def _axes_of(several: Iterable[Any]) -> Iterable[Any]:
    """Both axes of each, and of those inside it."""
    for axes in several:
        yield from (axes.xaxis, axes.yaxis)
        yield from _axes_of(axes.child_axes)


def _shown(text: str, most: int) -> str:
    """Lines longer than `most` lose their middle."""
    font = get_font(findfont("DejaVu Sans"))
    lines = [line if len(line) <= most else f"{line[: most // 2]}...{line[-most // 3 :]}" for line in text.split("\n")]
    return "\n".join("".join(c if font.get_char_index(ord(c)) else "?" for c in printable(line)) for line in lines)
