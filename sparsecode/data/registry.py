"""The union of all data sources: what JSON and the command line accept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sparsecode.data.arrays import Arrays
from sparsecode.data.augmented import Augmented
from sparsecode.data.celeba import CelebA
from sparsecode.data.cifar import CIFAR10
from sparsecode.data.cifar10_latents import CIFAR10Latents
from sparsecode.data.class_tasks import ClassTasks
from sparsecode.data.dsprites import DSprites
from sparsecode.data.host import Host
from sparsecode.data.images import ImageFolder
from sparsecode.data.in_memory import InMemory
from sparsecode.data.minilm import MiniLM
from sparsecode.data.mnist import MNIST, FashionMNIST
from sparsecode.data.olivetti import Olivetti
from sparsecode.data.patches import Patches
from sparsecode.data.shapes import Shapes
from sparsecode.data.shards import Shards
from sparsecode.data.sklearn_data import Digits, Photos
from sparsecode.data.smileys import Smileys
from sparsecode.data.splits import Splits
from sparsecode.data.synthetic import Synthetic
from sparsecode.data.vector_tables import VectorTable
from sparsecode.data.without_classes import WithoutClasses
from sparsecode.leaves import opened

__all__ = ["Data", "DataLike"]


@runtime_checkable
class DataLike(Protocol):
    """Protocol of data sources: `load` gives the samples, the same at every call."""

    def load(self) -> Splits: ...


Known = (
    Digits
    | Photos
    | MNIST
    | FashionMNIST
    | CIFAR10
    | CIFAR10Latents
    | CelebA
    | ImageFolder
    | Shapes
    | Smileys
    | DSprites
    | Olivetti
    | Patches
    | MiniLM
    | Synthetic
    | Arrays
    | VectorTable
    | Shards
    | Host
    | ClassTasks
    | WithoutClasses
    | Augmented
    | InMemory
)
if TYPE_CHECKING:
    Data = Known | DataLike
else:
    Data = opened(Known, DataLike)
