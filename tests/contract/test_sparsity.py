"""Penalties on codes, the controller of their weight, corruptions, the geometric median."""

from __future__ import annotations

import math

import msgspec
import pytest
import torch
from torch import Tensor

from sparsecode.losses import KL, TargetL0, kl_divergence
from sparsecode.losses.dead_codes import auxiliary_error, depth
from sparsecode.nn.affine import Affine, BiasedDictionary, centred_linear
from sparsecode.nn.corruptions import Corruption, Corruptor, Half, MaskBlock, MaskPixels, SaltAndPepper, Span
from sparsecode.nn.noises import GaussianNoise
from sparsecode.ops.geometric_median import geometric_median
from sparsecode.penalties import Hoyer, TanhPenalty
from sparsecode.schedules import Clock, resolve


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_kl_is_zero_at_its_target_positive_elsewhere_and_finite_at_the_ends() -> None:
    mean = torch.tensor([0.05, 0.01, 0.5, 0.0, 1.0], dtype=torch.float64)
    result = kl_divergence(0.05, mean)
    assert abs(float(result[0])) < 1e-15
    assert bool((result[1:] > 0).all())
    assert bool(torch.isfinite(result).all())
    # with the entropy put back it is the cross-entropy
    cross = -0.05 * math.log(0.5) - 0.95 * math.log(0.5)
    entropy = -0.05 * math.log(0.05) - 0.95 * math.log(0.95)
    assert math.isclose(float(result[2]), cross - entropy)


def test_kl_has_the_derivative_of_the_formula() -> None:
    mean = torch.tensor([0.02, 0.05, 0.4], dtype=torch.float64, requires_grad=True)
    kl_divergence(0.05, mean).sum().backward()
    expected = -0.05 / mean.detach() + 0.95 / (1 - mean.detach())
    torch.testing.assert_close(mean.grad, expected)


def test_kl_depends_on_the_codes_alone_and_not_on_their_order() -> None:
    z = torch.rand(40, 6, generator=rng(), dtype=torch.float64)
    penalty = KL().build(6).double()
    assert torch.allclose(
        penalty.divergence(z, training=False),
        penalty.divergence(z[torch.randperm(40, generator=rng())], training=False),
    )


def test_a_window_gives_the_mean_of_the_whole_set_whatever_the_batches() -> None:
    z = torch.rand(60, 6, generator=rng(), dtype=torch.float64)
    whole = kl_divergence(0.05, z.mean(dim=0)).sum()
    for size in (10, 20, 30):
        penalty = KL(window=60).build(6).double()
        for batch in z.split(size):
            penalty.divergence(batch, training=True)
        torch.testing.assert_close(penalty.divergence(z[:size], training=False), whole)


@pytest.mark.parametrize("spec", [KL(), KL(decay=0.9), KL(window=20)])
def test_whatever_is_remembered_the_gradient_is_that_of_the_batch(spec: KL) -> None:
    z = torch.rand(20, 6, generator=rng(), dtype=torch.float64).requires_grad_()
    penalty = spec.build(6).double()
    penalty.divergence(z.detach(), training=True)  # the mean is the batch's now, and stays so
    value = penalty.divergence(z, training=False)
    (result,) = torch.autograd.grad(value, z)
    (plain,) = torch.autograd.grad(kl_divergence(0.05, z.mean(dim=0)).sum(), z)
    torch.testing.assert_close(result, plain)


def test_hoyer_counts_equal_codes_whatever_their_size() -> None:
    z = torch.zeros(3, 10)
    z[0, :4], z[1, :4] = 2.0, 200.0
    assert Hoyer().value(z).tolist() == [4, 4, 0]


def test_tanh_does_not_shrink_large_codes() -> None:
    z = torch.tensor([[10.0, 1e-3, 0.0]], requires_grad=True)
    TanhPenalty().value(z).sum().backward()
    assert z.grad is not None
    assert float(z.grad[0, 0]) < 1e-6
    assert math.isclose(float(z.grad[0, 1]), 1, rel_tol=1e-4)


