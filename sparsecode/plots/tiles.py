"""Small pictures side by side, grey or in colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_grey_image", "is_picture", "mosaic", "peak_scaled", "pictures", "scaled"]

Array = NDArray[np.floating[Any]]


def is_grey_image(shape: Sequence[int]) -> bool:
    """Whether samples of this shape are grey images, [h, w] or [1, h, w]."""
    return len(shape) == 2 or (len(shape) == 3 and shape[0] == 1)


def is_picture(shape: Sequence[int]) -> bool:
    """Whether samples of this shape are grey or colour pictures: [h, w], [1, h, w] or [3, h, w]."""
    return len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))


def pictures(values: Array, shape: Sequence[int], what: str = "values") -> Array:
    """Rows [n, features] (or samples [n, *shape]) as [n, h, w, 3], grey three times. Raises ValueError for other shapes."""
    if not is_picture(shape):
        raise ValueError(f"samples have shape {tuple(shape)}; expected [h, w], [1, h, w] or [3, h, w] for a picture")
    size = math.prod(shape)
    if not len(values) or values.size != len(values) * size:
        raise ValueError(f"{what} has shape {values.shape}; expected [n, {size}] for pictures of {tuple(shape)}")
    planes = np.asarray(values, np.float64).reshape(len(values), -1, shape[-2], shape[-1])
    return np.broadcast_to(np.moveaxis(planes, 1, 3), (len(values), shape[-2], shape[-1], 3))


def peak_scaled(tiles: Array) -> Array:
    """0.5 + 0.5 w / max |w| for each tile by itself: mid-grey is zero."""
    peak = np.abs(tiles).max(axis=(1, 2, 3), keepdims=True)
    return 0.5 + 0.5 * np.divide(tiles, peak, out=np.zeros_like(tiles), where=peak > 0)


def scaled(tiles: Array, low: float, high: float) -> Array:
    """`low` black, `high` white; what lies beyond is clipped."""
    return np.clip((tiles - low) / ((high - low) or 1.0), 0, 1)


def mosaic(tiles: Array, columns: int, gap: int = 1) -> Array:
    """Tiles [n, h, w, 3] row by row on white, `gap` pixels apart: [rows (h + gap) + gap, columns (w + gap) + gap, 3]."""
    height, width = tiles.shape[1:3]
    rows = -(-len(tiles) // columns)
    canvas = np.ones((rows * (height + gap) + gap, columns * (width + gap) + gap, 3))
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * (height + gap) + gap, (i % columns) * (width + gap) + gap
        canvas[top : top + height, left : left + width] = tile
    return canvas
