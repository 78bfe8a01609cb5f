"""Sprite sheets: many small pictures of one kind in one PNG."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparsecode.plots.tiles import is_picture, peak_scaled, pictures, scaled
from sparsecode.reports.document import Sheet

__all__ = ["ATOM_SCALE", "Sheets", "sample_scale"]

WIDEST = 64  # pixels of a picture's longer side; larger ones are averaged over blocks
PIXELS = 6_000_000  # numbers of a sheet, above which its pictures are averaged over larger blocks
ATOM_SCALE = "grey is 0; black and white are -max |w| and max |w| of each picture by itself"
Array = NDArray[np.floating[Any]]


def sample_scale(low: float, high: float) -> str:
    """What black and white mean in pictures of samples."""
    return f"black is {low:.4g} or below, white is {high:.4g} or above"


class Sheets:
    """The sheets of a run by name, to which pictures are added."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self._tiles: dict[str, list[NDArray[np.uint8]]] = {}
        self._scales: dict[str, str] = {}

    @property
    def pictured(self) -> bool:
        """Whether samples are pictures."""
        return is_picture(self.shape)

    def add_weights(self, name: str, rows: Array, shape: Sequence[int] | None = None) -> range:
        """Add rows [n, f] of weights, each scaled by itself; their indices in the sheet."""
        return self._add(name, peak_scaled(pictures(rows, shape or self.shape)), ATOM_SCALE)

    def add_samples(self, name: str, rows: Array, low: float, high: float) -> range:
        """Add samples [n, *F]; their indices in the sheet."""
        return self._add(name, scaled(pictures(rows, self.shape), low, high), sample_scale(low, high))

    def _add(self, name: str, tiles: Array, scale: str) -> range:
        known = self._tiles.setdefault(name, [])
        first = sum(map(len, known))
        known.append(_reduced(tiles))
        self._scales[name] = scale
        return range(first, first + len(tiles))

    def built(self) -> dict[str, Sheet]:
        """All sheets as PNG."""
        return {name: _sheet(np.concatenate(tiles), self._scales[name]) for name, tiles in self._tiles.items()}


def _reduced(tiles: Array) -> NDArray[np.uint8]:
    """Tiles [n, h, w, 3] in 0 to 1 as bytes [n, h, w, 3], at most 64 pixels wide and high."""
    n, height, width, channels = tiles.shape
    colours = 1 if bool((tiles == tiles[..., :1]).all()) else channels
    widest = min(WIDEST, max(8, int(math.sqrt(PIXELS / (n * colours)))))
    block = -(-max(height, width) // widest)
    if block > 1:
        tiles = tiles[:, : height // block * block, : width // block * block]
        tiles = tiles.reshape(n, height // block, block, width // block, block, channels).mean(axis=(2, 4))
    return np.round(255 * tiles).astype(np.uint8)


def _sheet(tiles: NDArray[np.uint8], scale: str) -> Sheet:
    n, height, width, _ = tiles.shape
    columns = max(1, min(n, round(math.sqrt(n * height / width))))
    rows = -(-n // columns)
    grey = bool((tiles == tiles[..., :1]).all())
    canvas = np.full((rows, height, columns, width, 3), 255, dtype=np.uint8)
    for i, tile in enumerate(tiles):
        canvas[i // columns, :, i % columns] = tile
    whole = canvas.reshape(rows * height, columns * width, 3)
    file = BytesIO()
    Image.fromarray(whole[..., 0] if grey else whole).save(file, "PNG", compress_level=9)
    return Sheet(b64encode(file.getvalue()).decode(), n, height, width, columns, scale)
