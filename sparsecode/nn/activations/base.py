"""The base class and the protocol of activations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sparsecode.ops.rng import Stream
from sparsecode.ops.score_blocks import Products, bf16_is_fast
from sparsecode.records import Code, SparseCode

__all__ = ["ActivationLike", "ActivationModule", "crowd", "level_of"]


def crowd(products: Products) -> float:
    """The number of entries per sample, as a share of all codes, above which dense codes are faster."""
    return 1 / 12 if products == "exact" or not bf16_is_fast() else 1 / 60


class ActivationModule(nn.Module):
    """Base class; by default an elementwise function without weights, z = shape(pre).

    `competes`: whether the code of a unit depends on other units' pre-activations.
    """

    competes = False

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        raise NotImplementedError

    def train_code(self, pre: Float[Tensor, "b k"], step: int, training: bool, rng: Stream | None = None) -> Code:  # noqa: ARG002 - the contract
        return Code(self.shape(pre))

    def infer(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return self.shape(pre)

    def train_sparse(
        self,
        x: Float[Tensor, "b f"],
        weight: Float[Tensor, "k f"],
        bias: Float[Tensor, " k"],
        centre: Float[Tensor, " f"],
        step: int,
        training: bool,
        products: Products,
    ) -> SparseCode | None:
        """The result of `train_code` for pre = (x - centre) W^T + b, without zeros; None if the codes are not sparse."""
        del x, weight, bias, centre, step, training, products

    def infer_sparse(
        self,
        x: Float[Tensor, "b f"],
        weight: Float[Tensor, "k f"],
        bias: Float[Tensor, " k"],
        centre: Float[Tensor, " f"],
    ) -> SparseCode | None:
        """The result of `infer` for pre = (x - centre) W^T + b, without zeros; None if the codes are not sparse."""
        del x, weight, bias, centre

    def planned_l0(self, step: int) -> float | None:  # noqa: ARG002 - the contract
        """The mean number of active codes per sample at a step, of activations that set it; None otherwise."""
        return None

    def drive(self, pre: Float[Tensor, "b n"], rows: Int[Tensor, " n"]) -> Float[Tensor, "b n"]:  # noqa: ARG002 - the contract
        """The quantity [B, n] that decides whether codes `rows` fire: where it is positive, a code is active or closest to it."""
        return pre

    @property
    def wanted(self) -> float | None:
        """The mean number of active codes per sample that thresholds are calibrated to after training; None for no calibration."""
        return None

    def calibrate_(self, pre: Iterable[Float[Tensor, "b k"]], active: int) -> bool:  # noqa: ARG002 - the contract
        """Set thresholds so that `active` of all pre-activations in these blocks are active; returns whether thresholds exist."""
        return False

    def present(self, pre: Float[Tensor, "b k"]) -> dict[str, float]:  # noqa: ARG002 - the contract
        """The present values, by name, of what a schedule or training changes in how pre-activations become codes: the number k
        of active codes, a gate, the amount of inhibition for these pre-activations; none by default.
        """
        return {}

    def level(self, like: Float[Tensor, " k"]) -> tuple[Float[Tensor, " k"], float] | None:  # noqa: ARG002 - the contract
        """Threshold [k] and bandwidth of its gradient estimate, for z = pre where pre > threshold, else 0; None otherwise."""
        return None

    def constrain_(self) -> None:
        """Keep weights within their range, after each optimiser step."""

    def revive_(self, rows: Int[Tensor, " n"]) -> None:
        """Reset the weights of codes `rows` to their initial values."""

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {}


@runtime_checkable
class ActivationLike(Protocol):
    """The protocol of an activation: `build` returns a module for `n_code` codes, which needs to define only `shape`."""

    def build(self, n_code: int) -> ActivationModule: ...


def level_of(blocks: Iterable[Float[Tensor, "b k"]], n: int) -> float:
    """Halfway between the n largest values in all blocks and the next one; of no more than n values, of the two least."""
    largest: Tensor | None = None
    for block in blocks:
        values = block.flatten() if largest is None else torch.cat([largest, block.flatten()])
        largest = values.topk(min(n + 1, len(values)), sorted=False).values
    if largest is None:
        raise ValueError("blocks is empty; expected at least one block of values")
    return float(largest.topk(min(2, len(largest)), largest=False).values.double().mean())
