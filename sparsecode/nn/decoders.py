"""From codes to data."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparsecode.nn.constraints import Constraint, UnitNorm
from sparsecode.nn.initial import uniform_fan_in
from sparsecode.specs import Spec

__all__ = ["Decoder", "LinearDictionary", "LinearDictionaryModule"]


class LinearDictionary(Spec, tag="linear_dictionary"):
    """x = z D, with atoms in the rows of D [n_code, n_features] and no bias.

    Source: SDL in Evtimova & LeCun, TMLR 2022, whose decoder weight is D transposed.
    """

    constraint: Constraint = UnitNorm()

    def build(self, n_code: int, n_features: int, rng: torch.Generator) -> LinearDictionaryModule:
        return LinearDictionaryModule(self, n_code, n_features, rng)


class LinearDictionaryModule(nn.Module):
    """The weights of a `LinearDictionary`: `atoms` D."""

    def __init__(self, spec: LinearDictionary, n_code: int, n_features: int, rng: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        self.atoms = nn.Parameter(uniform_fan_in((n_code, n_features), n_code, rng))
        self.constrain_()

    def mean(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b f"]:
        return z @ self.atoms

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"weight": [self.atoms]}

    def constrain_(self) -> None:
        self.spec.constraint.apply_(self.atoms)


Decoder = LinearDictionary
