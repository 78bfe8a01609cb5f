"""Activations without rectification: GELU, ELU, tanh and softmax."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.nn.activations.base import ActivationModule
from sparsecode.nn.perceptron import SHAPES, ShapeName
from sparsecode.specs import Spec

__all__ = ["ELU", "GELU", "Softmax", "Tanh"]


class GELU(Spec, tag="gelu"):
    """z = pre Phi(pre), Phi the distribution function of N(0, 1): rarely 0, so counts of active codes need a level `theta`.

    Source: Hendrycks & Gimpel, arXiv:1606.08415.
    """

    def build(self, n_code: int) -> ActivationModule:  # noqa: ARG002 - the contract
        return ShapedModule("gelu")


class ELU(Spec, tag="elu"):
    """z = pre where pre > 0, else exp(pre) - 1: inactive at -1 rather than 0; counts of active codes need a level `theta`.

    Source: Clevert, Unterthiner & Hochreiter, ICLR 2016.
    """

    def build(self, n_code: int) -> ActivationModule:  # noqa: ARG002 - the contract
        return ShapedModule("elu")


class Tanh(Spec, tag="tanh"):
    """z = tanh(pre), signed; counts of active codes need a level `theta`."""

    def build(self, n_code: int) -> ActivationModule:  # noqa: ARG002 - the contract
        return ShapedModule("tanh")


class ShapedModule(ActivationModule):
    """A function of each pre-activation by itself, without weights."""

    def __init__(self, name: ShapeName) -> None:
        super().__init__()
        self.function = SHAPES[name]

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return self.function(pre)


class Softmax(Spec, tag="softmax"):
    """z_j = exp(beta pre_j) / sum_i exp(beta pre_i), beta > 0 learned as its logarithm.

    With unit-norm keys that are the training samples, and the samples as values, this is attention over a memory:
    Ramsauer et al., "Hopfield networks is all you need", ICLR 2021.
    """

    beta: Annotated[float, Meta(gt=0, description="inverse temperature at the start")] = 2.0

    def build(self, n_code: int) -> SoftmaxModule:  # noqa: ARG002 - the contract
        return SoftmaxModule(self)


class SoftmaxModule(ActivationModule):
    """The module of `Softmax`, with the parameter `log_beta`."""

    competes = True

    def __init__(self, spec: Softmax) -> None:
        super().__init__()
        self.log_beta = nn.Parameter(torch.tensor(math.log(spec.beta)))

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return torch.softmax(self.log_beta.exp() * pre, dim=1)

    def present(self, pre: Float[Tensor, "b k"]) -> dict[str, float]:  # noqa: ARG002 - the contract
        """`beta`."""
        return {"beta": float(self.log_beta.detach().exp())}

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"beta": [self.log_beta]}
