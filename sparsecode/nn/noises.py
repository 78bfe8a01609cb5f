"""Input noise by distribution. `sigma` is the standard deviation of each, a number or a schedule evaluated at every step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.leaves import opened
from sparsecode.ops.collective import rank, world_size
from sparsecode.ops.rng import drawn_rows
from sparsecode.schedules import Schedule
from sparsecode.specs import Spec

__all__ = ["ExponentialNoise", "GaussianNoise", "LaplaceNoise", "Noise", "NoiseLike", "PoissonNoise", "UniformNoise"]

Sigma = Annotated[
    Annotated[float, Meta(ge=0)] | Schedule, Meta(description="standard deviation; a schedule anneals it to any level")
]
SigmaUnit = Annotated[
    Literal["input", "range"], Meta(description="sigma in model space, or in shares of the training samples' range")
]
Centred = Annotated[bool, Meta(description="take out the noise's mean")]


@runtime_checkable
class NoiseLike(Protocol):
    """The protocol of noises: `noise` [B, f] with standard deviation sigma for samples x, in model space."""

    @property
    def sigma(self) -> float | Schedule: ...

    @property
    def unit(self) -> Literal["input", "range"]: ...

    def noise(self, x: Tensor, sigma: float, rng: torch.Generator) -> Tensor: ...


class GaussianNoise(Spec, tag="gaussian"):
    """x + sigma times standard normal noise."""

    sigma: Sigma
    unit: SigmaUnit = "input"

    def noise(self, x: Float[Tensor, "b f"], sigma: float, rng: torch.Generator) -> Float[Tensor, "b f"]:
        return sigma * drawn_rows(x, x.shape[1:], rng, "normal")


class LaplaceNoise(Spec, tag="laplace"):
    """x + noise with density exp(-|e| / b) / 2b, b = sigma / sqrt(2)."""

    sigma: Sigma
    unit: SigmaUnit = "input"

    def noise(self, x: Float[Tensor, "b f"], sigma: float, rng: torch.Generator) -> Float[Tensor, "b f"]:
        u = drawn_rows(x, x.shape[1:], rng, "uniform") - 0.5
        # rand() may be 0, whose logarithm is not finite
        return -sigma / math.sqrt(2) * u.sign() * torch.log1p((-2 * u.abs()).clamp(min=-1 + 2**-24))


class UniformNoise(Spec, tag="uniform"):
    """x + noise uniform on [-sqrt(3) sigma, sqrt(3) sigma]."""

    sigma: Sigma
    unit: SigmaUnit = "input"

    def noise(self, x: Float[Tensor, "b f"], sigma: float, rng: torch.Generator) -> Float[Tensor, "b f"]:
        return sigma * math.sqrt(3) * (2 * drawn_rows(x, x.shape[1:], rng, "uniform") - 1)


class ExponentialNoise(Spec, tag="exponential"):
    """x + noise with density exp(-e / sigma) / sigma for e >= 0, whose mean is sigma too; with `centred`, the mean is subtracted."""

    sigma: Sigma
    unit: SigmaUnit = "input"
    centred: Centred = True

    def noise(self, x: Float[Tensor, "b f"], sigma: float, rng: torch.Generator) -> Float[Tensor, "b f"]:
        drawn = -torch.log1p(-drawn_rows(x, x.shape[1:], rng, "uniform"))
        return sigma * (drawn - 1 if self.centred else drawn)


class PoissonNoise(Spec, tag="poisson"):
    """x + e, e from a Poisson distribution with mean and variance sigma^2; with `centred`, the mean is subtracted."""

    sigma: Sigma
    unit: SigmaUnit = "input"
    centred: Centred = True

    def noise(self, x: Float[Tensor, "b f"], sigma: float, rng: torch.Generator) -> Float[Tensor, "b f"]:
        rate = torch.full((len(x) * world_size(), x.shape[1]), sigma**2)
        drawn = torch.poisson(rate, generator=rng)[rank() * len(x) : (rank() + 1) * len(x)].to(x)
        return drawn - sigma**2 if self.centred else drawn


Known = GaussianNoise | LaplaceNoise | UniformNoise | ExponentialNoise | PoissonNoise
if TYPE_CHECKING:
    Noise = Known | NoiseLike
else:
    Noise = opened(Known, NoiseLike)
