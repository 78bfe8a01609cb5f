"""Data sources: each is a spec whose `load()` gives train, valid and test splits."""

from sparsecode.data.activations import extract
from sparsecode.data.arrays import Arrays
from sparsecode.data.cifar import CIFAR10
from sparsecode.data.contrast import LCN, Plain
from sparsecode.data.dsprites import DSprites
from sparsecode.data.embedded import Digits, Photos
from sparsecode.data.faces import Olivetti
from sparsecode.data.idx import MNIST, FashionMNIST
from sparsecode.data.images import ImageFolder
from sparsecode.data.latents import CIFAR10Latents
from sparsecode.data.minilm import MiniLM
from sparsecode.data.patches import Patches
from sparsecode.data.shapes import Shapes
from sparsecode.data.shard_writer import ShardWriter
from sparsecode.data.shards import Shards
from sparsecode.data.splits import Factor, Split, Splits
from sparsecode.data.synthetic import Synthetic
from sparsecode.data.tasks import ClassTasks

__all__ = [
    "CIFAR10",
    "LCN",
    "MNIST",
    "Arrays",
    "CIFAR10Latents",
    "ClassTasks",
    "DSprites",
    "Data",
    "Digits",
    "Factor",
    "FashionMNIST",
    "ImageFolder",
    "MiniLM",
    "Olivetti",
    "Patches",
    "Photos",
    "Plain",
    "Shapes",
    "ShardWriter",
    "Shards",
    "Split",
    "Splits",
    "Synthetic",
    "extract",
]

Data = (
    Digits
    | Photos
    | MNIST
    | FashionMNIST
    | CIFAR10
    | CIFAR10Latents
    | ImageFolder
    | Shapes
    | DSprites
    | Olivetti
    | Patches
    | MiniLM
    | Synthetic
    | Arrays
    | Shards
    | ClassTasks
)
