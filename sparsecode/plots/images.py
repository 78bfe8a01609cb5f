"""Mosaics of atoms and grids of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsecode.plots.style import LARGE, captioned, shades, titled
from sparsecode.plots.tiles import is_grey_image

__all__ = ["atoms_mosaic", "image_grid"]

ATOM_SCALE = "grey is 0; black and white are -max |w| and max |w| of each atom"
Array = NDArray[np.floating[Any]]


def _plane(shape: Sequence[int]) -> tuple[int, int]:
    if not is_grey_image(shape):
        raise ValueError(f"samples have shape {tuple(shape)}; expected grey images [h, w] or [1, h, w] for a picture")
    return shape[-2], shape[-1]


def atoms_mosaic(atoms: Array, shape: Sequence[int], *, most: int = 256, title: str = "") -> Figure:
    """Atoms [n_code, n_features] as tiles, each scaled by its own largest magnitude; grey is zero.

    With more than `most` atoms the first ones are shown, and the title says so.
    """
    height, width = _plane(shape)
    if atoms.ndim != 2 or not len(atoms) or atoms.shape[1] != height * width:
        raise ValueError(
            f"atoms have shape {atoms.shape}; expected [n_code, {height * width}] for images of {height} x {width}"
        )
    shown = atoms[:most].reshape(-1, height, width)
    scale = np.abs(shown).max(axis=(1, 2), keepdims=True)
    tiles = np.divide(shown, scale, out=np.zeros_like(shown), where=scale > 0)
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    canvas = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1), np.nan)
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        canvas[top : top + height, left : left + width] = tile
    figure = Figure(figsize=(6, 6 * rows / columns + 0.5), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(canvas, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    note = f" (first {most} of {len(atoms)})" if len(atoms) > most else ""
    titled(figure, f"{title}{note}")
    captioned(figure, ATOM_SCALE)
    return figure


def image_grid(rows: dict[str, Array], shape: Sequence[int], low: float, high: float, title: str = "") -> Figure:
    """One labelled row per entry, one column per sample: arrays [n, *F], shown from `low` (black) to `high`."""
    height, width = _plane(shape)
    n = len(next(iter(rows.values())))
    labels = 0.08 * max(map(len, rows)) + 0.15  # a solved layout cuts long ones
    across, down = 0.8 * n + labels + 0.1, 0.85 * len(rows) * height / width + 0.6
    figure = Figure(figsize=(across, down))
    figure.subplots_adjust(labels / across, 0.25 / down, 1 - 0.1 / across, 1 - 0.35 / down, hspace=0.06)
    grid = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (label, images) in zip(grid, rows.items(), strict=True):
        tiles = np.pad(images.reshape(n, height, width), ((0, 0), (0, 0), (0, 1)), constant_values=high)
        axes.imshow(np.concatenate(tiles, axis=1), cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=LARGE)
        for side in axes.spines.values():
            side.set_visible(False)
    titled(figure, title)
    captioned(figure, shades((low, high)))
    return figure