def test_the_controller_finds_the_weight_that_gives_the_wanted_count() -> None:
    control = TargetL0(l0=20).build()
    weight = 0.0
    for _ in range(5000):
        weight = 0.3 * control.factor
        control.move_(100 / (1 + weight) ** 2)  # 20 active codes at a weight of sqrt(5) - 1
    assert math.isclose(weight, math.sqrt(5) - 1, rel_tol=1e-3)


@pytest.mark.parametrize("steps", [520, 2000])
@pytest.mark.parametrize("wanted", [32.0, 100.0])
@pytest.mark.parametrize(("delay", "lag"), [(1, 1), (5, 40), (10, 20)])
def test_the_controller_arrives_without_overshoot(steps: int, wanted: float, delay: int, lag: int) -> None:
    """Codes that respond some steps late, and with a time constant: L -> 800 / (1 + w)^1.5."""
    control = resolve(TargetL0(l0=wanted), Clock(10, steps)).build()
    weights = [0.0] * delay
    log_l0, course = math.log(800), list[float]()
    for _ in range(steps):
        weights.append(control.factor)
        log_l0 += (math.log(800 / (1 + weights[-delay]) ** 1.5) - log_l0) / lag
        control.move_(math.exp(log_l0))
        course.append(math.exp(log_l0) / wanted)
    late = course[round((0.45 if steps < 1000 else 0.35) * steps) :]
    assert max(late) < 1.1
    assert min(course) > 0.95
    assert math.isclose(course[-1], 1, rel_tol=1e-3)


def test_a_fixed_rate_and_its_state_are_those_of_earlier_versions() -> None:
    control = TargetL0(l0=20, rate=0.01, damping=3.0).build()
    control.load_state_dict(
        {"log_factor": torch.tensor(0.3).double(), "level": torch.tensor(2.0).double(), "seen": torch.tensor(7)}
    )
    control.move_(40.0)
    level = 2.0 + (math.log(2) - 2.0) / 10
    assert math.isclose(float(control.log_factor), float(torch.tensor(0.3)) + 0.01 * level + 3 * (level - 2.0))
    assert int(control.seen) == 8
    old = b'{"type": "target_l0", "l0": 32.0, "rate": 0.01, "damping": 3.0, "memory": 10.0, "theta": 0.0}'
    assert msgspec.json.decode(old, type=TargetL0) == TargetL0(l0=32.0, rate=0.01, damping=3.0)


