"""Keys of units as pictures: all of them, those active on one sample, and their nearest images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsecode.plots.style import SMALL, captioned, shades, titled
from sparsecode.plots.tiles import mosaic, peak_scaled, pictures, scaled

__all__ = ["fields_mosaic", "keys_and_neighbours", "query_mosaic"]

Array = NDArray[np.floating[Any]]
KEY_SCALE = "grey is 0; black and white are -max |w| and max |w| of each key"


def _bare(axes: Axes, picture: Array) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def fields_mosaic(keys: Array, shape: Sequence[int], *, most: int = 256, title: str = "") -> Figure:
    """Keys [n, features] as grey or colour tiles in the order given, each over its largest magnitude: mid-grey is zero.

    Beyond `most` the rest is left out, and the title says so.
    """
    tiles = peak_scaled(pictures(keys[:most], shape, "keys"))
    columns = math.ceil(math.sqrt(len(tiles)))
    canvas = mosaic(tiles, columns)
    figure = Figure(figsize=(7, 7 * canvas.shape[0] / canvas.shape[1] + 0.5), layout="constrained")
    _bare(figure.add_subplot(), canvas)
    note = f" (first {most} of {len(keys)})" if len(keys) > most else ""
    captioned(figure, KEY_SCALE)
    titled(figure, f"{title}{note}")
    return figure


def query_mosaic(
    queries: Sequence[tuple[str, Array]],
    keys: Array,
    activations: Array,
    shape: Sequence[int],
    span: tuple[float, float],
    *,
    columns: int = 25,
    most: int = 625,
    title: str = "",
) -> Figure:
    """The units active on one sample: on the left pictures of it by name (clean, noisy, ...), on the right their keys.

    `keys` [n, features] and `activations` [n] > 0 are those of the active units; the strongest comes first, `columns` to a
    row, each over its largest magnitude. `span`: what is black and white on the left.
    """
    if len(keys) != len(activations):
        raise ValueError(
            f"keys has {len(keys)} rows and activations {len(activations)}; expected one for each active unit"
        )
    order = np.argsort(-activations, kind="stable")[:most]
    height, width = shape[-2:]
    n_rows = max(1, -(-len(order) // columns))
    high = max(n_rows * 0.36, 1.25 * len(queries)) + 0.95
    figure = Figure(figsize=(1.6 + 0.36 * columns * width / height, high), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.5, 0.36 * columns * width / height))
    grid = left.subplots(len(queries), 1, squeeze=False)[:, 0]
    for axes, (name, values) in zip(grid, queries, strict=True):
        _bare(axes, scaled(pictures(values[None], shape, name), *span)[0])
        axes.set_title(name, fontsize=SMALL)
    axes = right.add_subplot()
    if len(order):
        tiles = peak_scaled(pictures(keys[order], shape, "keys"))
        _bare(axes, mosaic(tiles, columns))
        axes.set_anchor("NW")
        loudest = activations[order[0]]
        half = next((i for i, j in enumerate(order) if activations[j] < loudest / 2), len(order))
        axes.set_title(
            f"keys of its {len(keys)} active units, strongest first"
            f"{f' (first {most})' if len(keys) > most else ''}; "
            f"activation {loudest:.3g} to {activations[order[-1]]:.3g}, {half} above half the largest",
            fontsize=SMALL,
            loc="left",
        )
        caption = f"keys: {KEY_SCALE}; left: {shades(span)}"
        captioned(figure, caption)
    else:
        axes.set_axis_off()
        axes.set_title("no unit is active", fontsize=SMALL)
    titled(figure, title)
    return figure


def keys_and_neighbours(
    keys: Array,
    images: Array,
    cosines: Array,
    shape: Sequence[int],
    span: tuple[float, float],
    title: str = "",
    columns: int = 10,
) -> Figure:
    """Keys (each over its largest magnitude, mid-grey is zero), under each the image nearest to it, and under this their cosine."""
    tiles = peak_scaled(pictures(keys, shape, "keys"))
    near = scaled(pictures(images, shape, "images"), *span)
    height, width = shape[-2:]
    columns = min(columns, len(tiles))
    gap = np.ones((max(3, height // 3), columns * (width + 1) + 1, 3))
    canvas: list[Array] = []
    for start in range(0, len(tiles), columns):
        row = slice(start, start + columns)
        canvas += [mosaic(tiles[row], columns), mosaic(near[row], columns)[1:], gap]
    whole = np.concatenate(canvas)
    wide = 0.95 * columns
    figure = Figure(figsize=(wide, wide * whole.shape[0] / whole.shape[1] + 0.6), layout="constrained")
    axes = figure.add_subplot()
    _bare(axes, whole)
    block = 2 * (height + 1) + 1 + len(gap)
    for i, cosine in enumerate(cosines):
        across, down = i % columns * (width + 1) + (width + 1) / 2, i // columns * block + block - 0.6 * len(gap)
        axes.text(across, down, f"{cosine:.2f}", ha="center", va="center", fontsize=SMALL)
    caption = f"numbers are cosines; keys: {KEY_SCALE}; images: {shades(span)}"
    captioned(figure, caption)
    titled(figure, title)
    return figure
