"""The standard deviation of white Gaussian noise in an image, from the image alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from sparsecode.data.image_patches import PatchGrid

__all__ = ["estimate_sigma"]

Doubles = NDArray[np.float64]
SIZES = (
    (200, 7),
    (90, 5),
    (3, 3),
)  # least root of the number of pixels, and the patches' width: small images have few patches
CONFIDENCE = 1 - 1e-6  # the source's delta
ROUNDS = 3  # of selection, as in the source
MOST_PATCHES = 2**20


def estimate_sigma(image: NDArray[Any]) -> float:
    """The standard deviation of white Gaussian noise in `image` [h, w] or [h, w, c], in the units of its values.

    The smallest eigenvalue of the covariance of patches is the noise's variance, if the patches without noise lie in a
    subspace. Patches of little texture do: those whose squared gradients sum to less than patches of noise alone would
    have with probability 1 - 1e-6. They are chosen by the estimate before, which begins with all patches.
    Source: Liu, Tanaka & Okutomi, IEEE Trans. Image Processing 22(12), 2013.

    Patches are of 7 x 7 pixels, in images below 200 x 200 of 5 x 5, below 90 x 90 of 3 x 3. Of several channels the root
    of the mean variance. Noise that is not white (that of JPEG pictures, or after resizing), or that was clipped at black or
    white, gives less than its standard deviation.

    Raises ValueError for other shapes, sides below 8 pixels and values that are not finite.
    """
    if image.ndim not in (2, 3) or min(image.shape[:2], default=0) < 8 or 0 in image.shape:
        raise ValueError(f"image has shape {image.shape}; expected [h, w] or [h, w, c], sides of at least 8 pixels")
    y = np.asarray(image, np.float64)
    largest = float(np.abs(y).max())
    if not np.isfinite(largest):
        raise ValueError("image contains NaN or infinity; expected finite values")
    if not largest:
        return 0.0
    y = (y / largest).reshape(*y.shape[:2], -1)
    return largest * float(np.sqrt(np.mean([_variance(y[:, :, c : c + 1]) for c in range(y.shape[2])])))


def _variance(y: Doubles) -> float:
    height, width, _ = y.shape
    size = next(size for least, size in SIZES if height * width >= least**2)
    grid = PatchGrid.of(height, width, size, 1)
    grid = grid._replace(rows=grid.rows[:: -(-height * width // MOST_PATCHES)])
    texture = _texture(y[:, :, 0], size)
    gradients = _gradients(size)
    half_rank = np.linalg.matrix_rank(gradients) / 2  # of a gamma distribution of the same mean
    bound = float(gammaincinv(half_rank, CONFIDENCE) * np.trace(gradients) / half_rank)
    variance = _smallest_variance(y, grid, None)
    for _ in range(ROUNDS):
        flat = texture < variance * bound
        if np.count_nonzero(flat[grid.rows]) < 2 * size**2:  # too few for a covariance
            break
        variance = _smallest_variance(y, grid, flat)
    return variance


def _smallest_variance(y: Doubles, grid: PatchGrid, chosen: NDArray[np.bool_] | None) -> float:
    """The smallest eigenvalue of the covariance of the patches, or of those `chosen` [rows, columns]."""
    n, total, squares = 0, np.zeros(grid.size**2), np.zeros((grid.size**2,) * 2)
    middle = float(y.mean())
    for _, tops in grid.bands():
        patches = grid.take(y, tops) - middle
        if chosen is not None:
            patches = patches[chosen[tops].ravel()]
        n += len(patches)
        total += patches.sum(axis=0)
        squares += patches.T @ patches
    mean = total / n
    smallest = float(np.linalg.eigvalsh(squares / n - np.outer(mean, mean))[0])
    return max(smallest, 0.0) * n / max(n - 1, 1)


def _texture(y: Doubles, size: int) -> Doubles:
    """The sum of squared central differences within each patch, along rows and columns."""
    across, down = (0.5 * (y[:, 2:] - y[:, :-2])) ** 2, (0.5 * (y[2:] - y[:-2])) ** 2
    return _window_sums(across, size, size - 2) + _window_sums(down, size - 2, size)


def _window_sums(values: Doubles, height: int, width: int) -> Doubles:
    rows, columns = values.shape[0] - height + 1, values.shape[1] - width + 1
    lines = np.sum([values[i : i + rows] for i in range(height)], axis=0)
    return np.sum([lines[:, j : j + columns] for j in range(width)], axis=0)


def _gradients(size: int) -> Doubles:
    """The matrix G with p G p^T the sum that `_texture` gives for a patch p."""
    pixels = np.eye(size**2).reshape(-1, size, size)
    across, down = 0.5 * (pixels[:, :, 2:] - pixels[:, :, :-2]), 0.5 * (pixels[:, 2:] - pixels[:, :-2])
    parts = np.concatenate([across.reshape(size**2, -1), down.reshape(size**2, -1)], axis=1)
    return parts @ parts.T
