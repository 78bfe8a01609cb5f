"""The Olivetti faces."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.downloads import VARIABLE, published
from sparsecode.data.numpy_files import read_npz
from sparsecode.data.published import OLIVETTI, OLIVETTI_ARRAYS
from sparsecode.data.splits import Split, Splits
from sparsecode.specs import Seed, Spec

__all__ = ["Olivetti"]

_PEOPLE, _EACH, _SIDE = 40, 10, 64


class Olivetti(Spec, tag="olivetti"):
    """400 faces of 40 people, 1 x 64 x 64, grey levels in [0, 1]: 320 train, 40 valid, 40 test.

    `by` "image": 8, 1 and 1 of the 10 images of each person, who is the label. `by` "person": 32, 4 and 4 people with all their
    images, without labels, which would not be the same in two splits.
    From `$SPARSECODE_DATA/olivetti_faces.npz` (images [400, 64, 64] in bytes, target [400]) or
    `$SPARSECODE_DATA/olivetti/olivettifaces.mat`, which is downloaded if that variable is not set.
    Raises FileNotFoundError or ValueError naming the file. Source: AT&T Laboratories Cambridge; Samaria & Harter, 1994.
    """

    by: Annotated[Literal["image", "person"], Meta(description="what a split takes as a whole")] = "image"
    seed: Seed = 0

    def load(self) -> Splits:
        images, person = _faces()
        rng = np.random.RandomState(self.seed)
        of = np.argsort(person, kind="stable").reshape(_PEOPLE, _EACH)  # rows of each person
        if self.by == "person":
            parts = np.split(of[rng.permutation(_PEOPLE)], (32, 36))
        else:
            parts = np.split(np.stack([rng.permutation(rows) for rows in of]), (8, 9), axis=1)

        def split(part: NDArray[np.int64]) -> Split:
            rows = rng.permutation(part.reshape(-1))
            x = torch.from_numpy(images[rows].astype(np.float32)).div_(255).unsqueeze(1)
            return Split(x, label=torch.from_numpy(person[rows]) if self.by == "image" else None)

        train, valid, test = map(split, parts)
        return Splits(train, valid, test, 0.0, 1.0)


def _faces() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    root = os.environ.get(VARIABLE)
    path = Path(root or ".") / OLIVETTI_ARRAYS
    if root and path.is_file():
        try:
            images, target = read_npz(path, lambda _: ["images", "target"]).values()
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{path}: damaged, or without images and target ({error}); restore it from a copy"
            ) from None
        if (
            target.ndim != 1
            or target.dtype.kind not in "iu"
            or not 0 <= target.min(initial=0) <= target.max(initial=0) < _PEOPLE
        ):
            raise ValueError(
                f"{path}: target {target.dtype} {target.shape}; expected {_PEOPLE * _EACH} people from 0 to {_PEOPLE - 1}"
            )
        person = target.astype(np.int64)
    else:
        from scipy.io import loadmat

        path = published(OLIVETTI)
        columns = np.asarray(loadmat(path, variable_names=["faces"])["faces"])  # [4096, 400], each image by columns
        images = columns.T.reshape(-1, _SIDE, _SIDE).transpose(0, 2, 1)
        person = np.arange(len(images)) // _EACH
    shape = (_PEOPLE * _EACH, _SIDE, _SIDE)
    if (
        images.shape != shape
        or images.dtype != np.uint8
        or np.bincount(person, minlength=1).tolist() != [_EACH] * _PEOPLE
    ):
        raise ValueError(
            f"{path}: images {images.dtype} {images.shape} of {len(np.unique(person))} people; expected uint8 {shape}, "
            f"{_EACH} of each of {_PEOPLE} people"
        )
    return images, person
