"""Inhibition by the largest of a sample's rectified pre-activations: subtracted, switched on gradually, or of a learned number.

Source of the variants: Bricken et al., "Emergence of sparse representations from noise", ICML 2023, and the sparse
distributed memory it compares with; where their code differs from the paper, the docstrings state the choice made here.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.nn.activations.base import ActivationModule
from sparsecode.nn.activations.topk import K, ScheduledK, check_k
from sparsecode.ops.collective import sum_over_ranks
from sparsecode.ops.rng import Stream, drawn_rows
from sparsecode.records import Code
from sparsecode.specs import Count, Spec

__all__ = ["GABASwitch", "LearnedK", "SampledK", "SubtractTopK"]


def _least_of_top(x: Tensor, k: int) -> Tensor:
    """The k-th largest of each row [B, 1], without a gradient; 0 if there are fewer than k."""
    if k > x.shape[1]:
        return x.new_zeros(x.shape[0], 1)
    return x.detach().kthvalue(x.shape[1] - k + 1, dim=1, keepdim=True).values


class SubtractTopK(Spec, tag="subtract_topk"):
    """z = relu(relu(pre) - I), I the (k+1)-th largest of a sample's rectified pre-activations, held fixed.

    So k codes stay active. (Subtracting the k-th, as the paper's code does, leaves k - 1.) k may be a schedule: `Linear`, or
    `Exponential` with a `stop`, from all codes down to a few.
    """

    k: K

    def build(self, n_code: int) -> SubtractTopKModule:
        return SubtractTopKModule(self.k, n_code)


class SubtractTopKModule(ScheduledK):
    """The module of `SubtractTopK`; its state is `k` of the latest training step."""

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        x = torch.relu(pre)
        k = int(self.k) if self.traced is None else self.traced
        return torch.relu(x - _least_of_top(x, k + 1))

    def present(self, pre: Float[Tensor, "b k"]) -> dict[str, float]:
        """`k`, and `inhibition`: the mean over samples of I."""
        inhibition = _least_of_top(torch.relu(pre), int(self.k) + 1).double().mean()
        return {"k": float(self.k), "inhibition": float(inhibition)}

    def train_code(self, pre: Float[Tensor, "b k"], step: int, training: bool, rng: Stream | None = None) -> Code:  # noqa: ARG002
        x = torch.relu(pre)
        return Code(torch.relu(x - _least_of_top(x, self.advance_(step, training) + 1)))


class GABASwitch(Spec, tag="gaba_switch"):
    """z = relu(relu(pre) - g I), I the (k+1)-th largest, g_j = 2 c_j / C - 1 within [-1, 1]: inhibition that starts excitatory.

    c_j counts, over the training samples so far, how often code j was active (`active`), the sum of its values (`amount`)
    or how often a gradient reached it (`gradient`); C is `until` times the batch size. At c = 0 every code of a sample is
    raised by I, dead ones too; from c = C on this is `SubtractTopK`. Counts change in training alone. (In the paper's code
    they change in evaluation, too, and those of gradients never.) Source: the switch of GABA in young neurons, as modelled
    in Bricken et al., "Sparse distributed memory is a continual learner", ICLR 2023.
    """

    k: Count
    until: Annotated[
        float, Meta(gt=0, description="full batches of events, or of summed values, until inhibition is full")
    ] = 1000.0
    by: Literal["active", "amount", "gradient"] = "active"

    def build(self, n_code: int) -> GABASwitchModule:
        return GABASwitchModule(self, n_code)


class GABASwitchModule(ActivationModule):
    """The module of `GABASwitch`; its state is `counts` [n_code] and `batch`, the size of the global batch."""

    competes = True

    def __init__(self, spec: GABASwitch, n_code: int) -> None:
        super().__init__()
        check_k(spec.k, n_code)
        self.spec = spec
        self.register_buffer("counts", torch.zeros(n_code, dtype=torch.float64))
        self.register_buffer("batch", torch.ones((), dtype=torch.float64))
        self.counts: Tensor
        self.batch: Tensor

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        x = torch.relu(pre)
        return torch.relu(x - self.gate.to(pre.dtype) * _least_of_top(x, self.spec.k + 1))

    @property
    def gate(self) -> Float[Tensor, " k"]:
        """g, in float64."""
        return (2 * self.counts / (self.spec.until * self.batch) - 1).clamp(-1, 1)

    def present(self, pre: Float[Tensor, "b k"]) -> dict[str, float]:
        """`gate`: the mean of g over units; `gate_inhibits`: share of units with g > 0; `inhibition`: mean over samples and units of g_j I."""
        inhibition = _least_of_top(torch.relu(pre), self.spec.k + 1).double().mean() * self.gate.mean()
        inhibiting = (self.gate > 0).double().mean()
        return {
            "gate": float(self.gate.mean()),
            "gate_inhibits": float(inhibiting),
            "inhibition": float(inhibition),
        }

    def train_code(self, pre: Float[Tensor, "b k"], step: int, training: bool, rng: Stream | None = None) -> Code:  # noqa: ARG002
        if training:
            self.batch.copy_(sum_over_ranks(torch.tensor(float(len(pre)), dtype=torch.float64, device=pre.device)))
        z = self.shape(pre)
        if training and self.spec.by == "gradient" and z.requires_grad:
            z.register_hook(lambda grad: self._count_((grad != 0) & (z.detach() > 0)))
        elif training and self.spec.by != "gradient":
            self._count_(z.detach() > 0 if self.spec.by == "active" else z.detach())
        return Code(z)

    @torch.no_grad()
    def _count_(self, events: Tensor) -> None:
        self.counts += sum_over_ranks(events.sum(dim=0, dtype=torch.float64))


class LearnedK(Spec, tag="learned_k"):
    """The largest rectified pre-activations of a sample, softly cut at a learned rank k.

    z = x times a weight by rank r = 1, 2, ...: sigmoid(20 (k + 1/2 - r) / window) within `window` ranks about k, 1 above
    and 0 below. The weights are differentiable with respect to k; k is clamped to [1, n_code].
    """

    start: Annotated[float, Meta(ge=1, description="k at the start")] = 10.0
    window: Annotated[float, Meta(gt=0, le=1, description="as a share of all codes")] = 0.1

    def build(self, n_code: int) -> LearnedKModule:
        return LearnedKModule(self, n_code)


class LearnedKModule(ActivationModule):
    """The module of `LearnedK`, with the parameter `k`."""

    competes = True

    def __init__(self, spec: LearnedK, n_code: int) -> None:
        super().__init__()
        check_k(spec.start, n_code)
        self.n_code, self.width = n_code, max(2, round(spec.window * n_code))
        self.k = nn.Parameter(torch.tensor(spec.start))

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        k = self.k.clamp(1, self.n_code)
        most = min(self.n_code, math.ceil(float(k.detach()) + self.width / 2))
        values, places = torch.relu(pre).topk(most, dim=1)
        rank = torch.arange(1, most + 1, device=pre.device, dtype=pre.dtype)
        soft = torch.sigmoid(20 * (k + 0.5 - rank) / self.width)
        weight = torch.where(rank <= k.detach() - self.width / 2, torch.ones_like(soft), soft)
        return torch.zeros_like(pre).scatter(1, places, values * weight)

    def present(self, pre: Float[Tensor, "b k"]) -> dict[str, float]:  # noqa: ARG002 - the contract
        """`k`."""
        return {"k": float(self.k.detach())}

    @torch.no_grad()
    def constrain_(self) -> None:
        self.k.clamp_(1, self.n_code)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"k": [self.k]}


class SampledK(Spec, tag="sampled_k"):
    """The k largest rectified pre-activations, log k drawn per sample from a normal distribution with learned parameters.

    `Code.logp` is the log density of the draw, for REINFORCE: the model adds (loss_i - mean of the others' losses) log p_i, and k
    falls if the loss grows with it. (The paper's code has the sign reversed, and no baseline.) Inference uses the mean of log k;
    the standard deviation is learned as its logarithm. Source: Williams, Machine Learning 1992.
    """

    start: Annotated[float, Meta(ge=1, description="k at the mean of log k, at the start")] = 400.0
    deviation: Annotated[float, Meta(gt=0, description="standard deviation of log k at the start")] = 0.5
    provides = ("zeros", "logp")

    def build(self, n_code: int) -> SampledKModule:
        return SampledKModule(self, n_code)


class SampledKModule(ActivationModule):
    """The module of `SampledK`; parameters: `mean` and log standard deviation `log_deviation` of log k."""

    competes = True

    def __init__(self, spec: SampledK, n_code: int) -> None:
        super().__init__()
        check_k(spec.start, n_code)
        self.n_code = n_code
        self.mean = nn.Parameter(torch.tensor(math.log(spec.start)))
        self.log_deviation = nn.Parameter(torch.tensor(math.log(spec.deviation)))

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return self._kept(pre, self._rounded(self.mean.detach()).expand(pre.shape[0]))

    def train_code(self, pre: Float[Tensor, "b k"], step: int, training: bool, rng: Stream | None = None) -> Code:
        if rng is None or not training:
            return super().train_code(pre, step, training)
        drawn = drawn_rows(pre, (), rng("k"), "normal")
        deviation = self.log_deviation.exp()
        log_k = (self.mean + deviation * drawn).detach()
        logp = -((log_k - self.mean) / deviation).square() / 2 - self.log_deviation
        return Code(self._kept(pre, self._rounded(log_k)), logp=logp)

    def present(self, pre: Float[Tensor, "b k"]) -> dict[str, float]:  # noqa: ARG002 - the contract
        """`k` at the mean of log k, and `k_deviation`: the standard deviation of log k."""
        return {"k": float(self.mean.detach().exp()), "k_deviation": float(self.log_deviation.detach().exp())}

    def _rounded(self, log_k: Tensor) -> Tensor:
        return log_k.clamp(0, math.log(self.n_code)).exp().round().long()

    def _kept(self, pre: Tensor, k: Tensor) -> Tensor:
        x = torch.relu(pre)
        ordered, places = x.sort(dim=1, descending=True)
        keep = torch.arange(x.shape[1], device=x.device) < k[:, None]
        return torch.zeros_like(x).scatter(1, places, ordered * keep)

    @torch.no_grad()
    def constrain_(self) -> None:
        self.mean.clamp_(0, math.log(self.n_code))
        self.log_deviation.clamp_(math.log(0.01), math.log(3.0))  # outside, draws carry no information about the mean

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"k": [self.mean, self.log_deviation]}
