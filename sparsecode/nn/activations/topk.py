"""The largest codes of a sample."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.nn.activations.base import ActivationModule
from sparsecode.ops.rng import Stream
from sparsecode.ops.score_blocks import Products
from sparsecode.ops.sparse_codes import select_top
from sparsecode.records import Code, SparseCode
from sparsecode.schedules import Schedule, at
from sparsecode.specs import Spec

__all__ = ["K", "ScheduledK", "TopK", "check_k", "top_k"]

TOP_CROWD = 512  # entries per sample above which dense codes are faster

K = Annotated[Annotated[float, Meta(ge=1)] | Schedule, Meta(description="active codes per sample")]


def top_k(pre: Float[Tensor, "b k"], k: int) -> Float[Tensor, "b k"]:
    """The k largest entries of each row, negative ones set to 0; the others are 0."""
    values, at_ = pre.topk(min(k, pre.shape[1]), dim=1, sorted=False)
    return torch.zeros_like(pre).scatter(1, at_, torch.relu(values))


class TopK(Spec, tag="topk"):
    """The k largest pre-activations of each sample, if positive.

    k is rounded, at every step if it is a schedule; codes are inferred with the k of the latest training step.
    Source: Makhzani & Frey, ICLR 2014; Gao et al., "Scaling and evaluating sparse autoencoders", 2024.
    """

    k: K

    def build(self, n_code: int) -> TopKModule:
        return TopKModule(self.k, n_code)


class ScheduledK(ActivationModule):
    """Base class of activations with a scheduled number of active codes; its state is `k` of the latest training step."""

    competes = True

    def __init__(self, k: float | Schedule, n_code: int) -> None:
        super().__init__()
        check_k(k, n_code)
        self.plan = k
        self.register_buffer("k", torch.tensor(round(at(k, 0))))
        self.k: Tensor

    def advance_(self, step: int, training: bool) -> int:
        """The k of this step, stored if `training`."""
        k = round(at(self.plan, step))
        if training:
            self.k.fill_(k)
        return k

    @property
    def traced(self) -> int | None:
        """k for a graph that is traced, whose sizes cannot depend on a buffer, where it is no schedule; else None."""
        if isinstance(self.plan, int | float) and torch.compiler.is_compiling():
            return round(self.plan)
        return None

    def planned_l0(self, step: int) -> float:
        return round(at(self.plan, step))

    def present(self, pre: Float[Tensor, "b k"]) -> dict[str, float]:  # noqa: ARG002 - the contract
        """`k`."""
        return {"k": float(self.k)}


class TopKModule(ScheduledK):
    """The module of `TopK`."""

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        if self.traced is not None:
            return top_k(pre, self.traced)
        if torch.compiler.is_compiling():
            ranks = pre.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
            return torch.where(ranks < self.k, torch.relu(pre), 0.0)
        return top_k(pre, int(self.k))

    def train_code(self, pre: Float[Tensor, "b k"], step: int, training: bool, rng: Stream | None = None) -> Code:  # noqa: ARG002 - the contract
        return Code(top_k(pre, self.advance_(step, training)))

    def train_sparse(
        self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor, step: int, training: bool, products: Products
    ) -> SparseCode | None:
        k = self.advance_(step, training)
        return None if k > TOP_CROWD else select_top(x, weight, bias, centre, k, products=products)

    def infer_sparse(self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor) -> SparseCode | None:
        k = int(self.k)
        return None if k > TOP_CROWD else select_top(x, weight, bias, centre, k)


def check_k(k: float | Schedule, n_code: int) -> None:
    """Raise ValueError for a k, or one that a schedule reaches, that is not 1 to n_code."""
    for number in (k,) if isinstance(k, int | float) else k.extremes():
        if not 1 <= round(number) <= n_code:
            raise ValueError(f"activation.k reaches {number:g}; expected 1 to the number of codes, {n_code}")
