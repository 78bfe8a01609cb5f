"""What every activation offers."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from sparsecode.ops.sparse_codes import Products
from sparsecode.ops.streams import Stream
from sparsecode.types import Code, SparseCode

__all__ = ["CROWD", "ActivationLike", "ActivationModule", "level_of"]

CROWD: dict[Products, float] = {"exact": 1 / 12, "bf16": 1 / 60}
"""Entries per sample, as a share of all codes, above which dense codes are faster."""


class ActivationModule(nn.Module):
    """Without weights: z = shape(pre), entry by entry."""

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        raise NotImplementedError

    def train_code(self, pre: Float[Tensor, "b k"], step: int, moving: bool, rng: Stream | None = None) -> Code:  # noqa: ARG002 - the contract
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
        moving: bool,
        products: Products,
    ) -> SparseCode | None:
        """What `train_code` gives for pre = (x - centre) W^T + b, without its zeros; None if that is not sparse."""
        del x, weight, bias, centre, step, moving, products

    def drive(self, pre: Float[Tensor, "b n"], rows: Int[Tensor, " n"]) -> Float[Tensor, "b n"]:  # noqa: ARG002 - the contract
        """What decides whether these codes fire: positive ones are, or are nearest to, active."""
        return pre

    @property
    def wanted(self) -> float | None:
        """The mean number of active codes that thresholds are to be moved to after training, if there is one."""
        return None

    def calibrate_(self, pre: Float[Tensor, "b k"], l0: float) -> bool:  # noqa: ARG002 - the contract
        """Move thresholds so that l0 of these pre-activations per sample are active on average; whether there are thresholds."""
        return False

    def level(self, like: Float[Tensor, " k"]) -> tuple[Float[Tensor, " k"], float] | None:  # noqa: ARG002 - the contract
        """If z = pre where pre > level, else 0: the level, and the width within which it learns."""
        return None

    def constrain_(self) -> None:
        """Keep weights within their range, after each optimiser step."""

    def revive_(self, rows: Int[Tensor, " n"]) -> None:
        """Forget what was learned for these codes."""

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {}


@runtime_checkable
class ActivationLike(Protocol):
    """What an activation must have: `build` gives a module for so many codes, of which `shape` is enough."""

    def build(self, n_code: int) -> ActivationModule: ...


def level_of(values: Float[Tensor, "b k"], l0: float) -> float:
    """Halfway between the l0 B largest of the values and the next one."""
    wanted = round(l0 * len(values))
    largest = values.flatten().topk(min(wanted + 1, values.numel())).values.double()
    return float(largest[-2:].mean())
