"""The IDX format, and the data sets that come in it."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.downloads import Remote, contents
from sparsecode.data.splits import Split, Splits
from sparsecode.specs import Spec

__all__ = ["DIGITS", "FASHION", "MNIST", "FashionMNIST", "parse_idx"]

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


class _Source(NamedTuple):
    """Four files by the usual names: folder, address, and for each its size and the sums of the published file and of what is in it."""

    folder: str
    url: str
    sizes: tuple[int, ...]
    sums: tuple[tuple[str, str], ...]

    def files(self) -> tuple[Remote, ...]:
        """Train images, train labels, test images, test labels."""
        each = zip(_NAMES, self.sums, self.sizes, strict=True)
        return tuple(Remote(name, self.folder, self.url + name, *sums, size) for name, sums, size in each)

    def arrays(self) -> list[NDArray[Any]]:
        """What is in these files."""
        return [parse_idx(contents(file), file.name) for file in self.files()]


_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
DIGITS = _Source(
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    (9_912_422, 28_881, 1_648_877, 4_542),
    (
        (
            "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        (
            "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        (
            "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        (
            "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)
FASHION = _Source(
    "fashion-mnist",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    (26_421_880, 29_515, 4_422_102, 5_148),
    (
        (
            "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        (
            "md5:25c81989df183df01b3e8a0aad5dffbe",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        (
            "md5:bef4ecab320f06d8554ea6380940ec79",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        (
            "md5:bb300cfdad3c16e7a12a480ee83cd310",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
)
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


def _load(source: _Source, n_train: int, n_valid: int, n_test: int) -> Splits:
    images, labels, test_images, test_labels = source.arrays()
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
