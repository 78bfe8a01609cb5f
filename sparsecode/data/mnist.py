"""The IDX format, and the data sets that come in it."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.downloads import contents
from sparsecode.data.published import DIGITS, FASHION, IDXFiles
from sparsecode.data.splits import Split, Splits
from sparsecode.specs import Spec

__all__ = ["MNIST", "FashionMNIST", "parse_idx"]

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def parse_idx(data: bytes, name: str) -> NDArray[Any]:
    """The array in IDX bytes: two zeros, a type code, the number of axes, big-endian lengths, then values.

    Raises ValueError naming `name` if the header is not IDX or the length does not fit it.
    """
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or len(data) < 4 + 4 * data[3]:
        raise ValueError(f"{name}: not an IDX file (it starts with {data[:4].hex(' ') or 'nothing'})")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", count=data[3], offset=4))
    kind = np.dtype(_TYPES[data[2]])
    start = 4 + 4 * data[3]
    expected = start + kind.itemsize * math.prod(shape)
    if len(data) != expected:
        raise ValueError(f"{name}: {len(data)} bytes, but its header announces {expected} (shape {shape})")
    return np.frombuffer(data, kind, offset=start).reshape(shape)


def _arrays(source: IDXFiles) -> list[NDArray[Any]]:
    """What is in these files."""
    return [parse_idx(contents(file), file.name) for file in source.files()]


# Train and valid are prefixes of a fixed permutation: the split files of Evtimova & LeCun are exactly
# RandomState(31).permutation(60000), cut at 55 000.
_SPLIT_SEED, _TRAIN_POOL = 31, 55_000

TrainSize = Annotated[int, Meta(ge=1, le=55_000, description="training images to use")]
ValidSize = Annotated[int, Meta(ge=1, le=5_000, description="validation images to use")]
TestSize = Annotated[int, Meta(ge=1, le=10_000, description="test images to use")]


class MNIST(Spec, tag="mnist"):
    """Handwritten digits, 1 x 28 x 28, grey levels in [0, 1]: 55 000 train, 5 000 valid, 10 000 test.

    Files from `$SPARSECODE_DATA/mnist`, else downloaded. Source: LeCun, Cortes & Burges.
    """

    n_train: TrainSize = 55_000
    n_valid: ValidSize = 5_000
    n_test: TestSize = 10_000

    def load(self) -> Splits:
        return _load(DIGITS, self.n_train, self.n_valid, self.n_test)


class FashionMNIST(Spec, tag="fashion_mnist"):
    """Pictures of clothes, 1 x 28 x 28, grey levels in [0, 1]: the splits of MNIST.

    Files from `$SPARSECODE_DATA/fashion-mnist`, else downloaded. Source: Xiao, Rasul & Vollgraf, 2017.
    """

    n_train: TrainSize = 55_000
    n_valid: ValidSize = 5_000
    n_test: TestSize = 10_000

    def load(self) -> Splits:
        return _load(FASHION, self.n_train, self.n_valid, self.n_test)


def _load(source: IDXFiles, n_train: int, n_valid: int, n_test: int) -> Splits:
    images, labels, test_images, test_labels = _arrays(source)
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(images))
    train, valid = order[:n_train], order[_TRAIN_POOL : _TRAIN_POOL + n_valid]
    return Splits(
        _split(images[train], labels[train]),
        _split(images[valid], labels[valid]),
        _split(test_images[:n_test], test_labels[:n_test]),
        0.0,
        1.0,
    )


def _split(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
    x = torch.from_numpy(images.astype(np.float32)).div_(255).unsqueeze(1)
    return Split(x, label=torch.from_numpy(labels.astype(np.int64)))
