"""From pre-activations to codes: what makes an encoder's code sparse.

The contract: `train(pre, step, moving)` gives the differentiable `Code` of a training step, and moves state only if
`moving`; `infer(pre)` gives codes row by row from buffers and weights alone.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float, Int
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.ops.collective import gather_over_ranks, world_size
from sparsecode.ops.sparse_codes import Products, keep, select_above, select_top
from sparsecode.ops.straight_through import above, jump_relu
from sparsecode.schedules import Schedule, at
from sparsecode.specs import Spec
from sparsecode.types import Code, SparseCode

__all__ = [
    "Activation",
    "ActivationModule",
    "BatchTopK",
    "Gated",
    "JumpReLU",
    "JumpReLUModule",
    "ReLU",
    "Satlin",
    "Sigmoid",
    "TopK",
    "top_k",
]

# entries per sample above which dense codes are faster
TOP_CROWD = 512
CROWD: dict[Products, float] = {"exact": 1 / 12, "bf16": 1 / 60}  # of all codes
NEAR = 0.9  # of BatchTopK's threshold: a batch's own is rarely lower

K = Annotated[Annotated[float, Meta(ge=1)] | Schedule, Meta(description="active codes per sample")]


class ActivationModule(nn.Module):
    """Without weights: z = shape(pre), entry by entry."""

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        raise NotImplementedError

    def train_code(self, pre: Float[Tensor, "b k"], step: int, moving: bool) -> Code:  # noqa: ARG002 - the contract
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

    def calibrate_(self, pre: Float[Tensor, "b k"], l0: float) -> None:
        """Move thresholds, if there are any, so that l0 of these pre-activations per sample are active on average."""

    def level(self, like: Float[Tensor, " k"]) -> tuple[Float[Tensor, " k"], float] | None:  # noqa: ARG002 - the contract
        """If z = pre where pre > level, else 0: the level, and the width within which it learns."""
        return None

    def revive_(self, rows: Int[Tensor, " n"]) -> None:
        """Forget what was learned for these codes."""

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {}


class ReLU(Spec, tag="relu"):
    """z = max(pre, 0)."""

    def build(self, n_code: int) -> ActivationModule:  # noqa: ARG002 - the contract
        return ReLUModule()


class ReLUModule(ActivationModule):
    """Of a `ReLU`."""

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return torch.relu(pre)

    def level(self, like: Float[Tensor, " k"]) -> tuple[Float[Tensor, " k"], float] | None:
        return torch.zeros_like(like), 0.0

    def train_sparse(
        self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor, step: int, moving: bool, products: Products
    ) -> SparseCode | None:
        del step, moving
        return select_above(x, weight, bias, centre, 0.0, products=products, most=CROWD[products] * len(weight))


class Sigmoid(Spec, tag="sigmoid"):
    """z = 1 / (1 + exp(-pre)): never zero, so that counts of active codes need a level `theta`."""

    def build(self, n_code: int) -> ActivationModule:  # noqa: ARG002 - the contract
        return SigmoidModule()


class SigmoidModule(ActivationModule):
    """Of a `Sigmoid`."""

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return torch.sigmoid(pre)


class Satlin(Spec, tag="satlin"):
    """z = min(max(pre, 0), 1): true zeros, and no gradient outside [0, 1]. The name is MATLAB's."""

    def build(self, n_code: int) -> ActivationModule:  # noqa: ARG002 - the contract
        return SatlinModule()


class SatlinModule(ActivationModule):
    """Of a `Satlin`."""

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return pre.clamp(0, 1)


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
        return TopKModule(self, n_code)


class TopKModule(ActivationModule):
    """State of a `TopK`: the `k` of the latest step."""

    def __init__(self, spec: TopK, n_code: int) -> None:
        super().__init__()
        self.spec = spec
        _check_k(spec.k, n_code)
        self.register_buffer("k", torch.tensor(round(at(spec.k, 0))))
        self.k: Tensor

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return top_k(pre, int(self.k))

    def advance_(self, step: int, moving: bool) -> int:
        """The k of this step."""
        k = round(at(self.spec.k, step))
        if moving:
            self.k.fill_(k)
        return k

    def train_code(self, pre: Float[Tensor, "b k"], step: int, moving: bool) -> Code:
        return Code(top_k(pre, self.advance_(step, moving)))

    def train_sparse(
        self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor, step: int, moving: bool, products: Products
    ) -> SparseCode | None:
        k = self.advance_(step, moving)
        return None if k > TOP_CROWD else select_top(x, weight, bias, centre, k, products=products)


