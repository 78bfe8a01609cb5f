"""Elementwise activations: ReLU, sigmoid, clamp to [0, 1], JumpReLU and gated."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

import torch
from jaxtyping import Float, Int
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.nn.activations.base import ActivationModule, crowd, level_of
from sparsecode.ops.rng import Stream
from sparsecode.ops.score_blocks import Products
from sparsecode.ops.sparse_codes import select_above
from sparsecode.ops.straight_through import above, jump_relu
from sparsecode.records import Code, SparseCode
from sparsecode.specs import Spec

__all__ = ["Gated", "JumpReLU", "JumpReLUModule", "ReLU", "Satlin", "Sigmoid"]


class ReLU(Spec, tag="relu"):
    """z = max(pre, 0)."""

    provides = ("zeros", "rectified")

    def build(self, n_code: int) -> ActivationModule:  # noqa: ARG002 - the contract
        return ReLUModule()


class ReLUModule(ActivationModule):
    """The module of `ReLU`."""

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return torch.relu(pre)

    def level(self, like: Float[Tensor, " k"]) -> tuple[Float[Tensor, " k"], float] | None:
        return torch.zeros_like(like), 0.0

    def train_sparse(
        self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor, step: int, training: bool, products: Products
    ) -> SparseCode | None:
        del step, training
        return select_above(x, weight, bias, centre, 0.0, products=products, most=crowd(products) * len(weight))

    def infer_sparse(self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor) -> SparseCode | None:
        return select_above(x, weight, bias, centre, 0.0, most=crowd("exact") * len(weight))


class Sigmoid(Spec, tag="sigmoid"):
    """z = 1 / (1 + exp(-pre)): never zero; counts of active codes need a level `theta`."""

    provides = ("bounded",)

    def build(self, n_code: int) -> ActivationModule:  # noqa: ARG002 - the contract
        return SigmoidModule()


class SigmoidModule(ActivationModule):
    """The module of `Sigmoid`."""

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return torch.sigmoid(pre)


class Satlin(Spec, tag="satlin"):
    """z = min(max(pre, 0), 1): exact zeros, and no gradient outside [0, 1]. Named as in MATLAB."""

    provides = ("zeros", "bounded")

    def build(self, n_code: int) -> ActivationModule:  # noqa: ARG002 - the contract
        return SatlinModule()


class SatlinModule(ActivationModule):
    """The module of `Satlin`."""

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return pre.clamp(0, 1)


class JumpReLU(Spec, tag="jumprelu"):
    """z_j = pre_j where pre_j > threshold_j > 0, else 0; log threshold_j is learned.

    Gradients with respect to the threshold are straight-through estimates within `bandwidth` / 2 of it. Source: Rajamanoharan et al., "Jumping
    Ahead: improving reconstruction fidelity with JumpReLU sparse autoencoders", 2024.
    """

    threshold: Annotated[float, Meta(gt=0, description="at the start")] = 0.01
    bandwidth: Annotated[float, Meta(gt=0, description="in units of the pre-activations")] = 0.05
    provides = ("zeros", "indicator")

    def build(self, n_code: int) -> JumpReLUModule:
        return JumpReLUModule(self, n_code)


class JumpReLUModule(ActivationModule):
    """The module of `JumpReLU`, with the parameter `log_threshold` [n_code]."""

    def __init__(self, spec: JumpReLU, n_code: int) -> None:
        super().__init__()
        self.spec = spec
        self.log_threshold = nn.Parameter(torch.full((n_code,), math.log(spec.threshold)))

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return pre * (pre > self.log_threshold.exp())

    def train_code(self, pre: Float[Tensor, "b k"], step: int, training: bool, rng: Stream | None = None) -> Code:  # noqa: ARG002 - the contract
        threshold, width = self.log_threshold.exp(), self.spec.bandwidth
        return Code(jump_relu(pre, threshold, width), active=above(pre, threshold, width))

    def level(self, like: Float[Tensor, " k"]) -> tuple[Float[Tensor, " k"], float]:  # noqa: ARG002 - the contract
        return self.log_threshold.exp(), self.spec.bandwidth

    def train_sparse(
        self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor, step: int, training: bool, products: Products
    ) -> SparseCode | None:
        del step, training
        threshold, width = self.level(bias)
        level = threshold.detach() - width / 2  # the lower end of the window in which thresholds have a gradient
        code = select_above(x, weight, bias, centre, level, products=products, most=crowd(products) * len(weight))
        if code is None:
            return None
        thresholds = threshold[code.indices]
        values = jump_relu(code.values, thresholds, width)
        return code._replace(values=values, active=above(code.values, thresholds, width))

    def infer_sparse(self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor) -> SparseCode | None:
        threshold = self.log_threshold.detach().exp()
        return select_above(x, weight, bias, centre, threshold, most=crowd("exact") * len(weight))

    @torch.no_grad()
    def calibrate_(self, pre: Iterable[Float[Tensor, "b k"]], active: int) -> bool:
        """All thresholds by one factor."""
        factor = level_of((block / self.log_threshold.exp() for block in pre), active)
        if factor > 0:
            self.log_threshold.add_(math.log(factor))
        return True

    def near(self, pre: Float[Tensor, "b k"]) -> int:
        """The number of pre-activations within bandwidth / 2 of their threshold, which give it a gradient."""
        return int(((pre - self.log_threshold.exp()).abs() < self.spec.bandwidth / 2).sum())

    @torch.no_grad()
    def revive_(self, rows: Int[Tensor, " n"]) -> None:
        self.log_threshold[rows] = math.log(self.spec.threshold)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"threshold": [self.log_threshold]}


class Gated(Spec, tag="gated"):
    """z = max(exp(r) pre + m, 0) where pre + g > 0, else 0: separate biases decide whether and how strongly a code is active.

    Penalties act on max(pre + g, 0); to train the gate, the model adds the error of the reconstruction from it with the
    decoder held fixed. The encoder has no bias. Source: Rajamanoharan et al., "Improving
    dictionary learning with gated sparse autoencoders", 2024, sections 3.2 and 3.3.
    """

    provides = ("zeros", "gate")
    needs = ("no_bias", "atoms", "linear", "regression")

    def build(self, n_code: int) -> GatedModule:
        return GatedModule(n_code)


class GatedModule(ActivationModule):
    """The module of `Gated`; parameters [n_code] each: `gate_bias` g, `mag_bias` m, `r_mag` r."""

    def __init__(self, n_code: int) -> None:
        super().__init__()
        self.gate_bias = nn.Parameter(torch.zeros(n_code))
        self.mag_bias = nn.Parameter(torch.zeros(n_code))
        self.r_mag = nn.Parameter(torch.zeros(n_code))

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return torch.relu(pre * self.r_mag.exp() + self.mag_bias) * (pre + self.gate_bias > 0)

    def train_code(self, pre: Float[Tensor, "b k"], step: int, training: bool, rng: Stream | None = None) -> Code:  # noqa: ARG002 - the contract
        return Code(self.shape(pre), gate=torch.relu(pre + self.gate_bias))

    def drive(self, pre: Float[Tensor, "b n"], rows: Int[Tensor, " n"]) -> Float[Tensor, "b n"]:
        return pre + self.gate_bias[rows]

    @torch.no_grad()
    def calibrate_(self, pre: Iterable[Float[Tensor, "b k"]], active: int) -> bool:
        """Shift all gate biases by one number."""
        shown = (
            (block + self.gate_bias).masked_fill(block * self.r_mag.exp() + self.mag_bias <= 0, -torch.inf)
            for block in pre
        )
        level = level_of(shown, active)
        if math.isfinite(level):
            self.gate_bias.sub_(level)
        return True

    @torch.no_grad()
    def revive_(self, rows: Int[Tensor, " n"]) -> None:
        for bias in (self.gate_bias, self.mag_bias, self.r_mag):
            bias[rows] = 0.0

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"gate": [self.gate_bias], "magnitude": [self.mag_bias, self.r_mag]}
