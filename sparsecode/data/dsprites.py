"""The dSprites file."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Annotated
from zipfile import ZipFile

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.cache import cached, key_of, mapped, require_space, written
from sparsecode.data.downloads import published
from sparsecode.data.images import PARTS, progress
from sparsecode.data.numpy_files import read_npz
from sparsecode.data.published import DSPRITES
from sparsecode.data.shapes import FACTORS
from sparsecode.data.splits import Split, Splits
from sparsecode.specs import Count, Seed, Spec, to_json

__all__ = ["DSprites"]

CHUNK = 4096  # images unpacked at a time: all of them are 3 GB
_SHAPE, _PIXELS = (64, 64), 64 * 64


class DSprites(Spec, tag="dsprites"):
    """White squares, ellipses and hearts on black, 1 x 64 x 64, pixels 0 or 1; the shape is the label, the factors are known.

    Factors, as whole numbers from 0: shape (3), scale (6), orientation (40), x and y (32 each); the only colour is left out.
    `seed` draws the splits from the 737 280 images, none twice. They are unpacked once into the cache (`$SPARSECODE_CACHE`) and
    memory-mapped from there. File from `$SPARSECODE_DATA/dsprites`, else downloaded.
    Raises FileNotFoundError or ValueError naming the file, ValueError if more images are asked for than there are.
    Source: Matthey, Higgins, Hassabis & Lerchner, 2017.
    """

    n_train: Annotated[Count, Meta(description="training images to use")] = 60_000
    n_valid: Annotated[Count, Meta(description="validation images to use")] = 5_000
    n_test: Annotated[Count, Meta(description="test images to use")] = 10_000
    seed: Seed = 0

    def load(self) -> Splits:
        path = published(DSPRITES)
        values = _classes(path)
        sizes = (self.n_train, self.n_valid, self.n_test)
        if sum(sizes) > len(values):
            raise ValueError(
                f"DSprites: n_train + n_valid + n_test is {sum(sizes)}, and {path} holds {len(values)} images; expected at most that"
            )
        rows = np.random.RandomState(self.seed).permutation(len(values))[: sum(sizes)]
        key = key_of(to_json(self), DSPRITES.packed.encode())
        folder = cached("dsprites", key, lambda aside: _build(path, rows, sizes, aside))
        factors = torch.from_numpy(values[rows]).split(sizes)
        train, valid, test = (
            Split(mapped(folder / f"{name}.npy"), label=known[:, 0].contiguous(), factors=known)
            for name, known in zip(PARTS, factors, strict=True)
        )
        return Splits(train, valid, test, 0.0, 1.0, factors=FACTORS)


def _build(path: Path, rows: NDArray[np.int64], sizes: tuple[int, ...], folder: Path) -> None:
    require_space(folder, len(rows) * _PIXELS)
    result = np.empty((len(rows), 1, *_SHAPE), np.uint8)
    place = np.argsort(rows)
    wanted, done = rows[place], 0
    with progress(path.name, len(rows)) as report:
        for images in _images(path):
            first, last = np.searchsorted(wanted, (done, done + len(images)))
            result[place[first:last], 0] = images[wanted[first:last] - done]
            done += len(images)
            report(int(last))
    for name, part in zip(PARTS, np.split(result, np.cumsum(sizes)[:-1]), strict=True):
        with written(folder / f"{name}.npy", part.shape) as append:
            for start in range(0, len(part), CHUNK):
                append(torch.from_numpy(part[start : start + CHUNK]).float())


def _classes(path: Path) -> NDArray[np.int64]:
    """Values of the factors of every image [N, 5]. The file's `metadata`, a pickle, is not touched."""
    try:
        values = read_npz(path, lambda _: ["latents_classes"])["latents_classes"].astype(np.int64)
    except (KeyError, ValueError) as error:
        raise _wrong(path, str(error)) from None
    if values.ndim != 2 or values.shape[1] != 1 + len(FACTORS):
        raise _wrong(path, f"latents_classes {values.shape}, expected [n, {1 + len(FACTORS)}]")
    return values[:, 1:]  # the first is the colour, always white


def _images(path: Path) -> Generator[NDArray[np.uint8]]:
    """The images in their order, some at a time."""
    with ZipFile(path) as archive, archive.open("imgs.npy") as file:
        np.lib.format.read_magic(file)
        shape, by_columns, kind = np.lib.format.read_array_header_1_0(file)
        if shape[1:] != _SHAPE or by_columns or kind != np.uint8:
            raise _wrong(path, f"imgs {kind} {shape}, expected uint8 [n, 64, 64] by rows")
        while data := file.read(CHUNK * _PIXELS):
            yield np.frombuffer(data, np.uint8).reshape(-1, *_SHAPE)


def _wrong(path: Path, what: str) -> ValueError:
    return ValueError(f"{path}: not the dSprites file ({what}); replace it with the file from {DSPRITES.url}")
