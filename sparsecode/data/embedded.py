"""Real data that come inside scikit-learn: no download, no network."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.splits import Split, Splits, permuted_splits
from sparsecode.specs import Count, Seed, Spec

__all__ = ["Digits", "Photos"]

TRAIN, VALID = 0.8, 0.1


class Digits(Spec, tag="digits"):
    """1 797 handwritten digits, 8x8, grey levels in [0, 1]; 1 437 train, 179 valid, 181 test.

    Source: scikit-learn `load_digits`, the test part of UCI Optical Recognition of Handwritten Digits.
    """

    seed: Seed = 0

    def load(self) -> Splits:
        from sklearn.datasets import load_digits

        pixels, target = load_digits(return_X_y=True)
        x = (np.asarray(pixels) / 16).astype(np.float32).reshape(-1, 8, 8)
        sizes = (int(TRAIN * len(x)), int(VALID * len(x)))
        return permuted_splits(x, np.asarray(target, np.int64), sizes, self.seed, 0.0, 1.0)


class Photos(Spec, tag="photos"):
    """Grey patches, each less its own mean, from the two photographs in scikit-learn's package.

    Each photograph (427 x 640) is cut into vertical strips: the left 80 % for train, then 10 % for valid and
    10 % for test, so that no pixel is in two splits. Patches lie anywhere in their strip, drawn by `seed`.
    Pixels in [0, 1] by the luma weights .299 .587 .114 (ITU-R BT.601), before the mean is taken off.
    """

    size: Annotated[int, Meta(ge=2, le=30, description="patch width and height in pixels")] = 12
    shrink: Annotated[int, Meta(ge=1, le=2, description="average blocks of this many pixels first, against grain")] = 2
    n_train: Count = 50_000
    n_valid: Count = 2_000
    n_test: Count = 2_000
    seed: Seed = 0

    def load(self) -> Splits:
        from sklearn.datasets import load_sample_images

        photos = [np.asarray(p) @ np.array([0.299, 0.587, 0.114]) / 255 for p in load_sample_images().images]
        photos = [_block_means(p, self.shrink) for p in photos]
        rng = np.random.RandomState(self.seed)
        edges = (0.0, TRAIN, TRAIN + VALID, 1.0)

        def part(i: int, n: int) -> Split:
            strips = [p[:, int(edges[i] * p.shape[1]) : int(edges[i + 1] * p.shape[1])] for p in photos]
            return Split(torch.from_numpy(_patches(strips, self.size, n, rng)))

        return Splits(part(0, self.n_train), part(1, self.n_valid), part(2, self.n_test), -0.5, 0.5)


def _block_means(image: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    height, width = (n // block for n in image.shape)
    return image[: height * block, : width * block].reshape(height, block, width, block).mean(axis=(1, 3))


def _patches(images: list[NDArray[np.float64]], size: int, n: int, rng: np.random.RandomState) -> NDArray[np.float32]:
    """n square patches of mean 0 [n, size, size], from each image in turn."""
    out = np.empty((n, size, size), np.float32)
    for i, image in enumerate(images):
        windows = np.lib.stride_tricks.sliding_window_view(image, (size, size))
        rows = slice(i, n, len(images))
        count = len(range(n)[rows])
        out[rows] = windows[rng.randint(windows.shape[0], size=count), rng.randint(windows.shape[1], size=count)]
    return out - out.mean(axis=(1, 2), keepdims=True)
