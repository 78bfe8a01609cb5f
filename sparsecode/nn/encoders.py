"""Encoders that compute codes from data in one pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.leaves import opened
from sparsecode.nn.convolutional import ConvolutionalLISTA
from sparsecode.nn.init import uniform_fan_in
from sparsecode.specs import Spec

__all__ = ["LISTA", "Encoder", "EncoderLike", "EncoderModule", "LISTAModule", "LinearEncoder"]


class EncoderModule(nn.Module):
    """The protocol of encoder modules: `forward` computes codes [B, n_code] of samples x [B, f] in model space."""

    def constrain_(self) -> None:
        """Keep weights within their range, after each optimiser step."""

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """All weights by name, for the optimiser's patterns."""
        return {"weight": list(self.parameters())}


@runtime_checkable
class EncoderLike(Protocol):
    """The protocol of encoder configs: whether codes are >= 0, and `build`."""

    @property
    def positive(self) -> bool: ...

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> EncoderModule: ...


class LISTA(Spec, tag="lista"):
    """Unrolled ISTA with learned matrices, shared over its iterations.

    Non-negative codes: B = x W^T + b; z = relu(B); then n_iter times z = relu(B + z S^T), so n_iter + 1
    rectifications. Signed codes: the same with B = x W^T and the shrinkage sign(v) relu(|v| - theta) in
    place of relu, theta >= 0 learned per code (it starts at 0, as b does).
    Source: Gregor & LeCun, ICML 2010; the non-negative form: Evtimova & LeCun, TMLR 2022.
    """

    n_iter: Annotated[int, Meta(ge=1, le=1000)] = 3
    positive: bool = True

    @property
    def needs(self) -> tuple[str, ...]:
        """The activation after it must be the identity on its codes, which are already rectified or shrunk."""
        return ("rectified",) if self.positive else ("signed",)

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> LISTAModule:
        return LISTAModule(self, n_code, math.prod(shape), rng)


class LISTAModule(EncoderModule):
    """The module of `LISTA`: `weight` W, `lateral` S, `bias` b (for signed codes: -theta)."""

    def __init__(self, spec: LISTA, n_code: int, n_features: int, rng: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        self.weight = nn.Parameter(uniform_fan_in((n_code, n_features), n_features, rng))
        self.lateral = nn.Parameter(uniform_fan_in((n_code, n_code), n_code, rng))
        self.bias = nn.Parameter(torch.zeros(n_code))

    def _shrink(self, v: Tensor) -> Tensor:
        if self.spec.positive:
            return torch.relu(v)
        return v.sign() * torch.relu(v.abs() + self.bias)

    @torch.no_grad()
    def constrain_(self) -> None:
        """Keep thresholds non-negative."""
        if not self.spec.positive:
            self.bias.clamp_(max=0)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"weight": [self.weight, self.lateral], "bias": [self.bias]}

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b k"]:
        drive = x @ self.weight.T
        if self.spec.positive:
            drive = drive + self.bias
        z = self._shrink(drive)
        for _ in range(self.spec.n_iter):
            z = self._shrink(drive + z @ self.lateral.T)
        return z


class LinearEncoder(Spec, tag="linear"):
    """x W^T + b: signed codes, or the pre-activations of rectified ones."""

    @property
    def positive(self) -> bool:
        """Its outputs have either sign."""
        return False

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> LinearEncoderModule:
        return LinearEncoderModule(n_code, math.prod(shape), rng)


class LinearEncoderModule(EncoderModule):
    """The module of `LinearEncoder`."""

    def __init__(self, n_code: int, n_features: int, rng: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(uniform_fan_in((n_code, n_features), n_features, rng))
        self.bias = nn.Parameter(torch.zeros(n_code))

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b k"]:
        return nn.functional.linear(x, self.weight, self.bias)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"weight": [self.weight], "bias": [self.bias]}


Known = LISTA | LinearEncoder | ConvolutionalLISTA
if TYPE_CHECKING:
    Encoder = Known | EncoderLike
else:
    Encoder = opened(Known, EncoderLike)
