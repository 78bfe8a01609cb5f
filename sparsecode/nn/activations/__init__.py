"""Activation functions that map pre-activations to sparse codes.

The contract: `train_code(pre, step, training, rng)` returns the differentiable `Code` of a training step and updates state only
if `training`; `train_sparse` returns the same without zeros; `infer(pre)` computes codes row by row from buffers and weights.
"""

from typing import TYPE_CHECKING

from sparsecode.leaves import opened
from sparsecode.nn.activations.base import ActivationLike, ActivationModule
from sparsecode.nn.activations.batch_topk import BatchTopK, BatchTopKModule
from sparsecode.nn.activations.elementwise import Gated, JumpReLU, JumpReLUModule, ReLU, Satlin, Sigmoid
from sparsecode.nn.activations.lateral_inhibition import Inhibition
from sparsecode.nn.activations.smooth import ELU, GELU, Softmax, Tanh
from sparsecode.nn.activations.topk import TopK, top_k
from sparsecode.nn.activations.topk_inhibition import GABASwitch, LearnedK, SampledK, SubtractTopK

__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "ActivationLike",
    "ActivationModule",
    "BatchTopK",
    "BatchTopKModule",
    "GABASwitch",
    "Gated",
    "Inhibition",
    "JumpReLU",
    "JumpReLUModule",
    "LearnedK",
    "ReLU",
    "SampledK",
    "Satlin",
    "Sigmoid",
    "Softmax",
    "SubtractTopK",
    "Tanh",
    "TopK",
    "top_k",
]

Known = (
    ReLU
    | Sigmoid
    | Satlin
    | GELU
    | ELU
    | Tanh
    | Softmax
    | TopK
    | BatchTopK
    | SubtractTopK
    | GABASwitch
    | LearnedK
    | SampledK
    | JumpReLU
    | Gated
    | Inhibition
)
if TYPE_CHECKING:
    Activation = Known | ActivationLike
else:
    Activation = opened(Known, ActivationLike)
