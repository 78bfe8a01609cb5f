"""Terms of training objectives and of batch energies."""

from sparsecode.losses.control import TargetL0, TargetL0Module
from sparsecode.losses.matryoshka import Matryoshka
from sparsecode.losses.revival import AuxK, Resample, Revival, RevivalModule
from sparsecode.losses.sparsity import KL, L0, Hoyer, Sparsity, SparsityModule, Tanh, kl_divergence
from sparsecode.losses.task import Classify, Reconstruct, Task
from sparsecode.losses.variance import BatchVariance, squared_error

__all__ = [
    "KL",
    "L0",
    "AuxK",
    "BatchVariance",
    "Classify",
    "Hoyer",
    "Matryoshka",
    "Reconstruct",
    "Resample",
    "Revival",
    "RevivalModule",
    "Sparsity",
    "SparsityModule",
    "Tanh",
    "TargetL0",
    "TargetL0Module",
    "Task",
    "kl_divergence",
    "squared_error",
]
