from .activations import extract as extract
from .arrays import Arrays as Arrays
from .cifar import CIFAR10 as CIFAR10
from .contrast import LCN as LCN
from .contrast import Plain as Plain
from .dsprites import DSprites as DSprites
from .embedded import Digits as Digits
from .embedded import Photos as Photos
from .faces import Olivetti as Olivetti
from .idx import MNIST as MNIST
from .idx import FashionMNIST as FashionMNIST
from .images import ImageFolder as ImageFolder
from .in_memory import InMemory as InMemory
from .latents import CIFAR10Latents as CIFAR10Latents
from .minilm import MiniLM as MiniLM
from .patches import Patches as Patches
from .registry import Data as Data
from .registry import DataLike as DataLike
from .shapes import Shapes as Shapes
from .shard_writer import ShardWriter as ShardWriter
from .shards import Shards as Shards
from .splits import Factor as Factor
from .splits import Split as Split
from .splits import Splits as Splits
from .synthetic import Exponential as Exponential
from .synthetic import Firing as Firing
from .synthetic import Part as Part
from .synthetic import Synthetic as Synthetic
from .synthetic import Uniform as Uniform
from .tasks import ClassTasks as ClassTasks
from .tasks import Labelled as Labelled

__all__ = [
    "CIFAR10",
    "LCN",
    "MNIST",
    "Arrays",
    "CIFAR10Latents",
    "ClassTasks",
    "DSprites",
    "Data",
    "DataLike",
    "Digits",
    "Exponential",
    "Factor",
    "FashionMNIST",
    "Firing",
    "ImageFolder",
    "InMemory",
    "Labelled",
    "MiniLM",
    "Olivetti",
    "Part",
    "Patches",
    "Photos",
    "Plain",
    "Shapes",
    "ShardWriter",
    "Shards",
    "Split",
    "Splits",
    "Synthetic",
    "Uniform",
    "extract",
]
