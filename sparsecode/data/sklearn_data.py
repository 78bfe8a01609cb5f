"""Real data that come inside scikit-learn: no download, no network."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from msgspec import Meta
from numpy.typing import NDArray
from PIL import Image

from sparsecode.data.splits import Split, Splits, permuted_splits
from sparsecode.specs import Count, NonNegative, Seed, Spec

__all__ = ["Digits", "Photos"]

TRAIN, VALID = 0.8, 0.1


class Digits(Spec, tag="digits"):
    """1 797 handwritten digits, 8x8, grey levels in [0, 1]; 1 437 train, 179 valid, 181 test.

    Source: the digits in scikit-learn, which are the test part of UCI Optical Recognition of Handwritten Digits.
    """

    seed: Seed = 0

    def load(self) -> Splits:
        rows = _rows(_file("data/digits.csv.gz"))
        pixels, target = rows[:, :-1], rows[:, -1]
        x = (pixels / 16).astype(np.float32).reshape(-1, 8, 8)
        sizes = (int(TRAIN * len(x)), int(VALID * len(x)))
        return permuted_splits(x, target.astype(np.int64), sizes, self.seed, 0.0, 1.0)


class Photos(Spec, tag="photos"):
    """Grey patches, each less its own mean, from the two photographs in scikit-learn's package.

    Each photograph (427 x 640) is cut into vertical strips: the left 80 % for train, then 10 % for valid and
    10 % for test, so that no pixel is in two splits. Patches lie anywhere in their strip, drawn by `seed`, half of them
    in each photograph; with `min_std`, uniformly among all places of both whose patch has at least that standard
    deviation. Pixels in [0, 1] by the luma weights 0.299, 0.587, 0.114 (ITU-R BT.601), before the mean is subtracted.
    Raises ValueError if no patch has that contrast.
    """

    size: Annotated[int, Meta(ge=2, le=30, description="patch width and height in pixels")] = 12
    shrink: Annotated[int, Meta(ge=1, le=2, description="average blocks of this many pixels first, against grain")] = 2
    min_std: Annotated[
        NonNegative,
        Meta(description="leave out patches whose pixels have a lower standard deviation, such as plain sky"),
    ] = 0.0
    n_train: Count = 50_000
    n_valid: Count = 2_000
    n_test: Count = 2_000
    seed: Seed = 0

    def load(self) -> Splits:
        photos = [_block_means(_grey(f"images/{name}.jpg"), self.shrink) for name in ("china", "flower")]
        rng = np.random.RandomState(self.seed)
        edges = (0.0, TRAIN, TRAIN + VALID, 1.0)

        def part(i: int, n: int) -> Split:
            strips = [p[:, int(edges[i] * p.shape[1]) : int(edges[i + 1] * p.shape[1])] for p in photos]
            return Split(torch.from_numpy(self._patches(strips, n, rng)))

        return Splits(part(0, self.n_train), part(1, self.n_valid), part(2, self.n_test), -0.5, 0.5)

    def _patches(self, strips: list[NDArray[np.float64]], n: int, rng: np.random.RandomState) -> NDArray[np.float32]:
        """n patches of mean 0 [n, size, size]."""
        out = np.empty((n, self.size, self.size), np.float32)
        windows = [np.lib.stride_tricks.sliding_window_view(strip, (self.size, self.size)) for strip in strips]
        if self.min_std:
            of, row, column = self._places(strips)
            chosen = rng.randint(len(of), size=n)
            for i, places in enumerate(windows):
                here = of[chosen] == i
                out[here] = places[row[chosen[here]], column[chosen[here]]]
        else:
            for i, places in enumerate(windows):
                rows = slice(i, n, len(windows))
                count = len(range(n)[rows])
                out[rows] = places[rng.randint(places.shape[0], size=count), rng.randint(places.shape[1], size=count)]
        return out - out.mean(axis=(1, 2), keepdims=True)

    def _places(self, strips: list[NDArray[np.float64]]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Strip, row and column of every patch with enough contrast."""
        places: list[NDArray[np.intp]] = []
        highest = 0.0
        for i, strip in enumerate(strips):
            deviation = _deviations(strip, self.size)
            highest = max(highest, float(deviation.max()))
            row, column = np.nonzero(deviation >= self.min_std)
            places.append(np.stack([np.full_like(row, i), row, column]))
        of, row, column = np.concatenate(places, axis=1)
        if not len(of):
            raise ValueError(
                f"Photos.min_std is {self.min_std:g}; no patch of a split has more than {highest:.3g}: lower min_std"
            )
        return of, row, column


def _file(name: str) -> Path:
    """A file of scikit-learn's data sets, which are read without importing it: that takes as long as torch."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise FileNotFoundError("the package scikit-learn, whose data these are, is not installed")
    return Path(package.origin).parent / "datasets" / name


@cache
def _rows(path: Path) -> NDArray[np.float64]:
    """Kept, because a run asks for them several times, and to parse them takes as long as several of its steps."""
    return np.loadtxt(path, delimiter=",")


def _grey(name: str) -> NDArray[np.float64]:
    with Image.open(_file(name)) as image:
        return np.asarray(image) @ np.array([0.299, 0.587, 0.114]) / 255


def _block_means(image: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    height, width = (n // block for n in image.shape)
    return image[: height * block, : width * block].reshape(height, block, width, block).mean(axis=(1, 3))


def _deviations(image: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The standard deviation of the pixels of every patch [h - size + 1, w - size + 1]."""
    moments = torch.from_numpy(np.stack([image, image**2]))[:, None]
    mean, square = np.asarray(F.avg_pool2d(moments, size, stride=1))[:, 0]
    return np.sqrt(np.maximum(square - mean**2, 0))
