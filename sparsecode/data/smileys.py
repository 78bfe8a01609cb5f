"""Small faces with known factors, of which some are features that a picture may lack."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.splits import Factor, Split, Splits
from sparsecode.specs import Count, Seed, Spec

__all__ = ["Smileys"]

FACTORS = (Factor("mouth"), Factor("eyes"), Factor("glasses"), Factor("hat"), Factor("beard"), Factor("x"), Factor("y"))
_KINDS = (5, 3, 4, 4, 4, 4, 4)
_OPTIONAL = slice(2, 5)
_FINE = 3  # points per pixel and axis
_LINE = 0.09  # half the width of lines, in radii of the face
_CHUNK = 500


class Smileys(Spec, tag="smileys"):
    """Faces in white lines on black, 1 x side x side, in [0, 1], whose factors are known; three features are there or not.

    Factors, as whole numbers from 0: curve of the mouth (5, from sad to smiling), size of the eyes (3); glasses, hat and beard (4 each: 0 is none,
    then three sizes); x and y (4 each, a pixel apart; two at side 64). The label says which of the three features there are: 1 for
    glasses, 2 for a hat, 4 for a beard, added up. `seed` draws the splits from all 15 360 pictures, none twice.
    Raises ValueError if more images are asked for than there are.
    After the smiley faces in the code of Tonolini, Jensen & Murray-Smith, UAI 2019: a set of known factors that are absent from many samples,
    drawn here by rules of its own.
    """

    side: Annotated[Literal[32, 64], Meta(description="width and height in pixels")] = 32
    n_train: Count = 10_000
    n_valid: Count = 1_000
    n_test: Count = 2_000
    seed: Seed = 0

    def load(self) -> Splits:
        n, sizes = math.prod(_KINDS), (self.n_train, self.n_valid, self.n_test)
        if sum(sizes) > n:
            raise ValueError(
                f"Smileys: n_train + n_valid + n_test is {sum(sizes)}, and there are {n} images; expected at most that"
            )
        chosen = np.random.RandomState(self.seed).permutation(n)[: sum(sizes)]
        factors = np.stack(np.unravel_index(chosen, _KINDS), axis=1).astype(np.int64)
        train, valid, test = map(self._split, np.split(factors, np.cumsum(sizes)[:2]))
        return Splits(train, valid, test, 0.0, 1.0, factors=FACTORS)

    def _split(self, factors: NDArray[np.int64]) -> Split:
        x = np.concatenate([self._drawn(part) for part in np.split(factors, range(_CHUNK, len(factors), _CHUNK))])
        label = ((factors[:, _OPTIONAL] > 0) @ np.array([1, 2, 4])).astype(np.int64)
        return Split(torch.from_numpy(x[:, None]), label=torch.from_numpy(label), factors=torch.from_numpy(factors))

    def _drawn(self, factors: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pictures [n, side, side]: the share of each pixel that a line or an area covers."""
        mouth, eyes, glasses, hat, beard, x, y = (column[:, None, None].astype(np.float32) for column in factors.T)
        unit = self.side / 32
        points = ((np.arange(self.side * _FINE, dtype=np.float32) + 0.5) / _FINE - self.side / 2) / unit
        radius = 9.0
        right = (points[None, None, :] - (x - 1.5)) / radius
        down = (points[None, :, None] - (y - 1.5) - 2.5) / radius  # room for hats
        inside = _between(np.hypot(right, down), 1.0, _LINE)
        aside = np.abs(right)
        centre = np.hypot(aside - 0.38, down + 0.25)
        inside |= centre <= 0.07 + 0.05 * eyes
        curve = (mouth - 2) * 0.55
        inside |= (aside <= 0.5) & _between(down - 0.42 + curve * (right**2 - 0.1), 0.0, _LINE * 0.8)
        rim = 0.24 + 0.04 * glasses
        spectacles = _between(centre, rim, _LINE * 0.6) | (
            (aside <= 0.38 - rim) & _between(down + 0.25, 0.0, _LINE * 0.6)
        )
        inside |= (glasses > 0) & spectacles
        inside |= (hat > 0) & (aside <= 0.62) & (down >= -0.85 - 0.22 * hat) & (down <= -0.85)
        strands = np.abs(np.mod(right * 6 + 0.5, 1.0) - 0.5) <= 0.2
        inside |= (
            (beard > 0)
            & strands
            & (aside <= 0.75)
            & (np.hypot(right, down) >= 1.0)
            & (down >= 0.6)
            & (down <= 0.9 + 0.14 * beard)
        )
        fine = inside.reshape(len(factors), self.side, _FINE, self.side, _FINE)
        return fine.mean(axis=(2, 4), dtype=np.float32)


def _between(distance: NDArray[np.float32], at: NDArray[np.float32] | float, reach: float) -> NDArray[np.bool_]:
    return np.abs(distance - at) <= reach
