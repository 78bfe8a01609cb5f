"""Distributions q(z | x) of codes: their parameters from a network's outputs, samples and point codes.

A posterior has `heads`, numbers that it needs per code, and `parameters`, `sample`, `mean`, `mode`.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.nn.gates import BinaryConcrete, Gate, SigmoidGate, hard_gate
from sparsecode.ops.rng import drawn_rows
from sparsecode.schedules import Schedule, at
from sparsecode.specs import Spec

__all__ = ["Gaussian", "Parameters", "Posterior", "SpikeSlab", "bernoulli_kl", "gaussian_kl"]

CLAMP = 1e-6  # of gamma where its logarithm is taken, in the original's loss
UnitInterval = Annotated[float, Meta(ge=0, le=1)]


class Parameters(NamedTuple):
    """Parameters of q(z_j | x), [B, K] each: mean and log-variance of the slab; the probability that a code is on, and its logit.

    The last two are None where codes are always on.
    """

    mu: Tensor
    logvar: Tensor
    gamma: Tensor | None = None
    logit: Tensor | None = None


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)), elementwise, in nats."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1)


def bernoulli_kl(gamma: Tensor, logit: Tensor, prior: Tensor) -> Tensor:
    """KL(Bern(gamma) || Bern(sigmoid(prior))), elementwise, in nats; `logit` is gamma's, `prior` a logit.

    gamma (logit - prior) - softplus(logit) + softplus(prior): finite for all logits, and 0 where they are equal.
    """
    softplus = torch.nn.functional.softplus
    return gamma * (logit - prior) - softplus(logit) + softplus(prior)


class Gaussian(Spec, tag="gaussian"):
    """q(z | x) = N(mu, diag(exp(logvar))). Source: Kingma & Welling, ICLR 2014."""

    @property
    def heads(self) -> int:
        return 2

    def parameters(self, out: Float[Tensor, "b h"]) -> Parameters:
        mu, logvar = out.chunk(2, dim=1)
        return Parameters(mu, logvar)

    def sampled(self, q: Parameters, step: int) -> Parameters:  # noqa: ARG002 - the contract
        return q

    def sample(
        self,
        q: Parameters,
        rng: torch.Generator,
        step: int,  # noqa: ARG002 - the contract
        hard: bool = False,  # noqa: ARG002
    ) -> Float[Tensor, "b k"]:
        noise = drawn_rows(q.mu, q.mu.shape[1:], rng, "normal")
        return torch.addcmul(q.mu, (0.5 * q.logvar).exp(), noise)

    def mean(self, q: Parameters) -> Tensor:
        return q.mu

    def mode(self, q: Parameters) -> Tensor:
        return q.mu

    def settings(self, step: int) -> dict[str, float]:  # noqa: ARG002 - the contract
        return {}


class SpikeSlab(Spec, tag="spike_slab"):
    """q(z | x) = prod_j gamma_j N(mu_j, sigma_j^2) + (1 - gamma_j) delta_0; samples T_j (mu_j + sigma_j eps_j), T the gate.

    `spike` is the function from the network's output s to gamma: `logit`, sigmoid(s); `negrelu`, exp(min(s, 0)), as in the
    original, where half of all gates start at gamma = 1 without a gradient; its logarithms use gamma clamped to
    [1e-6, 1 - 1e-6]. While `warm_up` is below 1 samples have warm_up mu and warm_up logvar, and spikes are learned before
    slabs.
    Sources: Tonolini, Jensen & Murray-Smith, UAI 2019 (warm-up: their code); its replication in ReScience.
    """

    spike: Literal["logit", "negrelu"] = "logit"
    gate: Gate = SigmoidGate()
    warm_up: Annotated[UnitInterval | Schedule, Meta(description="share of the slab's parameters that samples see")] = (
        1.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spike == "negrelu" and isinstance(self.gate, BinaryConcrete):
            raise ValueError(
                "SpikeSlab: gate is 'binary_concrete', which works on the logit of gamma, infinite at gamma = 1, where "
                "'negrelu' starts; choose spike 'logit' or gate 'sigmoid'"
            )

    @property
    def heads(self) -> int:
        return 3

    def parameters(self, out: Float[Tensor, "b h"]) -> Parameters:
        mu, logvar, spike = out.chunk(3, dim=1)
        if self.spike == "logit":
            return Parameters(mu, logvar, torch.sigmoid(spike), spike)
        gamma = torch.exp(-torch.relu(-spike))
        return Parameters(mu, logvar, gamma, torch.logit(gamma, eps=CLAMP))

    def sampled(self, q: Parameters, step: int) -> Parameters:
        """The distribution of a step's samples: slabs as far as they are warmed up."""
        warmth = at(self.warm_up, step)
        return q if warmth == 1 else q._replace(mu=warmth * q.mu, logvar=warmth * q.logvar)

    def sample(self, q: Parameters, rng: torch.Generator, step: int, hard: bool = False) -> Float[Tensor, "b k"]:
        gamma, logit = _gates(q)
        normal = drawn_rows(q.mu, q.mu.shape[1:], rng, "normal")
        uniform = drawn_rows(q.mu, q.mu.shape[1:], rng, "uniform")
        gate = hard_gate(gamma, uniform) if hard else self.gate.relaxed(gamma, logit, uniform, step)
        return gate * torch.addcmul(q.mu, (0.5 * q.logvar).exp(), normal)

    def mean(self, q: Parameters) -> Tensor:
        """gamma mu."""
        return _gates(q)[0] * q.mu

    def mode(self, q: Parameters) -> Tensor:
        """mu where gamma > 1/2, else exactly 0."""
        return torch.where(_gates(q)[0] > 0.5, q.mu, 0.0)

    def settings(self, step: int) -> dict[str, float]:
        warmth = {} if self.warm_up == 1 else {"warm_up": at(self.warm_up, step)}
        return self.gate.settings(step) | warmth


Posterior = Gaussian | SpikeSlab


def _gates(q: Parameters) -> tuple[Tensor, Tensor]:
    assert q.gamma is not None
    assert q.logit is not None
    return q.gamma, q.logit
