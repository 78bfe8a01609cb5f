"""The IDX format, and MNIST in it."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.sources import Remote, contents
from sparsecode.data.splits import Split, Splits
from sparsecode.specs import Spec

__all__ = ["MNIST", "parse_idx"]

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


_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FILES = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
# Train and valid are prefixes of a fixed permutation: the split files of Evtimova & LeCun are exactly
# RandomState(31).permutation(60000), cut at 55 000.
_SPLIT_SEED, _TRAIN_POOL = 31, 55_000


class MNIST(Spec, tag="mnist"):
    """Handwritten digits, 1 x 28 x 28, grey levels in [0, 1]: 55 000 train, 5 000 valid, 10 000 test.

    Files from `$SPARSECODE_DATA/mnist`, else downloaded. Source: LeCun, Cortes & Burges.
    """

    n_train: Annotated[int, Meta(ge=1, le=55_000, description="training images to use")] = 55_000
    n_valid: Annotated[int, Meta(ge=1, le=5_000, description="validation images to use")] = 5_000
    n_test: Annotated[int, Meta(ge=1, le=10_000, description="test images to use")] = 10_000

    def load(self) -> Splits:
        images, labels, test_images, test_labels = (
            parse_idx(contents(Remote(name, "mnist", _URL + name, *sums)), name) for name, sums in _FILES.items()
        )
        order = np.random.RandomState(_SPLIT_SEED).permutation(len(images))
        train, valid = order[: self.n_train], order[_TRAIN_POOL : _TRAIN_POOL + self.n_valid]
        return Splits(
            _split(images[train], labels[train]),
            _split(images[valid], labels[valid]),
            _split(test_images[: self.n_test], test_labels[: self.n_test]),
            0.0,
            1.0,
        )


def _split(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
    x = torch.from_numpy(images.astype(np.float32)).div_(255).unsqueeze(1)
    return Split(x, torch.from_numpy(labels.astype(np.int64)))
