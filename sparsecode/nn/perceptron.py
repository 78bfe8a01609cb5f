"""Multi-layer perceptrons, used as encoders and decoders."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.nn.init import uniform_fan_in
from sparsecode.specs import Count, Spec

__all__ = ["SHAPES", "Perceptron", "PerceptronModule", "ShapeName"]

ShapeName = Literal["relu", "gelu", "elu", "tanh", "sigmoid"]
SHAPES: dict[ShapeName, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "elu": nn.functional.elu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class Perceptron(Spec, tag="perceptron"):
    """Affine maps with `activation` between them, none after the last: h <- f(h W^T + b), once per entry of `hidden`, then h W^T + b.

    Weights start as PyTorch's default for linear layers, biases at 0.
    """

    hidden: Annotated[tuple[Count, ...], Meta(description="units of each hidden layer; () for one affine map")] = (400,)
    activation: ShapeName = "relu"
    provides = ("unbounded",)

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> PerceptronModule:
        return PerceptronModule(self, n_code, math.prod(shape), rng)


class PerceptronModule(nn.Module):
    """The module of `Perceptron`, layer by layer: `weights` [n_out, n_in] in rows like the outputs, `biases`."""

    def __init__(self, spec: Perceptron, n_in: int, n_out: int, rng: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        sizes = list(pairwise((n_in, *spec.hidden, n_out)))
        self.weights = nn.ParameterList([nn.Parameter(uniform_fan_in((b, a), a, rng)) for a, b in sizes])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(b)) for _, b in sizes])

    def forward(self, x: Float[Tensor, "b i"]) -> Float[Tensor, "b o"]:
        shape = SHAPES[self.spec.activation]
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = nn.functional.linear(x, weight, bias)
            x = shape(x) if i < last else x
        return x

    mean = forward  # as a decoder

    def layers(self) -> list[Tensor]:
        """Weights and biases in turn."""
        return [value for pair in zip(self.weights, self.biases, strict=True) for value in pair]

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"weight": list(self.weights), "bias": list(self.biases)}
