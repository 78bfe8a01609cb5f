"""The largest codes of a batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.nn.activations.base import ActivationModule, crowd, level_of
from sparsecode.nn.activations.topk import K, check_k
from sparsecode.ops.collective import gather_over_ranks, world_size
from sparsecode.ops.rng import Stream
from sparsecode.ops.score_blocks import Products
from sparsecode.ops.sparse_codes import select_above
from sparsecode.ops.sparse_layout import keep
from sparsecode.records import Code, SparseCode
from sparsecode.schedules import at
from sparsecode.specs import Spec

__all__ = ["BatchTopK", "BatchTopKModule"]

NEAR = 0.9  # of the threshold: that of one batch is rarely lower


class BatchTopK(Spec, tag="batch_topk"):
    """In training the k B largest pre-activations of the B samples of a batch, if positive; else all above a threshold.

    The threshold is the running mean (`decay` per step) of the smallest pre-activation that training kept, in float64.
    Source: Bussmann, Leask & Nanda, "BatchTopK sparse autoencoders", 2024.
    """

    k: K
    decay: Annotated[float, Meta(ge=0, lt=1, description="of the threshold's running mean, per step")] = 0.99
    calibrate: Annotated[
        bool,
        Meta(
            description="after training, set the threshold at which validation samples have k active codes on average"
        ),
    ] = True

    def build(self, n_code: int) -> BatchTopKModule:
        return BatchTopKModule(self, n_code)


class BatchTopKModule(ActivationModule):
    """The module of `BatchTopK`; its state is `threshold` and the number of steps it averages, `seen`."""

    def __init__(self, spec: BatchTopK, n_code: int) -> None:
        super().__init__()
        self.spec = spec
        check_k(spec.k, n_code)
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.threshold: Tensor
        self.seen: Tensor

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return pre * (pre > self.threshold)

    @property
    def wanted(self) -> float | None:
        return self.spec.k if self.spec.calibrate and isinstance(self.spec.k, float) else None

    def calibrate_(self, pre: Iterable[Float[Tensor, "b k"]], active: int) -> bool:
        self.threshold.fill_(max(level_of(pre, active), 0.0))
        return True

    def planned_l0(self, step: int) -> float:
        return at(self.spec.k, step)

    def present(self, pre: Float[Tensor, "b k"]) -> dict[str, float]:  # noqa: ARG002 - the contract
        """`threshold`."""
        return {"threshold": float(self.threshold)}

    @torch.no_grad()
    def observe_(self, least: Tensor) -> None:
        """Update the threshold's running mean with the smallest kept value of a batch; the first value sets it."""
        self.seen += 1
        rate = (1 / self.seen.double()).clamp(min=1 - self.spec.decay)  # tensors, so that it is part of traced graphs
        self.threshold += rate * (least.double() - self.threshold)

    def train_code(self, pre: Float[Tensor, "b k"], step: int, training: bool, rng: Stream | None = None) -> Code:  # noqa: ARG002 - the contract
        with torch.no_grad():
            wanted = round(at(self.spec.k, step) * len(pre) * world_size())
            flat = pre.detach().flatten()
            # the global batch's largest are among each process's largest
            largest = gather_over_ranks(flat.topk(min(wanted, flat.numel()), sorted=False).values)
            least = largest.topk(wanted, sorted=False).values.amin().clamp(min=0) if wanted else pre.new_tensor(0)
            if training:
                self.observe_(least)
        return Code(torch.where((pre >= least) & (pre > 0), pre, 0.0))

    def train_sparse(
        self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor, step: int, training: bool, products: Products
    ) -> SparseCode | None:
        if world_size() > 1 or not float(self.threshold):
            return None
        k = at(self.spec.k, step)
        guess = NEAR * float(self.threshold)
        code = select_above(
            x, weight, bias, centre, guess, products=products, most=max(4 * k, crowd(products) * len(weight))
        )
        wanted = round(k * len(x))
        if code is None or len(code.values) < wanted:
            return None
        least = code.values.detach().topk(wanted, sorted=False).values.amin()
        if training:
            self.observe_(least)
        return keep(code, code.values.detach() >= least)

    def infer_sparse(self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor) -> SparseCode | None:
        return select_above(x, weight, bias, centre, float(self.threshold), most=crowd("exact") * len(weight))
