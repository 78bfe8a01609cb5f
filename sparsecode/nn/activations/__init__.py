"""From pre-activations to codes: what makes an encoder's code sparse.

The contract: `train_code(pre, step, moving)` gives the differentiable `Code` of a training step, and moves state only if
`moving`; `train_sparse` gives the same without its zeros; `infer(pre)` gives codes row by row from buffers and weights.
"""

from sparsecode.nn.activations.base import ActivationModule
from sparsecode.nn.activations.elementwise import Gated, JumpReLU, JumpReLUModule, ReLU, Satlin, Sigmoid
from sparsecode.nn.activations.topk import BatchTopK, BatchTopKModule, TopK, top_k

__all__ = [
    "Activation",
    "ActivationModule",
    "BatchTopK",
    "BatchTopKModule",
    "Gated",
    "JumpReLU",
    "JumpReLUModule",
    "ReLU",
    "Satlin",
    "Sigmoid",
    "TopK",
    "top_k",
]

Activation = ReLU | Sigmoid | Satlin | TopK | BatchTopK | JumpReLU | Gated
