"""Decoders from codes to data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.leaves import opened
from sparsecode.nn.constraints import Constraint, UnitNorm
from sparsecode.nn.convolutional import ConvolutionalDictionary
from sparsecode.nn.init import uniform_fan_in
from sparsecode.nn.one_hidden import OneHiddenPullback
from sparsecode.nn.online import OnlineDictionary
from sparsecode.ops.norms import largest_eigenvalue_bound
from sparsecode.specs import Spec

__all__ = [
    "Decoder",
    "DecoderLike",
    "DecoderModule",
    "LinearDictionary",
    "LinearDictionaryModule",
    "OneHidden",
    "OneHiddenModule",
]


class DecoderModule(nn.Module):
    """The protocol of decoder modules: `mean(z)` gives data [B, f] in model space for codes z [B, n_code], differentiable in z.

    A linear one, z D, also has `atoms` D; its codes are then computed by the faster solvers of quadratic energies.
    """

    def mean(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b f"]:
        raise NotImplementedError

    def curvature_bound(self) -> float:
        """An upper bound on |J|_2^2 of the Jacobian J of `mean`, for solvers with a constant step. Raises ValueError without one."""
        raise ValueError(
            f"{type(self).__name__} has no curvature_bound; expected a solver that needs none: choose FISTA(step_size='backtracking')"
        )

    def constrain_(self) -> None:
        """Keep weights within their range, after each optimiser step."""

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """All weights by name, for the optimiser's patterns."""
        return {"weight": list(self.parameters())}


@runtime_checkable
class DecoderLike(Protocol):
    """The protocol of decoder configs."""

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> DecoderModule: ...


class LinearDictionary(Spec, tag="linear_dictionary"):
    """x = z D, with atoms in the rows of D [n_code, n_features] and no bias.

    Source: SDL in Evtimova & LeCun, TMLR 2022, whose decoder weight is D transposed.
    """

    constraint: Constraint = UnitNorm()

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> LinearDictionaryModule:
        return LinearDictionaryModule(self, n_code, math.prod(shape), rng)


class LinearDictionaryModule(DecoderModule):
    """The module of `LinearDictionary`: `atoms` D."""

    def __init__(self, spec: LinearDictionary, n_code: int, n_features: int, rng: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        self.atoms = nn.Parameter(uniform_fan_in((n_code, n_features), n_code, rng))
        self.constrain_()

    def mean(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b f"]:
        return z @ self.atoms

    def curvature_bound(self) -> float:
        return largest_eigenvalue_bound(self.atoms.detach() @ self.atoms.detach().T)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"weight": [self.atoms]}

    def constrain_(self) -> None:
        self.spec.constraint.apply_(self.atoms)


class OneHidden(Spec, tag="one_hidden"):
    """x = relu(z H + b) O: one hidden layer, with a bias there alone.

    The constraint holds for the rows of both H [n_code, n_hidden] and O [n_hidden, n_features].
    Source: SDL-NL and VDL-NL in Evtimova & LeCun, TMLR 2022, whose weights are H and O transposed.
    """

    n_hidden: Annotated[int, Meta(ge=1, description="units in the decoder's hidden layer")]
    constraint: Constraint = UnitNorm()

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> OneHiddenModule:
        return OneHiddenModule(self, n_code, math.prod(shape), rng)


class OneHiddenModule(DecoderModule):
    """The module of `OneHidden`: `hidden` H, `bias` b, `out` O."""

    def __init__(self, spec: OneHidden, n_code: int, n_features: int, rng: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        self.hidden = nn.Parameter(uniform_fan_in((n_code, spec.n_hidden), n_code, rng))
        self.bias = nn.Parameter(torch.zeros(spec.n_hidden))
        self.out = nn.Parameter(uniform_fan_in((spec.n_hidden, n_features), spec.n_hidden, rng))
        self.constrain_()

    def mean(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b f"]:
        return torch.relu(torch.addmm(self.bias, z, self.hidden)) @ self.out

    @torch.no_grad()
    def pullback(self, z: Float[Tensor, "b k"]) -> tuple[Tensor, OneHiddenPullback]:
        """mean(z), and r -> ((r O^T) * (z H + b > 0)) H^T."""
        active = torch.addmm(self.bias, z, self.hidden).relu_()
        return active @ self.out, OneHiddenPullback(self, z, active)

    def curvature_bound(self) -> float:
        """|H|_2^2 |O|_2^2: masks only shrink."""
        norms = 1.0
        for weight in (self.hidden.detach(), self.out.detach()):
            small = weight @ weight.T if len(weight) <= weight.shape[1] else weight.T @ weight
            norms *= largest_eigenvalue_bound(small)
        return norms

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"weight": [self.hidden, self.out], "bias": [self.bias]}

    def constrain_(self) -> None:
        self.spec.constraint.apply_(self.hidden)
        self.spec.constraint.apply_(self.out)


Known = LinearDictionary | OneHidden | OnlineDictionary | ConvolutionalDictionary
if TYPE_CHECKING:
    Decoder = Known | DecoderLike
else:
    Decoder = opened(Known, DecoderLike)
