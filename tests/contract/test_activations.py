"""From pre-activations to codes: values, derivatives, state."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sparsecode.nn.activations import (
    ELU,
    GELU,
    Activation,
    BatchTopK,
    GABASwitch,
    Gated,
    Inhibition,
    JumpReLU,
    LearnedK,
    ReLU,
    SampledK,
    Satlin,
    Sigmoid,
    Softmax,
    SubtractTopK,
    Tanh,
    TopK,
)
from sparsecode.nn.activations.base import level_of
from sparsecode.ops.straight_through import above, jump_relu
from sparsecode.schedules import Linear

ALL: list[Activation] = [
    ReLU(),
    Sigmoid(),
    Satlin(),
    TopK(3),
    BatchTopK(3),
    JumpReLU(threshold=0.4, bandwidth=0.1),
    Gated(),
    GELU(),
    ELU(),
    Tanh(),
    Softmax(),
    SubtractTopK(3),
    GABASwitch(k=3, until=2.0),
    LearnedK(start=3.3, window=0.4),
    SampledK(start=3.0),
    Inhibition(),
    Inhibition(circuit="interneuron", steps=2, step_size=0.5, only_inhibitory=True),
]
each = pytest.mark.parametrize("spec", ALL, ids=lambda s: type(s).__name__)


def pre_activations(n: int = 12, k: int = 10) -> Tensor:
    """Distinct numbers, none within 1e-3 of another, of 0, or of 1."""
    values = torch.linspace(-1.7, 2.3, n * k, dtype=torch.float64)
    return values[torch.randperm(n * k, generator=torch.Generator().manual_seed(0))].reshape(n, k)


@each
def test_inference_is_row_by_row_and_without_state(spec: Activation) -> None:
    module, pre = spec.build(10).double(), pre_activations()
    module.train_code(pre, 0, training=True)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    whole = module.infer(pre)
    torch.testing.assert_close(whole, torch.cat([module.infer(row[None]) for row in pre]), rtol=1e-14, atol=0)
    module.train_code(pre, 1, training=False)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert module.infer(pre[:0]).shape == (0, 10)


# the level that is subtracted is held fixed, by definition
HELD = (SubtractTopK, GABASwitch)


@pytest.mark.parametrize("spec", [s for s in ALL if not isinstance(s, HELD)], ids=lambda s: type(s).__name__)
def test_training_codes_have_the_derivative_of_finite_differences(spec: Activation) -> None:
    module = spec.build(10).double()
    for number, param in enumerate(module.parameters()):
        torch.nn.init.uniform_(param, -0.3, 0.3, generator=torch.Generator().manual_seed(number))
    if isinstance(spec, JumpReLU):
        torch.nn.init.constant_(module.get_parameter("log_threshold"), math.log(0.4))
    pre = pre_activations().requires_grad_()
    weight = torch.randn(pre.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def value(pre: Tensor) -> Tensor:
        code = module.train_code(pre, 0, training=False)
        return (code.z * weight).sum() + (0 if code.gate is None else (code.gate * weight.flip(0)).sum())

    (by_hand,) = torch.autograd.grad(value(pre), pre)
    step = 1e-6
    for i in range(pre.numel()):
        change = torch.zeros(pre.numel(), dtype=torch.float64)
        change[i] = step
        change = change.reshape(pre.shape)
        difference = (value(pre.detach() + change) - value(pre.detach() - change)) / (2 * step)
        assert abs(float(difference.detach()) - float(by_hand.flatten()[i])) < 1e-6, i


def test_top_k_keeps_the_largest_positive() -> None:
    z = TopK(2).build(4).infer(torch.tensor([[3.0, 1.0, 2.0, -5.0], [-1.0, -2.0, 4.0, -3.0]]))
    assert z.tolist() == [[3, 0, 2, 0], [0, 0, 4, 0]]


def test_a_schedule_of_k_ends_in_inference() -> None:
    module = TopK(Linear(start=8, stop=2, length=10)).build(10)
    pre = pre_activations().abs().float()
    assert int((module.infer(pre) > 0).sum(dim=1).max()) == 8
    *_, code = [module.train_code(pre, step, training=True) for step in range(11)]
    assert int((code.z > 0).sum(dim=1).max()) == int((module.infer(pre) > 0).sum(dim=1).max()) == 2


def test_batch_top_k_keeps_k_per_sample_on_average_and_its_threshold_gives_the_same_code() -> None:
    module, pre = BatchTopK(3).build(10).double(), pre_activations()
    code = module.train_code(pre, 0, training=True)
    assert int((code.z > 0).sum()) == 3 * len(pre)
    assert len({int(row) for row in (code.z > 0).sum(dim=1)}) > 1  # not the same for each
    assert math.isclose(float(module.get_buffer("threshold")), float(code.z[code.z > 0].min()))
    later = module.infer(pre)
    assert int((later > 0).sum()) == 3 * len(pre) - 1  # the least one is the threshold, and `above` is strict
    module.train_code(2 * pre, 1, training=True)  # the second of two batches counts half
    assert math.isclose(float(module.get_buffer("threshold")), 1.5 * float(code.z[code.z > 0].min()))


def test_the_estimated_derivatives_are_those_of_means_over_data() -> None:
    """Of a mean over evenly spread pre-activations, finite differences by the threshold exist."""
    pre = torch.linspace(0, 2, 200_001, dtype=torch.float64)[:, None]
    width = 0.1
    for function, expected in ((above, lambda t: -0.5), (jump_relu, lambda t: -0.5 * t)):
        threshold = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
        (estimate,) = torch.autograd.grad(function(pre, threshold, width).mean(), threshold)
        low, high = (function(pre, threshold.detach() + h, width).mean() for h in (-1e-2, 1e-2))
        assert math.isclose(float(estimate), float(high - low) / 2e-2, rel_tol=2e-3)
        assert math.isclose(float(estimate), expected(0.7), rel_tol=2e-3)


def test_thresholds_of_broadcast_shapes_sum_their_derivatives() -> None:
    pre = pre_activations()
    shared = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    each_code = torch.full((10,), 0.4, dtype=torch.float64, requires_grad=True)
    for threshold in (shared, each_code):
        (jump_relu(pre, threshold, 0.3).sum() + above(pre, threshold, 0.3).sum()).backward()
    assert shared.grad is not None
    assert each_code.grad is not None
    assert math.isclose(float(shared.grad), float(each_code.grad.sum()))
    assert float(shared.grad) != 0


def test_a_count_has_no_derivative_by_the_pre_activations() -> None:
    pre = pre_activations().requires_grad_()
    assert torch.autograd.grad(
        above(pre, torch.tensor(0.4, dtype=torch.float64, requires_grad=True), 0.3).sum(), pre, allow_unused=True
    ) == (None,)


@pytest.mark.parametrize("k", [11, Linear(start=4, stop=20, length=5)])
def test_more_active_codes_than_codes_are_refused(k: int | Linear) -> None:
    with pytest.raises(ValueError, match=r"activation\.k reaches .*expected 1 to the number of codes, 10"):
        TopK(k).build(10)


@pytest.mark.parametrize(
    "spec", [BatchTopK(3), JumpReLU(threshold=0.05, bandwidth=0.1), Gated()], ids=lambda s: type(s).__name__
)
def test_calibrated_thresholds_give_the_wanted_count_and_stay(spec: BatchTopK | JumpReLU | Gated) -> None:
    module, in_blocks, pre = spec.build(10).double(), spec.build(10).double(), pre_activations()
    for l0 in (2.0, 2.5):
        active = round(l0 * len(pre))
        module.calibrate_([pre], active)
        before = {k: v.clone() for k, v in module.state_dict().items()}
        assert int((module.infer(pre) > 0).sum()) == active
        in_blocks.calibrate_((part for part in (pre[:1], pre[1:9], pre[9:])), active)
        assert all(torch.equal(value, before[name]) for name, value in in_blocks.state_dict().items())
        module.calibrate_([pre], active)
        for name, value in module.state_dict().items():
            torch.testing.assert_close(value, before[name])


def test_level_of_few_values() -> None:
    values = torch.tensor([[3.0, 1.0], [4.0, 2.0]])
    for blocks in ([values], values.split(1)):
        assert [level_of(blocks, n) for n in (0, 1, 3, 4, 9)] == [4.0, 3.5, 1.5, 1.5, 1.5]
    assert level_of([values[:1, :1]], 1) == 3.0