class BatchTopK(Spec, tag="batch_topk"):
    """In training the k B largest pre-activations of the B samples of a batch, if positive; else all above a threshold.

    The threshold is the running mean (`decay` per step) of the smallest pre-activation that training kept, in float64.
    Source: Bussmann, Leask & Nanda, "BatchTopK sparse autoencoders", 2024.
    """

    k: K
    decay: Annotated[float, Meta(ge=0, lt=1, description="of the threshold's running mean, per step")] = 0.99

    def build(self, n_code: int) -> BatchTopKModule:
        return BatchTopKModule(self, n_code)


class BatchTopKModule(ActivationModule):
    """State of a `BatchTopK`: `threshold`, and the `seen` steps it is the mean of."""

    def __init__(self, spec: BatchTopK, n_code: int) -> None:
        super().__init__()
        self.spec = spec
        _check_k(spec.k, n_code)
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.threshold: Tensor
        self.seen: Tensor

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return pre * (pre > self.threshold)

    def calibrate_(self, pre: Float[Tensor, "b k"], l0: float) -> None:
        self.threshold.fill_(max(_level(pre, l0), 0.0))

    @torch.no_grad()
    def observe_(self, least: Tensor) -> None:
        """Take the smallest kept value of a batch into the threshold; the first counts whole."""
        self.seen += 1
        rate = max(1 - self.spec.decay, 1 / float(self.seen))
        self.threshold += rate * (least.double() - self.threshold)

    def train_code(self, pre: Float[Tensor, "b k"], step: int, moving: bool) -> Code:
        with torch.no_grad():
            wanted = round(at(self.spec.k, step) * len(pre) * world_size())
            flat = pre.detach().flatten()
            # the global batch's largest are among each process's largest
            largest = gather_over_ranks(flat.topk(min(wanted, flat.numel()), sorted=False).values)
            least = largest.topk(wanted, sorted=False).values.amin().clamp(min=0) if wanted else pre.new_tensor(0)
            if moving:
                self.observe_(least)
        return Code(torch.where((pre >= least) & (pre > 0), pre, 0.0))

    def train_sparse(
        self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor, step: int, moving: bool, products: Products
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
        if moving:
            self.observe_(least)
        return keep(code, code.values.detach() >= least)


class JumpReLU(Spec, tag="jumprelu"):
    """z_j = pre_j where pre_j > threshold_j > 0, else 0; thresholds are learned, as exponentials, by straight-through.

    Derivatives by the threshold are estimated within `bandwidth` / 2 of it. Source: Rajamanoharan et al., "Jumping
    Ahead: improving reconstruction fidelity with JumpReLU sparse autoencoders", 2024.
    """

    threshold: Annotated[float, Meta(gt=0, description="at the start")] = 0.01
    bandwidth: Annotated[float, Meta(gt=0, description="in units of the pre-activations")] = 0.05

    def build(self, n_code: int) -> JumpReLUModule:
        return JumpReLUModule(self, n_code)


class JumpReLUModule(ActivationModule):
    """The weights of a `JumpReLU`: `log_threshold` [n_code]."""

    def __init__(self, spec: JumpReLU, n_code: int) -> None:
        super().__init__()
        self.spec = spec
        self.log_threshold = nn.Parameter(torch.full((n_code,), math.log(spec.threshold)))

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return pre * (pre > self.log_threshold.exp())

    def train_code(self, pre: Float[Tensor, "b k"], step: int, moving: bool) -> Code:  # noqa: ARG002 - the contract
        threshold, width = self.log_threshold.exp(), self.spec.bandwidth
        return Code(jump_relu(pre, threshold, width), active=above(pre, threshold, width))

    def level(self, like: Float[Tensor, " k"]) -> tuple[Float[Tensor, " k"], float]:  # noqa: ARG002 - the contract
        return self.log_threshold.exp(), self.spec.bandwidth

    def train_sparse(
        self, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor, step: int, moving: bool, products: Products
    ) -> SparseCode | None:
        del step, moving
        threshold, width = self.level(bias)
        level = threshold.detach() - width / 2  # from where on thresholds learn
        code = select_above(x, weight, bias, centre, level, products=products, most=CROWD[products] * len(weight))
        if code is None:
            return None
        own = threshold[code.indices]
        values = jump_relu(code.values, own, width)
        return code._replace(values=values, active=above(code.values, own, width))

    @torch.no_grad()
    def calibrate_(self, pre: Float[Tensor, "b k"], l0: float) -> None:
        """All thresholds by one factor."""
        factor = _level(pre / self.log_threshold.exp(), l0)
        if factor > 0:
            self.log_threshold.add_(math.log(factor))

    def near(self, pre: Float[Tensor, "b k"]) -> float:
        """How many pre-activations per sample are so near their threshold that it gets a derivative from them."""
        return float(((pre - self.log_threshold.exp()).abs() < self.spec.bandwidth / 2).sum(dim=1).double().mean())

    @torch.no_grad()
    def revive_(self, rows: Int[Tensor, " n"]) -> None:
        self.log_threshold[rows] = math.log(self.spec.threshold)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"threshold": [self.log_threshold]}


