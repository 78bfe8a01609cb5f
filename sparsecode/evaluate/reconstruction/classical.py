"""Classical ways to restore images, their parameters chosen on validation samples: what a learned model has to beat."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEEDS_SKIMAGE", "Pairs", "TunedMethod", "classical", "has_skimage", "linear_map"]

Images = NDArray[np.floating[Any]]
Restorer = Callable[[Images], Images]
NEEDS_SKIMAGE = ("total variation", "non-local means")
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class Pairs(NamedTuple):
    """Clean images [n, h, w], and as they were corrupted."""

    clean: Images
    corrupted: Images


class TunedMethod(NamedTuple):
    """A method at the parameters of the least mean squared error on validation samples; `method` names them."""

    method: str
    restore: Restorer


def has_skimage() -> bool:
    """Whether scikit-image is installed."""
    return find_spec("skimage") is not None


def classical(valid: Pairs) -> dict[str, TunedMethod]:
    """Methods that know single images alone, by name: median and Wiener filters (SciPy) and, where scikit-image is installed, total
    variation and non-local means.

    The level of the noise is the root mean squared difference of the validation pairs; the other parameters come from small grids.

    - median: windows of 3, 5 or 7 pixels.
    - Wiener: the adaptive filter of Lee, IEEE PAMI 1980, in windows of 3, 5 or 7, at 0.5, 1 or 2 times the noise's variance.
    - total variation: Chambolle, J. Math. Imaging Vis. 2004, weight 0.25 to 4 times the noise.
    - non-local means: Buades, Coll & Morel, CVPR 2005, patches of 3 or 5, windows of 11, h 0.4 to 1.2 times the noise.
    """
    sigma = math.sqrt(float(np.mean((valid.corrupted - valid.clean) ** 2, dtype=np.float64)))
    widths = [k for k in (3, 5, 7) if k <= min(valid.clean.shape[1:])]
    grids: dict[str, list[TunedMethod]] = {
        "median": [TunedMethod(f"{k} x {k}", _median(k)) for k in widths],
        "Wiener": [
            TunedMethod(f"{k} x {k}, {gain:g} x the noise", _wiener(k, gain * sigma**2))
            for k in widths
            for gain in (0.5, 1, 2)
        ],
    }
    if has_skimage():
        grids["total variation"] = [
            TunedMethod(f"weight {gain:g} x the noise", _total_variation(gain * sigma)) for gain in (0.25, 0.5, 1, 2, 4)
        ]
        grids["non-local means"] = [
            TunedMethod(f"patches {k}, h {gain:g} x the noise", _nl_means(k, gain * sigma, sigma))
            for k in (3, 5)
            for gain in (0.4, 0.6, 0.8, 1.2)
        ]
    return {name: _best(grid, valid) for name, grid in grids.items()}


def linear_map(train: Pairs, valid: Pairs) -> TunedMethod:
    """The linear map from corrupted images to clean ones of least squares on training pairs, less their means, with a ridge chosen on
    validation pairs: the Wiener filter of whole images, which has seen what the models have seen."""
    x, y = (images.reshape(len(images), -1).astype(np.float64) for images in (train.corrupted, train.clean))
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    gram, cross = (x - mean_x).T @ (x - mean_x), (x - mean_x).T @ (y - mean_y)
    scale = float(np.trace(gram)) / len(gram)

    def mapped(ridge: float) -> Restorer:
        weight = np.linalg.solve(gram + ridge * scale * np.eye(len(gram)), cross)
        return lambda images: ((images.reshape(len(images), -1) - mean_x) @ weight + mean_y).reshape(images.shape)

    return _best([TunedMethod(f"ridge {r:g} of the mean variance", mapped(r)) for r in RIDGES], valid)


def _best(grid: list[TunedMethod], valid: Pairs) -> TunedMethod:
    return min(grid, key=lambda one: float(np.mean((one.restore(valid.corrupted) - valid.clean) ** 2)))


def _median(width: int) -> Restorer:
    from scipy.ndimage import median_filter

    return lambda images: median_filter(images, size=width, mode="nearest", axes=(1, 2))


def _wiener(width: int, variance: float) -> Restorer:
    from scipy.ndimage import uniform_filter

    def restore(images: Images) -> Images:
        mean = uniform_filter(images, width, mode="nearest", axes=(1, 2))
        spread = np.maximum(uniform_filter(images**2, width, mode="nearest", axes=(1, 2)) - mean**2, 0)
        return mean + np.maximum(spread - variance, 0) / np.maximum(spread, variance) * (images - mean)

    return restore


def _total_variation(weight: float) -> Restorer:
    from skimage.restoration import denoise_tv_chambolle

    return lambda images: np.stack([denoise_tv_chambolle(image, weight=weight) for image in images])


def _nl_means(patch: int, h: float, sigma: float) -> Restorer:
    from skimage.restoration import denoise_nl_means

    def one(image: Images) -> Images:
        return denoise_nl_means(image, patch_size=patch, patch_distance=5, h=h, sigma=sigma, fast_mode=True)

    return lambda images: np.stack([one(image) for image in images])
