"""Rows of decodings of changing codes, and grids of decodings of sampled codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from sparsecode.plots.style import CHANGED, LARGE, SMALL, SMALLEST, captioned, shades, titled
from sparsecode.plots.tiles import mosaic, pictures, scaled

__all__ = ["FilmStrip", "code_plane", "film_strips", "picture_grid"]

Array = NDArray[np.floating[Any]]

GAP = 0.35  # between a source and its row, in widths of a picture
FINE = 64  # pictures of fewer pixels to a side are enlarged, or the lines between them, a pixel wide, would be broad


class FilmStrip(NamedTuple):
    """A row: `frames` [n, *F], what they were made from (`before` [m, *F], left of them), and which frame is nearest to it."""

    label: str
    frames: Array
    before: Array | None = None
    marked: int | None = None


def film_strips(
    strips: Sequence[FilmStrip],
    shape: Sequence[int],
    span: tuple[float, float],
    heads: Sequence[str] = (),
    before: str = "",
    title: str = "",
) -> Figure:
    """A labelled row per strip, all of one length: `heads` stand over the frames, `before` over the pictures left of them.

    Grey or colour; `span` is what is black and white, the rest is clipped. A marked frame has a border.
    """
    if not strips:
        raise ValueError("strips is empty; expected at least one row of pictures")
    height, width = shape[-2:]
    n = len(strips[0].frames)
    m = max(0 if strip.before is None else len(strip.before) for strip in strips)
    across = n + (m + GAP if m else 0)
    tile = min(0.95, 11 / across)
    high = tile * height / width
    margin = 0.065 * max(len(strip.label) for strip in strips) + 0.2
    figure = Figure(figsize=(tile * across + margin + 0.1, (high + 0.06) * len(strips) + 0.95))
    size = figure.get_size_inches()
    left, top = margin / size[0], 1 - 0.6 / size[1]
    wide, down, gap = tile / size[0], high / size[1], 0.06 / size[1]
    for i, strip in enumerate(strips):
        bottom = top - down - i * (down + gap)
        parts = [(left + (wide * (m + GAP) if m else 0), strip.frames, strip.marked)]
        parts += [] if strip.before is None else [(left, strip.before, None)]
        for at, images, marked in parts:
            tiles = _fine(scaled(pictures(images, shape, strip.label), *span))
            axes = figure.add_axes((at, bottom, wide * len(images), down))
            axes.imshow(mosaic(tiles, len(tiles)), interpolation="nearest", aspect="auto")
            axes.set_axis_off()
            if marked is not None:
                down_to, along = tiles.shape[1] + 1, tiles.shape[2] + 1
                corner = (marked * along, 0)
                frame = Rectangle(corner, along, down_to, fill=False, edgecolor=CHANGED, linewidth=1.8)
                axes.add_patch(frame).set_clip_on(False)
        figure.text(left - 0.08 / size[0], bottom + down / 2, strip.label, ha="right", va="center", fontsize=SMALL)
    above = top + 0.05 / size[1]
    start = left + (wide * (m + GAP) if m else 0)
    for i, head in enumerate(heads):
        figure.text(start + (i + 0.5) * wide, above, head, ha="center", va="bottom", fontsize=SMALLEST)
    figure.text(left + m * wide / 2, above, before if m else "", ha="center", va="bottom", fontsize=SMALLEST)
    titled(figure, title, y=1 - 0.1 / size[1])
    captioned(figure, shades(span))
    return figure


def picture_grid(images: Array, shape: Sequence[int], span: tuple[float, float], title: str = "") -> Figure:
    """Pictures [n, *F], grey or colour, as near to a square as may be; `span` is what is black and white."""
    tiles = scaled(pictures(images, shape, "images"), *span)
    tiles = _fine(tiles)
    canvas = mosaic(tiles, math.ceil(math.sqrt(len(tiles))), max(1, tiles.shape[1] // 24))
    figure = Figure(figsize=(6, 6 * canvas.shape[0] / canvas.shape[1] + 0.55), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(canvas, interpolation="nearest")
    axes.set_axis_off()
    titled(figure, title)
    captioned(figure, shades(span))
    return figure


def code_plane(
    images: Array,
    across: Array,
    up: Array,
    shape: Sequence[int],
    span: tuple[float, float],
    title: str = "",
) -> Figure:
    """Pictures [n m, *F] of the n values `across` of one code and the m values `up` of another, the topmost row first, edge to edge."""
    tiles = scaled(pictures(images, shape, "images"), *span)
    n, m = len(across), len(up)
    height, width = tiles.shape[1:3]
    canvas = tiles.reshape(m, n, height, width, 3).transpose(0, 2, 1, 3, 4).reshape(m * height, n * width, 3)
    figure = Figure(figsize=(7, 7 * canvas.shape[0] / canvas.shape[1] + 0.2), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(canvas, interpolation="nearest")
    for axis, values, size, name in ((axes.xaxis, across, width, "code 0"), (axes.yaxis, up[::-1], height, "code 1")):
        shown = np.unique(np.linspace(0, len(values) - 1, min(7, len(values))).astype(int))
        axis.set_ticks((shown + 0.5) * size - 0.5, [f"{values[i]:.2f}" for i in shown], fontsize=SMALL)
        axis.set_label_text(name, fontsize=LARGE)
    titled(figure, title)
    captioned(figure, shades(span))
    return figure


def _fine(tiles: Array) -> Array:
    times = max(1, -(-FINE // min(tiles.shape[1:3])))
    return tiles.repeat(times, axis=1).repeat(times, axis=2)