class Gated(Spec, tag="gated"):
    """z = max(exp(r) pre + m, 0) where pre + g > 0, else 0: which codes are active is decided apart from how much.

    Penalties act on max(pre + g, 0), and the model adds the error of a reconstruction from it with the decoder held
    fixed, so that the gate learns. The encoder has no bias of its own. Source: Rajamanoharan et al., "Improving
    dictionary learning with gated sparse autoencoders", 2024, sections 3.2 and 3.3.
    """

    def build(self, n_code: int) -> GatedModule:
        return GatedModule(n_code)


class GatedModule(ActivationModule):
    """The weights of a `Gated`, [n_code] each: `gate_bias` g, `mag_bias` m, `r_mag` r."""

    def __init__(self, n_code: int) -> None:
        super().__init__()
        self.gate_bias = nn.Parameter(torch.zeros(n_code))
        self.mag_bias = nn.Parameter(torch.zeros(n_code))
        self.r_mag = nn.Parameter(torch.zeros(n_code))

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return torch.relu(pre * self.r_mag.exp() + self.mag_bias) * (pre + self.gate_bias > 0)

    def train_code(self, pre: Float[Tensor, "b k"], step: int, moving: bool) -> Code:  # noqa: ARG002 - the contract
        return Code(self.shape(pre), gate=torch.relu(pre + self.gate_bias))

    def drive(self, pre: Float[Tensor, "b n"], rows: Int[Tensor, " n"]) -> Float[Tensor, "b n"]:
        return pre + self.gate_bias[rows]

    @torch.no_grad()
    def calibrate_(self, pre: Float[Tensor, "b k"], l0: float) -> None:
        """All gates by one shift."""
        magnitude = pre * self.r_mag.exp() + self.mag_bias
        level = _level((pre + self.gate_bias).masked_fill(magnitude <= 0, -torch.inf), l0)
        if math.isfinite(level):
            self.gate_bias.sub_(level)

    @torch.no_grad()
    def revive_(self, rows: Int[Tensor, " n"]) -> None:
        for bias in (self.gate_bias, self.mag_bias, self.r_mag):
            bias[rows] = 0.0

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"gate": [self.gate_bias], "magnitude": [self.mag_bias, self.r_mag]}


Activation = ReLU | Sigmoid | Satlin | TopK | BatchTopK | JumpReLU | Gated


def _check_k(k: float | Schedule, n_code: int) -> None:
    for number in (k,) if isinstance(k, int | float) else k.extremes():
        if not 1 <= round(number) <= n_code:
            raise ValueError(f"activation.k reaches {number:g}; expected 1 to the number of codes, {n_code}")


def _level(values: Float[Tensor, "b k"], l0: float) -> float:
    """Halfway between the l0 B largest of the values and the next one."""
    wanted = round(l0 * len(values))
    largest = values.flatten().topk(min(wanted + 1, values.numel())).values.double()
    return float(largest[-2:].mean())
