from .arrays import Arrays as Arrays
from .augmented import Augmented as Augmented
from .celeba import CelebA as CelebA
from .cifar import CIFAR10 as CIFAR10
from .cifar10_latents import CIFAR10Latents as CIFAR10Latents
from .class_tasks import ClassTasks as ClassTasks
from .class_tasks import Labelled as Labelled
from .code_index import CodeChunk as CodeChunk
from .code_writer import CodeWriter as CodeWriter
from .codes import StoredCodes as StoredCodes
from .codes import read_codes as read_codes
from .dsprites import DSprites as DSprites
from .hooks import extract as extract
from .host import Host as Host
from .image_patches import extract_patches as extract_patches
from .image_patches import rebuild_from_patches as rebuild_from_patches
from .images import ImageFolder as ImageFolder
from .in_memory import InMemory as InMemory
from .local_contrast import LCN as LCN
from .local_contrast import Plain as Plain
from .minilm import MiniLM as MiniLM
from .mnist import MNIST as MNIST
from .mnist import FashionMNIST as FashionMNIST
from .olivetti import Olivetti as Olivetti
from .patches import Patches as Patches
from .registry import Data as Data
from .registry import DataLike as DataLike
from .shapes import Shapes as Shapes
from .shard_writer import ShardWriter as ShardWriter
from .shards import Shards as Shards
from .sklearn_data import Digits as Digits
from .sklearn_data import Photos as Photos
from .smileys import Smileys as Smileys
from .splits import Factor as Factor
from .splits import Split as Split
from .splits import Splits as Splits
from .synthetic import ExponentialAmplitude as ExponentialAmplitude
from .synthetic import Firing as Firing
from .synthetic import Part as Part
from .synthetic import Synthetic as Synthetic
from .synthetic import UniformAmplitude as UniformAmplitude
from .tokens import TokenColumns as TokenColumns
from .tokens import Tokens as Tokens
from .tokens import context as context
from .tokens import contexts as contexts
from .vector_tables import VectorTable as VectorTable
from .without_classes import WithoutClasses as WithoutClasses

__all__ = [
    "CIFAR10",
    "LCN",
    "MNIST",
    "Arrays",
    "Augmented",
    "CIFAR10Latents",
    "CelebA",
    "ClassTasks",
    "CodeChunk",
    "CodeWriter",
    "DSprites",
    "Data",
    "DataLike",
    "Digits",
    "ExponentialAmplitude",
    "Factor",
    "FashionMNIST",
    "Firing",
    "Host",
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
    "Smileys",
    "Split",
    "Splits",
    "StoredCodes",
    "Synthetic",
    "TokenColumns",
    "Tokens",
    "UniformAmplitude",
    "VectorTable",
    "WithoutClasses",
    "context",
    "contexts",
    "extract",
    "extract_patches",
    "read_codes",
    "rebuild_from_patches",
]