@pytest.mark.parametrize(
    ("damping", "arrival", "message"),
    [(0.0, 0.2, "damping is 0 and rate is None"), (1.5, 2.0, "arrival is 2 in unit 'fraction'")],
)
def test_controllers_that_cannot_arrive_are_refused(damping: float, arrival: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TargetL0(l0=8, damping=damping, arrival=arrival)


def test_the_controller_says_when_nothing_helps() -> None:
    control = TargetL0(l0=20, rate=0.1).build()
    for _ in range(500):
        control.move_(100.0)
    warnings = control.warnings([torch.ones(2, 100), torch.ones(3, 100)])
    assert len(warnings) == 2
    assert "asks for 20 active codes per sample; the model has 100" in warnings[0]
    assert "the weight no longer changes L0" in warnings[1]
    assert control.warnings([torch.ones(5, 20)]) == warnings[1:]


SPAN = Span(-1.0, 1.0)
EACH = pytest.mark.parametrize(
    "spec",
    [GaussianNoise(0.3), SaltAndPepper(0.2), MaskPixels(0.3), MaskBlock(3), Half()],
    ids=lambda s: type(s).__name__,
)


def corruptor(spec: Corruption, shape: tuple[int, ...]) -> Corruptor:
    how = Corruptor(spec, shape)
    how.initialise_(torch.tensor([[SPAN.low, SPAN.high]]))
    return how


@EACH
def test_corruptions_are_functions_of_their_seed_and_keep_what_they_do_not_cover(spec: Corruption) -> None:
    x = torch.rand(30, 64, generator=rng()) - 0.5
    before = x.clone()
    one, same, other = (corruptor(spec, (1, 8, 8))(x, rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(x, before)
    assert torch.equal(one.x, same.x)
    assert torch.equal(one.x, other.x) == isinstance(spec, Half)
    if one.hidden is not None:
        assert torch.equal(one.x[~one.hidden], x[~one.hidden])
        assert bool((one.x[one.hidden].abs() == 1).all())


def test_corruptions_cover_what_they_say() -> None:
    x = torch.zeros(400, 64)
    assert Half("left", fill=0.5).apply(x, (1, 8, 8), SPAN, rng()).x.reshape(-1, 8, 8)[:, :, :4].eq(0.5).all()
    block = MaskBlock(3).apply(x, (1, 8, 8), SPAN, rng()).hidden
    assert block is not None
    assert bool((block.sum(dim=1) == 9).all())
    assert bool(block.any(dim=0).all())  # anywhere
    mask = MaskPixels(0.3).apply(x, (64,), SPAN, rng()).hidden
    assert mask is not None
    assert abs(float(mask.double().mean()) - 0.3) < 0.01
    noisy = SaltAndPepper(0.2).apply(x, (64,), SPAN, rng()).x
    assert abs(float((noisy == 1).double().mean()) - 0.1) < 0.01
    assert abs(float((noisy == -1).double().mean()) - 0.1) < 0.01
    assert abs(float(corruptor(GaussianNoise(0.25, unit="range"), (64,))(x, rng()).x.std()) - 0.5) < 0.01


def test_halves_of_what_is_no_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"samples have shape \(64,\); expected \[\.\.\., height, width\]"):
        Half().apply(torch.zeros(2, 64), (64,), SPAN, rng())


def test_centred_products_have_the_derivatives_of_finite_differences() -> None:
    draw = rng()

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()

    assert torch.autograd.gradcheck(centred_linear, (some(5, 4), some(6, 4), some(6), some(4)))


def test_the_error_left_to_dead_codes_reaches_encoder_and_atoms() -> None:
    error = torch.randn(5, 4, generator=rng(), dtype=torch.float64)
    pre = torch.randn(5, 6, generator=rng(1), dtype=torch.float64).requires_grad_()
    atoms = torch.randn(6, 4, generator=rng(2), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, a: auxiliary_error(error, p, a, 2), (pre, atoms))
    auxiliary_error(error, pre, atoms, 2).sum().backward()
    assert pre.grad is not None
    assert bool((pre.grad != 0).any())
    assert auxiliary_error(error, pre[:, :0], atoms[:0], 2).tolist() == [0] * 5


def test_codes_without_a_positive_entry_are_raised_and_no_others() -> None:
    pre = torch.tensor([[-3.0, 1.0, -2.0], [-1.0, -5.0, -4.0]], requires_grad=True)
    value = depth(pre)
    assert float(value.detach()) == 3
    (by_pre,) = torch.autograd.grad(value, pre)
    assert by_pre.tolist() == [[0, 0, -1], [-1, 0, 0]]


def test_the_geometric_median_is_the_middle_and_shrugs_at_outliers() -> None:
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(geometric_median(x), torch.tensor([1.0, 0.0], dtype=torch.float64), atol=1e-5, rtol=0)
    line = torch.tensor([[0.0], [1.0], [2.0], [3.0], [1e6]], dtype=torch.float64)
    assert abs(float(geometric_median(line, steps=2000, tol=1e-12)) - 2) < 1e-2


def test_gradients_along_unit_norm_atoms_are_taken_out() -> None:
    decoder = BiasedDictionary().build(6, (4,), rng())
    decoder.atoms.grad = torch.randn(6, 4, generator=rng(1))
    decoder.project_grads_()
    assert float((decoder.atoms.grad * decoder.atoms.detach()).sum(dim=1).abs().max()) < 1e-6


def test_tied_encoders_have_no_weights_of_their_own() -> None:
    decoder = BiasedDictionary().build(6, (4,), rng())
    encoder = Affine(tied=True).build(6, (4,), rng(), decoder)
    assert encoder.weight is None
    assert encoder.map(decoder)[0] is decoder.atoms
