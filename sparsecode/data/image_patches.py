"""Square patches of an image as rows, and the image that overlapping patches average to."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsecode.ops.memory import require_memory
from sparsecode.specs import check_seed

__all__ = ["PatchGrid", "extract_patches", "rebuild_from_patches"]

Pixels = NDArray[Any]
Offsets = NDArray[np.intp]
CHUNK = 16_384  # patches in memory at a time


class PatchGrid(NamedTuple):
    """The top rows and left columns of patches of `size` x `size` pixels: every `stride` pixels, and at the far border."""

    rows: Offsets
    columns: Offsets
    size: int

    @classmethod
    def of(cls, height: int, width: int, size: int, stride: int) -> PatchGrid:
        """Raises ValueError naming size or stride if no patch fits, or for strides below 1."""
        if not 1 <= size <= min(height, width):
            raise ValueError(
                f"size is {size}; expected 1 to {min(height, width)}, the shorter side of an image of {height} x {width}"
            )
        if stride < 1:
            raise ValueError(f"stride is {stride}; expected at least 1 pixel between patches")
        return cls(_starts(height - size, stride), _starts(width - size, stride), size)

    def bands(self, chunk: int = CHUNK) -> Generator[tuple[int, Offsets]]:
        """Some rows of the grid at a time, of about `chunk` patches together: the number of patches before, the rows."""
        band = max(1, chunk // len(self.columns))
        for first in range(0, len(self.rows), band):
            yield first * len(self.columns), self.rows[first : first + band]

    def take(self, image: Pixels, tops: Offsets) -> Pixels:
        """The patches [n, size * size * c] of the image [h, w, c] in these rows of the grid."""
        windows = np.lib.stride_tricks.sliding_window_view(image, (self.size, self.size), axis=(0, 1))
        patches = windows[np.ix_(tops, self.columns)]
        return np.ascontiguousarray(np.moveaxis(patches, 2, -1)).reshape(patches.shape[0] * patches.shape[1], -1)

    def add_(self, total: Pixels, weight: Pixels, tops: Offsets, patches: Pixels, counts: Pixels) -> None:
        """Add these patches to `total` [h, w, c], and their `counts` [n] to `weight` [h, w, 1], at their places."""
        parts = patches.reshape(len(tops), len(self.columns), self.size, self.size, -1)
        counts = counts.reshape(len(tops), len(self.columns), 1)
        for i in range(self.size):
            for j in range(self.size):
                place = np.ix_(tops + i, self.columns + j)
                total[place] += parts[:, :, i, j]
                weight[place] += counts


def extract_patches(
    image: Pixels, size: int, stride: int = 1, *, n: int | None = None, seed: int = 0, out: Pixels | None = None
) -> Pixels:
    """The patches of `size` x `size` pixels of an image, one per row, from left to right and from top to bottom.

    Patches begin every `stride` pixels; the last ones end at the right and lower border whatever the stride, so that
    strides up to `size` cover every pixel. `learn_dictionary` takes such rows (less their means); `rebuild_from_patches`
    is the inverse.

    Parameters
    ----------
    image: grey [h, w] or with channels [h, w, c], of any dtype (memory-mapped ones are read band by band).
    n: so many patches at places drawn at random, with replacement, in place of all; `stride` is not used then.
    seed: from 0 to 2^32 - 1, of the places.
    out: array to write to [n_patches, size * size * c], of any dtype that holds the values (memory-mapped ones too).

    Returns
    -------
    Patches [n_patches, size * size * c] of the dtype of the image; `.reshape(-1, size, size, c)` makes images of them.

    Raises
    ------
    ValueError naming the argument for wrong shapes, sizes and strides, an `out` that does not fit, and more patches than
    fit in memory without `out`.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsecode.data import extract_patches, rebuild_from_patches
    >>> image = np.arange(30.0).reshape(5, 6)
    >>> patches = extract_patches(image, 3)
    >>> patches.shape
    (12, 9)
    >>> bool(np.allclose(rebuild_from_patches(patches, (5, 6)), image))
    True
    """
    pixels = _with_channels(image)
    height, width, channels = pixels.shape
    grid = PatchGrid.of(height, width, size, stride)
    if n is not None and n < 1:
        raise ValueError(f"n is {n}; expected at least 1 patch, or None for all")
    check_seed(seed)
    shape = (len(grid.rows) * len(grid.columns) if n is None else n, size * size * channels)
    if out is None:
        remedy = "take a larger stride, fewer patches (n), or give a memory-mapped array as out"
        require_memory(math.prod(shape) * pixels.itemsize, f"patches of shape {shape}", remedy)
        out = np.empty(shape, pixels.dtype)
    elif out.shape != shape or not np.can_cast(pixels.dtype, out.dtype, "same_kind"):
        raise ValueError(
            f"out has shape {out.shape} and dtype {out.dtype}; expected {shape}, and a dtype for {pixels.dtype}"
        )
    if n is None:
        for first, tops in grid.bands():
            out[first : first + len(tops) * len(grid.columns)] = grid.take(pixels, tops)
        return out
    rng = np.random.RandomState(seed)
    tops, lefts = rng.randint(height - size + 1, size=n), rng.randint(width - size + 1, size=n)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (size, size), axis=(0, 1))
    for first in range(0, n, CHUNK):
        part = slice(first, first + CHUNK)
        out[part] = np.moveaxis(windows[tops[part], lefts[part]], 1, -1).reshape(-1, shape[1])
    return out


def rebuild_from_patches(patches: Pixels, shape: tuple[int, ...], stride: int = 1) -> Pixels:
    """The image whose patches, as `extract_patches` gives them, are these: where they overlap, their mean.

    Each pixel is sum_i R_i^T p_i / sum_i R_i^T 1 over the patches p_i that cover it, R_i the operator that takes patch i.

    Parameters
    ----------
    patches: [n_patches, size * size * c], in the order of `extract_patches` (memory-mapped ones are read band by band).
    shape: of the image, [h, w] or [h, w, c].
    stride: the one that they were taken with, 1 to size.

    Returns
    -------
    The image, float32 or, for patches of float64 and integers of 32 and 64 bits, float64.

    Raises
    ------
    ValueError naming the argument if the patches are not those of such an image.
    """
    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(f"shape is {shape}; expected (h, w) or (h, w, c)")
    size = math.isqrt(patches.shape[1] // channels) if patches.ndim == 2 else 0
    if size < 1 or size * size * channels != patches.shape[1]:
        raise ValueError(
            f"patches have shape {patches.shape}; expected [n_patches, size * size * c], c = {channels} channels of shape"
        )
    grid = PatchGrid.of(shape[0], shape[1], size, stride)
    if stride > size:
        raise ValueError(f"stride is {stride}; expected 1 to {size}, the width of a patch, or pixels are left out")
    expected = len(grid.rows) * len(grid.columns)
    if len(patches) != expected:
        raise ValueError(
            f"patches has {len(patches)} rows; expected {expected}, for images of {shape[0]} x {shape[1]} at stride {stride}"
        )
    total, weight = np.zeros((*shape[:2], channels)), np.zeros((*shape[:2], 1))
    for first, tops in grid.bands():
        part = patches[first : first + len(tops) * len(grid.columns)]
        grid.add_(total, weight, tops, part, np.ones(len(part)))
    return (total / weight).reshape(shape).astype(np.result_type(patches.dtype, np.float32))


def _starts(last: int, stride: int) -> Offsets:
    """Where patches begin: every `stride` pixels and at the end."""
    return np.unique(np.append(np.arange(0, last + 1, stride), last))


def _with_channels(image: Pixels) -> Pixels:
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"image has shape {image.shape}; expected [h, w] or [h, w, c], at least a pixel")
    return image if image.ndim == 3 else image[:, :, None]
