"""Samples at several noise levels, and their reconstructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsecode.plots.style import LARGE, captioned, shades, titled
from sparsecode.plots.tiles import mosaic, pictures, scaled

__all__ = ["denoising_grid"]

Array = NDArray[np.floating[Any]]


def denoising_grid(
    clean: Array,
    levels: Mapping[str, tuple[Array, Array]],
    shape: Sequence[int],
    span: tuple[float, float],
    title: str = "",
) -> Figure:
    """A row of clean samples [n, *F], then for each level (by its label) one of noisy samples above one of their reconstructions.

    Grey or colour; `span` are the values shown as black and white, the rest is clipped.
    """
    height = shape[-2]
    blocks = {"clean": (clean,), **levels}
    gap = np.ones((max(2, height // 4), len(clean) * (shape[-1] + 1) + 1, 3))
    canvas: list[Array] = []
    middles: list[float] = []
    top = 0
    for label, block in blocks.items():
        tiles = np.concatenate([pictures(images, shape, label) for images in block])
        drawn = mosaic(scaled(tiles, *span), len(clean))
        middles.append(top + (len(drawn) - 1) / 2)
        canvas += [drawn, gap]
        top += len(drawn) + len(gap)
    whole = np.concatenate(canvas[:-1])
    wide = 0.75 * len(clean)
    left = 0.09 * max(map(len, blocks)) + 0.2  # a solved layout cuts long labels
    high = wide * whole.shape[0] / whole.shape[1]
    size = (left + wide + 0.1, high + 0.7)
    figure = Figure(figsize=size)
    axes = figure.add_axes((left / size[0], 0.3 / size[1], wide / size[0], high / size[1]))
    axes.imshow(whole, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks(middles, list(blocks))
    axes.tick_params(length=0, labelsize=LARGE)
    for side in axes.spines.values():
        side.set_visible(False)
    titled(figure, title, y=1 - 0.1 / size[1])
    captioned(figure, f"of each noise level the noisy samples, and below them the restored ones; {shades(span)}")
    return figure
