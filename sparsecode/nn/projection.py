"""A learned linear map of the input."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparsecode.nn.init import uniform_fan_in
from sparsecode.specs import Spec

__all__ = ["Projection", "ProjectionModule"]


class Projection(Spec, tag="projection"):
    """x P^T without a bias, P [n_features, n_features], before the noise or after it."""

    before_noise: bool = False

    def build(self, shape: tuple[int, ...], rng: torch.Generator) -> ProjectionModule:
        return ProjectionModule(math.prod(shape), rng)


class ProjectionModule(nn.Module):
    """The module of `Projection`."""

    def __init__(self, n_features: int, rng: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(uniform_fan_in((n_features, n_features), n_features, rng))

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b f"]:
        return x @ self.weight.T

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"weight": [self.weight]}
