"""Terms with a weight that may be scheduled, or adapted to a target number of active codes."""

from __future__ import annotations

from typing import Annotated

import torch
from msgspec import Meta
from msgspec.structs import replace
from torch import Tensor

from sparsecode.losses.target_l0 import TargetL0
from sparsecode.losses.term import CodeBlocks, Forward, TermModule, TrainingTerm
from sparsecode.nn.activations import ActivationModule
from sparsecode.ops.collective import mean_over_ranks
from sparsecode.schedules import PositiveSchedule, at

__all__ = ["Weighted", "WeightedTerm"]


class Weighted(TrainingTerm, kw_only=True):
    """The weight of a term; with `target_l0`, the initial weight of the controller."""

    weight: Annotated[PositiveSchedule, Meta(description="penalty weight beside |.|^2")] = 1.0
    target_l0: Annotated[TargetL0 | None, Meta(description="adapt the weight until that many codes are active")] = None
    calibrate: Annotated[
        bool,
        Meta(description="after training, set thresholds at which validation samples have target_l0.l0 active codes"),
    ] = True

    @property
    def needs(self) -> dict[str, str]:
        """Codes that are never 0 are all active, unless the target says above which magnitude."""
        return {"zeros": "target_l0"} if self.target_l0 is not None and not self.target_l0.theta else {}

    def obstacle(self) -> str | None:
        """The reason why models with this term cannot be trained in a stack; None if they can."""
        return "is not a sum over single samples"

    def common(self) -> Weighted:
        """The part of this config that members of a stack share."""
        return replace(self, weight=1.0, calibrate=True)


class WeightedTerm(TermModule):
    """The module of `Weighted`: `weight` of the latest training step, and its controller `control`."""

    def __init__(self, spec: Weighted) -> None:
        super().__init__()
        self.spec = spec
        self.control = spec.target_l0 and spec.target_l0.build()
        self.theta = 0.0 if spec.target_l0 is None else spec.target_l0.theta
        self.register_buffer("weight", torch.tensor(at(spec.weight, 0), dtype=torch.float64))
        self.weight: Tensor

    @property
    def part(self) -> str:
        return "penalty"

    @property
    def wanted(self) -> float | None:
        return self.control.spec.l0 if self.control is not None and self.spec.calibrate else None

    def cost(self, forward: Forward) -> Tensor:
        """The unweighted value, averaged over the batch."""
        raise NotImplementedError

    def value(self, forward: Forward) -> Tensor:
        cost = self.cost(forward)
        return self.weigh_(forward.step, forward.training) * cost

    def weigh_(self, step: int, training: bool = True) -> float:
        """The weight at a step; stored in training."""
        weight = at(self.spec.weight, step) * (1.0 if self.control is None else self.control.factor)
        if training:
            self.weight.fill_(weight)
        return weight

    def observe_(self, forward: Forward) -> None:
        if self.control is not None:
            self.control.move_(float(mean_over_ranks(forward.l0)))

    def stats(self) -> dict[str, Tensor]:
        return {} if self.control is None else {"weight": self.weight.clone()}

    def warnings(self, blocks: CodeBlocks, activation: ActivationModule) -> list[str]:  # noqa: ARG002 - the contract
        return [] if self.control is None else self.control.warnings(z for z, _ in blocks())
