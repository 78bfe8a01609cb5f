"""CIFAR-10, from the published binary files or from an excerpt in one `.npz` file."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.downloads import VARIABLE, published
from sparsecode.data.numpy_files import read_npz
from sparsecode.data.published import CIFAR10_ARCHIVE, CIFAR10_BATCHES, CIFAR10_EXCERPT, CIFAR10_TRAIN
from sparsecode.data.splits import Split, Splits
from sparsecode.specs import Count, Spec

__all__ = ["CIFAR10", "parse_records"]

Bytes = NDArray[np.uint8]

_TEST = "test_batch.bin"
_SHAPE, _CLASSES = (3, 32, 32), 10
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def parse_records(data: bytes, name: str) -> tuple[Bytes, Bytes]:
    """Images [N, 3, 32, 32] and labels [N] in records of a label byte and 3 072 pixels: red, green, blue planes.

    Raises ValueError naming `name` if these are not whole records or their labels are not 0 to 9.
    """
    record = 1 + 3 * 32 * 32
    if not data or len(data) % record:
        raise ValueError(
            f"{name}: {len(data)} bytes; expected records of {record} bytes. Get it again from {CIFAR10_ARCHIVE.url}"
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, record)
    _check_labels(rows[:, 0], name)
    return rows[:, 1:].reshape(-1, *_SHAPE), rows[:, 0]


class CIFAR10(Spec, tag="cifar10"):
    """Small photographs of 10 classes, 3 x 32 x 32, in [0, 1]: 45 000 train, 5 000 valid, 10 000 test.

    Train is the beginning and valid the end of the official training images, in their order. Files from
    `$SPARSECODE_DATA/cifar10` (the binary version, packed or unpacked) or `$SPARSECODE_DATA/cifar10_train10k_test1k.npz`
    (with 10 000 images to train on and 1 000 to test), else downloaded. Raises FileNotFoundError or ValueError naming
    the file, ValueError if more images are asked for than there are. Source: Krizhevsky, 2009.
    """

    n_train: Annotated[Count, Meta(description="training images to use")] = 45_000
    n_valid: Annotated[Count, Meta(description="validation images to use")] = 5_000
    n_test: Annotated[Count, Meta(description="test images to use")] = 10_000
    grey: Annotated[bool, Meta(description="one channel: 0.299 red + 0.587 green + 0.114 blue")] = False

    def load(self) -> Splits:
        result = _find()
        for what, wanted, there in (
            ("n_train + n_valid", self.n_train + self.n_valid, len(result.train)),
            ("n_test", self.n_test, len(result.test)),
        ):
            if wanted > there:
                raise ValueError(
                    f"CIFAR10: {what} is {wanted}, and {result.where} holds {there}; expected at most that"
                )

        def part(images: Bytes, labels: Bytes) -> Split:
            x = torch.from_numpy(images.astype(np.float32)).div_(255)
            if self.grey:
                x = torch.einsum("nchw,c->nhw", x, torch.tensor(_LUMA)).unsqueeze(1)
            return Split(x, label=torch.from_numpy(labels.astype(np.int64)))

        last = slice(len(result.train) - self.n_valid, None)
        return Splits(
            part(result.train[: self.n_train], result.train_label[: self.n_train]),
            part(result.train[last], result.train_label[last]),
            part(result.test[: self.n_test], result.test_label[: self.n_test]),
            0.0,
            1.0,
        )


class _Found(NamedTuple):
    where: Path
    train: Bytes
    train_label: Bytes
    test: Bytes
    test_label: Bytes


def _find() -> _Found:
    root = os.environ.get(VARIABLE)
    if not root:
        return _from_archive()
    folder, excerpt = Path(root) / CIFAR10_ARCHIVE.folder, Path(root) / CIFAR10_EXCERPT
    if (folder / CIFAR10_ARCHIVE.name).is_file():
        return _from_archive()
    for place in (folder / CIFAR10_BATCHES, folder):
        if any((place / name).is_file() for name in (*CIFAR10_TRAIN, _TEST)):
            return _from_batches(place, lambda name, place=place: _unpacked(place / name))
    if excerpt.is_file():
        return _from_excerpt(excerpt)
    raise FileNotFoundError(
        f"{CIFAR10_ARCHIVE.name}: not in {folder}, nor are its files ({CIFAR10_TRAIN[0]}, ...), nor is there {excerpt}. Put the first "
        f"there from {CIFAR10_ARCHIVE.url}, or unset {VARIABLE} to download it"
    )


def _unpacked(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, beside others of CIFAR-10; unpack {CIFAR10_ARCHIVE.url} there")
    return path.read_bytes()


def _from_archive() -> _Found:
    path = published(CIFAR10_ARCHIVE)
    with tarfile.open(path) as archive:

        def read(name: str) -> bytes:
            member = archive.extractfile(f"{CIFAR10_BATCHES}/{name}")
            return b"" if member is None else member.read()

        return _from_batches(path, read)


def _from_batches(where: Path, read: Callable[[str], bytes]) -> _Found:
    parts = [parse_records(read(name), str(where / name)) for name in CIFAR10_TRAIN]
    train, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return _Found(where, train, labels, *parse_records(read(_TEST), str(where / _TEST)))


def _from_excerpt(path: Path) -> _Found:
    try:
        result = _Found(path, *read_npz(path, lambda _: ["x_train", "y_train", "x_test", "y_test"]).values())
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: damaged, or without x_train, y_train, x_test and y_test ({error}); replace it, or put "
            f"{CIFAR10_ARCHIVE.name} from {CIFAR10_ARCHIVE.url} into {path.parent / CIFAR10_ARCHIVE.folder}"
        ) from None
    for images, labels in ((result.train, result.train_label), (result.test, result.test_label)):
        if labels.ndim != 1 or images.dtype != np.uint8 or images.shape != (len(labels), *_SHAPE):
            raise ValueError(
                f"{path}: images {images.dtype} {images.shape} with {labels.size} labels; expected uint8 [n, 3, 32, 32] with labels [n]"
            )
        _check_labels(labels, str(path))
    return result


def _check_labels(labels: NDArray[Any], name: str) -> None:
    if labels.size and not 0 <= labels.min() <= labels.max() < _CLASSES:
        raise ValueError(
            f"{name}: labels from {labels.min()} to {labels.max()}; expected 0 to 9: not CIFAR-10, or damaged"
        )
