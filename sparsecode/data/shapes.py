"""Small white shapes on black with known generative factors."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.splits import Factor, Split, Splits
from sparsecode.specs import Count, Seed, Spec

__all__ = ["FACTORS", "Shapes"]

FACTORS = (
    Factor("shape", ordered=False),
    Factor("scale"),
    Factor("orientation"),
    Factor("x"),
    Factor("y"),
)
_KINDS = _SHAPES, _SCALES, _ANGLES = 3, 6, 10
_FINE = 5  # points per pixel and axis at which a shape is looked at
_HEART = 1.425  # largest distance from 0 of the curve (x^2 + y^2 - 1)^3 = x^2 y^3


class Shapes(Spec, tag="shapes"):
    """A square, an ellipse or a heart, 1 x side x side, in [0, 1]; its shape is the label, and all factors are known.

    Factors, as whole numbers from 0: shape (3); scale, 1/2 to 1 (6); orientation, 0 to 81 degrees to the left (10); x and y, in steps
    of a pixel (side / 2 each). `seed` draws the splits from all of these images, none twice: what a small shape of few pixels
    has in common with its neighbour in orientation is there once. Other than in dSprites, whose steps of scale and orientation
    these are, a square is not turned onto itself, so that an image tells its factors.
    Raises ValueError if more images are asked for than there are.
    After dSprites: Matthey, Higgins, Hassabis & Lerchner, 2017.
    """

    side: Annotated[Literal[32, 64], Meta(description="width and height in pixels")] = 32
    antialiased: Annotated[bool, Meta(description="grey edges; else pixels are 0 or 1")] = False
    n_train: Count = 20_000
    n_valid: Count = 2_000
    n_test: Count = 4_000
    seed: Seed = 0

    def load(self) -> Splits:
        sprites = self._sprites()
        places = self.side // 2
        _, first = np.unique(sprites.reshape(math.prod(_KINDS), -1), axis=0, return_index=True)
        there = np.stack(np.unravel_index(np.sort(first), _KINDS), axis=1)
        n, sizes = len(there) * places**2, (self.n_train, self.n_valid, self.n_test)
        if sum(sizes) > n:
            raise ValueError(
                f"Shapes: n_train + n_valid + n_test is {sum(sizes)}, and there are {n} images of side {self.side}; expected at most "
                "that"
            )
        chosen = np.random.RandomState(self.seed).permutation(n)[: sum(sizes)]
        kind, left, top = np.unravel_index(chosen, (len(there), places, places))
        factors = np.concatenate([there[kind], left[:, None], top[:, None]], axis=1)
        train, valid, test = (self._split(part, sprites) for part in np.split(factors, np.cumsum(sizes)[:2]))
        return Splits(train, valid, test, 0.0, 1.0, factors=FACTORS)

    def _split(self, factors: NDArray[np.int64], sprites: NDArray[np.float32]) -> Split:
        shape, scale, angle, left, top = factors.T
        x = np.zeros((len(factors), 1, self.side, self.side), np.float32)
        size = sprites.shape[-1]
        for i, sprite in enumerate(sprites[shape, scale, angle]):
            x[i, 0, top[i] : top[i] + size, left[i] : left[i] + size] = sprite
        known = torch.from_numpy(factors)
        return Split(torch.from_numpy(x), label=known[:, 0].contiguous(), factors=known)

    def _sprites(self) -> NDArray[np.float32]:
        """Every shape at every scale and orientation [3, 6, 10, size, size]: no larger than half the side."""
        size = self.side // 2
        points = (np.arange(size * _FINE) + 0.5) / _FINE - size / 2
        right, down = np.meshgrid(points, points)
        sprites = np.empty((*_KINDS, size, size), np.float32)
        for scale in range(_SCALES):
            radius = (0.5 + 0.5 * scale / (_SCALES - 1)) * size / 2
            for angle in range(_ANGLES):
                turn = angle * math.pi / 2 / _ANGLES
                across = (math.cos(turn) * right - math.sin(turn) * down) / radius
                up = (-math.sin(turn) * right - math.cos(turn) * down) / radius
                for shape, inside in enumerate(_insides(across, up)):
                    share = inside.reshape(size, _FINE, size, _FINE).mean(axis=(1, 3))
                    sprites[shape, scale, angle] = share if self.antialiased else share > 0.5
        return sprites


def _insides(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.bool_], ...]:
    """Which points are in the square, the ellipse, the heart; all touch the unit circle from within."""
    square = np.maximum(np.abs(x), np.abs(y)) <= math.sqrt(0.5)
    ellipse = x**2 + (2 * y) ** 2 <= 1
    x, y = _HEART * x, _HEART * y
    return square, ellipse, (x**2 + y**2 - 1) ** 3 <= x**2 * y**3
