"""Gates T in [0, 1] that replace b ~ Bernoulli(gamma) in samples and give gamma a gradient.

All take gamma and its logit [B, K] and uniform numbers [B, K], and have `settings(step)`: the scheduled values, to be logged.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.schedules import Linear, PositiveSchedule, at
from sparsecode.specs import Spec

__all__ = ["BinaryConcrete", "Gate", "HardGate", "SigmoidGate", "hard_gate"]


def hard_gate(gamma: Float[Tensor, "b k"], uniform: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
    """1[u > 1 - gamma]: a draw of Bernoulli(gamma), exactly 0 or 1."""
    return (uniform > 1 - gamma).to(gamma.dtype)


class SigmoidGate(Spec, tag="sigmoid"):
    """T = sigmoid(slope (u + gamma - 1)), u uniform: 1[u > 1 - gamma] as the slope grows.

    Biased: at slope 50 and gamma 0 its mean is 0.014, and 18 % of gates are above 1e-4.
    Source: Tonolini, Jensen & Murray-Smith, "Variational sparse coding", UAI 2019.
    """

    slope: Annotated[PositiveSchedule, Meta(description="slope of the gate")] = Linear(
        start=50.0, stop=200.0, length=20_000
    )

    def relaxed(
        self,
        gamma: Float[Tensor, "b k"],
        logit: Float[Tensor, "b k"],  # noqa: ARG002 - the contract
        uniform: Float[Tensor, "b k"],
        step: int,
    ) -> Float[Tensor, "b k"]:
        return torch.sigmoid((gamma + (uniform - 1)) * at(self.slope, step))

    def settings(self, step: int) -> dict[str, float]:
        return {"slope": at(self.slope, step)}


class BinaryConcrete(Spec, tag="binary_concrete"):
    """T = sigmoid((logit(gamma) + logit(u)) / temperature), u uniform; P(T > 1/2) = gamma at any temperature.

    Source: Maddison, Mnih & Teh; Jang, Gu & Poole, both ICLR 2017.
    """

    temperature: Annotated[PositiveSchedule, Meta(description="0 is a hard gate")] = Linear(
        start=1.0, stop=0.1, length=20_000
    )

    def relaxed(
        self,
        gamma: Float[Tensor, "b k"],  # noqa: ARG002 - the contract
        logit: Float[Tensor, "b k"],
        uniform: Float[Tensor, "b k"],
        step: int,
    ) -> Float[Tensor, "b k"]:
        noise = torch.logit(
            uniform, eps=torch.finfo(torch.float32).eps
        )  # u may be 0, and a float32 below 1 rounds to it
        return torch.sigmoid((logit + noise) / at(self.temperature, step))

    def settings(self, step: int) -> dict[str, float]:
        return {"temperature": at(self.temperature, step)}


class HardGate(Spec, tag="hard"):
    """b ~ Bernoulli(gamma), exactly 0 or 1, with the gradient of gamma (straight-through, a biased estimate)."""

    def relaxed(
        self,
        gamma: Float[Tensor, "b k"],
        logit: Float[Tensor, "b k"],  # noqa: ARG002 - the contract
        uniform: Float[Tensor, "b k"],
        step: int,  # noqa: ARG002
    ) -> Float[Tensor, "b k"]:
        drawn = hard_gate(gamma.detach(), uniform)
        return drawn + (gamma - gamma.detach())

    def settings(self, step: int) -> dict[str, float]:  # noqa: ARG002 - the contract
        return {}


Gate = SigmoidGate | BinaryConcrete | HardGate
