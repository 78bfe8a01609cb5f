"""A controller of the penalty weight that reaches a target number of active codes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.schedules import Unit
from sparsecode.specs import NonNegative, Positive, Spec

__all__ = ["TOLERANCE", "TargetL0", "TargetL0Module", "remedy"]

TOLERANCE = 0.05  # relative deviation from the target L0
SLEW = 0.05  # largest integral part per step; more could change the weight far before the encoder responds
RESPONSE = 30  # steps that an encoder needs to respond
UNPLANNED = 300  # steps left, where the length of the training is not known
LIMIT = math.log(1e6)  # the controller changes the weight by up to this factor, up or down


def remedy(reached: float, wanted: float) -> str:
    """The remedy for an L0 on unseen samples that misses the target, given the L0 `reached` on training samples."""
    if reached > wanted * (1 + TOLERANCE):
        return f"training samples had {reached:.4g} at the end: train longer"
    if reached < wanted * (1 - TOLERANCE):
        return (
            f"training samples had {reached:.4g} at the end: raise target_l0.arrival, so that L0 comes down more slowly"
        )
    return f"training samples have {reached:.4g}, unseen ones differ: train on more samples, or with fewer codes"


class TargetL0(Spec, tag="target_l0"):
    """Adjust the penalty's weight until the mean number of |z_j| > theta is `l0`.

    A proportional-integral controller in logarithms: after every step, with e a running mean of log(L / l0) over about
    `memory` steps,

        log weight <- log weight + rate * e + damping * (change of e).

    Without a fixed `rate`, rate = damping / (steps left until `arrival`), which brings e to about 0 by that time whatever the
    length of the training. The steps left count as at least a quarter of `arrival`, and as 30, which encoders need to
    respond at usual learning rates; rate * e is clipped to [-0.05, 0.05]. The weight stays within a factor of 10^6.
    """

    l0: Annotated[float, Meta(gt=0, description="target mean number of active codes per sample")]
    rate: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="per step; default: damping / steps left until arrival")
    ] = None
    damping: NonNegative = 1.5
    memory: Annotated[Positive, Meta(description="steps")] = 10.0
    theta: Annotated[NonNegative, Meta(description="a code is active above this magnitude")] = 0.0
    arrival: Annotated[Positive, Meta(description="when L0 should reach the target, without a fixed rate")] = 0.2
    unit: Annotated[Unit, Meta(description="of arrival")] = "fraction"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate is None and not self.damping:
            raise ValueError("TargetL0: damping is 0 and rate is None; expected a rate, or damping above 0")
        if self.unit == "fraction" and self.arrival > 1:
            raise ValueError(
                f"TargetL0: arrival is {self.arrival:g} in unit 'fraction'; expected at most 1, or unit 'step'"
            )

    def integral(self, step: int, level: float) -> float:
        """The integral part of a change of log weight, for `level` = e at `step`.

        Without a planned training, in which fractions and epochs have a length in steps, the steps left count as 300.
        """
        if self.rate is not None:
            return self.rate * level
        left = max(self.arrival - step, self.arrival / 4, RESPONSE) if self.unit == "step" else UNPLANNED
        return min(max(self.damping / left * level, -SLEW), SLEW)

    def build(self) -> TargetL0Module:
        return TargetL0Module(self)


class TargetL0Module(nn.Module):
    """The module of `TargetL0`; state: `log_factor` on the weight; `level`, the running mean of log(L0 / l0); `seen` steps."""

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
        """The factor on the penalty's weight."""
        return math.exp(float(self.log_factor))

    @property
    def reached(self) -> float:
        """The running mean of L0 on training samples; the target before the first step."""
        return self.spec.l0 * math.exp(float(self.level))

    def warnings(self, codes: Iterable[Float[Tensor, "_ k"]]) -> list[str]:
        """Warnings if the codes of a trained model, in blocks, miss the target, or if the weight has reached its limit."""
        results: list[str] = []
        active = [(int((z.abs() > self.spec.theta).sum()), len(z)) for z in codes]
        l0, wanted = sum(n for n, _ in active) / sum(rows for _, rows in active), self.spec.l0
        if abs(l0 - wanted) > TOLERANCE * wanted:
            results.append(
                f"target_l0 asks for {wanted:g} active codes per sample; the model has {l0:.4g}: {remedy(self.reached, wanted)}"
            )
        if abs(float(self.log_factor)) >= LIMIT:
            results.append(
                f"target_l0 has changed the penalty's weight by a factor of {self.factor:.0e}, its limit: the weight no longer "
                "changes L0; start from another weight, or choose another penalty"
            )
        return results

    @torch.no_grad()
    def move_(self, l0: float) -> None:
        """Update the weight after a step in which `l0` codes were active on average over the global batch."""
        now = math.log(max(l0, 0.1) / self.spec.l0)
        before = float(self.level) if int(self.seen) else now
        level = before + (now - before) / self.spec.memory
        change = level - before
        log_factor = float(self.log_factor) + self.spec.integral(int(self.seen), level) + self.spec.damping * change
        self.level.fill_(level)
        self.seen += 1
        self.log_factor.fill_(min(max(log_factor, -LIMIT), LIMIT))
