"""A wanted number of active codes in place of a penalty weight."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.specs import NonNegative, Positive, Spec

__all__ = ["TargetL0", "TargetL0Module"]

TOLERANCE = 0.05  # of the wanted L0
LIMIT = math.log(1e6)  # the controller changes the weight by up to this factor, up or down


class TargetL0(Spec, tag="target_l0"):
    """Move the penalty's weight until the mean number of |z_j| > theta is `l0`.

    log weight <- log weight + rate * log(L / l0) after every step (L a running mean over about `memory` steps), plus
    `damping` times the change of log L: an integral and a proportional part. The weight stays within a factor of 10^6.
    """

    l0: Annotated[float, Meta(gt=0, description="wanted mean number of active codes per sample")]
    rate: Annotated[float, Meta(gt=0, description="per step")] = 0.01
    damping: NonNegative = 3.0
    memory: Annotated[Positive, Meta(description="steps")] = 10.0
    theta: Annotated[NonNegative, Meta(description="a code is active above this magnitude")] = 0.0

    def build(self) -> TargetL0Module:
        return TargetL0Module(self)


class TargetL0Module(nn.Module):
    """State of a `TargetL0`: `log_factor` on the weight, `level`, the running mean of log(L0 / l0), after `seen` steps."""

    def __init__(self, spec: TargetL0) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("log_factor", torch.zeros((), dtype=torch.float64))
        self.register_buffer("level", torch.zeros((), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.log_factor: Tensor
        self.level: Tensor
        self.seen: Tensor

    @property
    def factor(self) -> float:
        """What the penalty's weight is multiplied by."""
        return math.exp(float(self.log_factor))

    def warnings(self, z: Float[Tensor, "b k"]) -> list[str]:
        """Whether the codes z of a trained model are off the target, or the weight has gone as far as it may."""
        found: list[str] = []
        l0, wanted = float((z.abs() > self.spec.theta).sum(dim=1).double().mean()), self.spec.l0
        if abs(l0 - wanted) > TOLERANCE * wanted:
            found.append(
                f"target_l0 asks for {wanted:g} active codes per sample, and there are {l0:.4g}; train longer, or raise "
                "target_l0.rate"
            )
        if abs(float(self.log_factor)) >= LIMIT:
            found.append(
                f"target_l0 has moved the penalty's weight by a factor of {self.factor:.0e}, its limit: the weight is saturated, "
                "and more of it changes nothing; start from another weight, or choose another penalty"
            )
        return found

    @torch.no_grad()
    def move_(self, l0: float) -> None:
        """After a step in which `l0` codes were active on average over the global batch."""
        now = math.log(max(l0, 0.1) / self.spec.l0)
        before = float(self.level) if int(self.seen) else now
        level = before + (now - before) / self.spec.memory
        change = level - before
        log_factor = float(self.log_factor) + self.spec.rate * level + self.spec.damping * change
        self.level.fill_(level)
        self.seen += 1
        self.log_factor.fill_(min(max(log_factor, -LIMIT), LIMIT))
