"""Top-k codes as codes above thresholds: JumpReLU models whose thresholds are fitted to data."""

from __future__ import annotations

import copy

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.choices import Thresholds
from sparsecode.data.splits import Split
from sparsecode.evaluate.base import in_parts, rows_together
from sparsecode.evaluate.reconstruction.calibration import Calibration, l0_and_variance
from sparsecode.models.amortised import Amortised, AmortisedModel
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_activation
from sparsecode.nn.activations import BatchTopK, JumpReLU, JumpReLUModule, TopK
from sparsecode.nn.activations.base import level_of
from sparsecode.ops.memory import AllocationsFit

__all__ = ["to_jumprelu"]

BLOCK = 1 << 24  # pre-activations sorted at a time


@torch.no_grad()
def to_jumprelu(
    model: AbstractSparseModel,
    train: Split,
    held_out: Split,
    *,
    thresholds: Thresholds = "codes",
    l0: float | None = None,
) -> tuple[AmortisedModel, Calibration]:
    """A JumpReLU model with the weights of a top-k or batch top-k model, and what the change does to `held_out` samples.

    z_j = pre_j where pre_j > theta_j, else 0. Thresholds `global`: one theta for all codes, at which codes of `train` are active
    `l0` times per sample on average. `codes`: theta_j halfway between the n_j-th and the next largest pre_j on `train`, where n_j is how
    often the model's own code j is active there, so that every code keeps its rate; one factor on all of them then gives `l0` on `train`. In the end one
    factor gives a mean L0 of `l0` on `held_out` samples; the calibration says L0 and explained variance there of the model (before)
    and of its copy with thresholds (after). `l0` is by default that of the model on `held_out` samples, which is its k unless fewer pre-activations are positive.

    Needs len(train.x) * n_code numbers of memory. Raises ValueError for models with other activations, and for an `l0` that is not above 0 and below the mean
    number of positive pre-activations of `held_out` samples.

    >>> import torch
    >>> from sparsecode.data import Digits
    >>> from sparsecode.interop import to_jumprelu
    >>> from sparsecode.models import Amortised
    >>> from sparsecode.nn import TopK
    >>> splits = Digits().load()
    >>> model = Amortised(n_code=64, activation=TopK(k=4)).build(splits.shape, seed=0)
    >>> jump, report = to_jumprelu(model, splits.train, splits.valid)
    >>> round(report.l0_before, 1), round(report.l0_after, 1)
    (4.0, 4.0)
    """
    if not has_activation(model) or not isinstance(model.spec.activation, TopK | BatchTopK):
        spec = getattr(model.spec, "activation", None)
        what = type(model.spec if spec is None else spec).__name__
        raise ValueError(f"model: {what}; expected an Amortised model with activation topk or batch_topk")
    weights = next(model.parameters())
    train, held_out = (split.to(weights.device, weights.dtype) for split in (train, held_out))
    jump = _copied(model)
    with AllocationsFit(f"{train.n} samples with {model.n_code} codes each", "give fewer samples"):
        pre = _pre_activations(model, train.x)
        shown = _pre_activations(model, held_out.x)
    wanted = float((model.activation.infer(shown) != 0).sum(dim=1).double().mean()) if l0 is None else l0
    positive = float((shown > 0).sum(dim=1).double().mean())
    if not 0 < wanted < positive:
        raise ValueError(
            f"l0 is {wanted:g}; expected above 0 and below {positive:.4g}, the mean number of positive pre-activations"
        )
    gate = jump.activation
    assert isinstance(gate, JumpReLUModule)
    active = round(wanted * train.n)
    level = level_of([pre], active)
    theta = torch.full_like(gate.log_threshold, level)
    if thresholds == "codes":
        theta = _rates_kept(pre, model, level)
    least = torch.finfo(theta.dtype).tiny
    gate.log_threshold.copy_(theta.clamp(min=least).log())
    gate.calibrate_([pre], active)
    before = l0_and_variance(model, held_out)
    gate.calibrate_([shown], round(wanted * held_out.n))
    after = l0_and_variance(jump, held_out)
    return jump.eval(), Calibration(held_out.n, wanted, before[0], after[0], before[1], after[1])


def _copied(model: AmortisedModel) -> AmortisedModel:
    """The same model with JumpReLU codes, and without terms of the loss that want other ones."""
    terms = tuple(term for term in model.spec.terms if _stays(model.spec, term))
    spec = msgspec.structs.replace(model.spec, activation=JumpReLU(), terms=terms)
    made = spec.build(model.shape, 0, model.target_shape)
    state = {name: value for name, value in model.state_dict().items() if name in made.state_dict()}
    state = {name: value for name, value in state.items() if not name.startswith("activation.")}
    made.load_state_dict({**made.state_dict(), **copy.deepcopy(state)})
    return made.to(next(model.parameters()))


def _stays(spec: Amortised, term: object) -> bool:
    try:
        msgspec.structs.replace(spec, activation=JumpReLU(), terms=(term,))
    except ValueError:
        return False
    return True


def _pre_activations(model: AmortisedModel, x: Tensor) -> Float[Tensor, "n k"]:
    return in_parts(model.pre_activations, x, model.n_code)


def _rates_kept(pre: Float[Tensor, "n k"], model: AmortisedModel, silent: float) -> Float[Tensor, " k"]:
    """For every code the threshold above which it is as often as it is active by the model's own rule; of codes that never are, at least `silent`."""
    counts = torch.stack(
        [(model.activation.infer(part) != 0).sum(dim=0) for part in pre.split(rows_together(model.n_code))]
    ).sum(dim=0)
    results: list[Tensor] = []
    width = max(1, BLOCK // len(pre))
    for columns, n in zip(pre.split(width, dim=1), counts.split(width), strict=True):
        ordered = torch.cat([columns.sort(dim=0, descending=True).values, columns.new_zeros(1, columns.shape[1])])
        largest = ordered.gather(0, (n - 1).clamp(min=0)[None])[0]
        next_one = ordered.gather(0, n[None])[0].clamp(min=0)
        results.append(torch.where(n > 0, (largest + next_one) / 2, largest.clamp(min=silent)))
    return torch.cat(results)
