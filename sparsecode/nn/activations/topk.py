"""The largest codes of a sample, or of a batch."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.nn.activations.base import CROWD, ActivationModule, level_of
from sparsecode.ops.collective import gather_over_ranks, world_size
from sparsecode.ops.rng import Stream
from sparsecode.ops.sparse_codes import Products, select_above, select_top
from sparsecode.ops.sparse_layout import keep
from sparsecode.records import Code, SparseCode
from sparsecode.schedules import Schedule, at
from sparsecode.specs import Spec

__all__ = ["BatchTopK", "BatchTopKModule", "K", "ScheduledK", "TopK", "check_k", "top_k"]

TOP_CROWD = 512  # entries per sample above which dense codes are faster
NEAR = 0.9  # of BatchTopK's threshold: that of one batch is rarely lower

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


class TopKModule(ScheduledK):
    """The module of `TopK`."""

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return top_k(pre, int(self.k))

    def train_code(self, pre: Float[Tensor, "b k"], step: int, training: bool, rng: Stream | None = None) -> Code:  # noqa: ARG002 - the contract
        return Code(top_k(pre, self.advance_(step, training)))

    def train_sparse(
        self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor, step: int, training: bool, products: Products
    ) -> SparseCode | None:
        k = self.advance_(step, training)
        return None if k > TOP_CROWD else select_top(x, weight, bias, centre, k, products=products)


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

    def calibrate_(self, pre: Float[Tensor, "b k"], l0: float) -> bool:
        self.threshold.fill_(max(level_of(pre, l0), 0.0))
        return True

    @torch.no_grad()
    def observe_(self, least: Tensor) -> None:
        """Update the threshold's running mean with the smallest kept value of a batch; the first value sets it."""
        self.seen += 1
        rate = max(1 - self.spec.decay, 1 / float(self.seen))
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
            x, weight, bias, centre, guess, products=products, most=max(4 * k, CROWD[products] * len(weight))
        )
        wanted = round(k * len(x))
        if code is None or len(code.values) < wanted:
            return None
        least = code.values.detach().topk(wanted, sorted=False).values.amin()
        if training:
            self.observe_(least)
        return keep(code, code.values.detach() >= least)


def check_k(k: float | Schedule, n_code: int) -> None:
    """Raise ValueError for a k, or one that a schedule reaches, that is not 1 to n_code."""
    for number in (k,) if isinstance(k, int | float) else k.extremes():
        if not 1 <= round(number) <= n_code:
            raise ValueError(f"activation.k reaches {number:g}; expected 1 to the number of codes, {n_code}")
