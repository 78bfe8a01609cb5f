"""The bound with its hand-written derivative is the eager one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sparsecode.data import Digits
from sparsecode.models.bound_updates import bound_updates
from sparsecode.models.variational import Variational, VariationalModel
from sparsecode.nn.gates import BinaryConcrete
from sparsecode.nn.likelihoods import Bernoulli, Normal
from sparsecode.nn.perceptron import Perceptron, PerceptronModule
from sparsecode.nn.posteriors import Gaussian, Posterior, SpikeSlab
from sparsecode.nn.priors import Prior, PseudoInputs, SpikeSlabPrior, StandardNormal
from sparsecode.ops.rng import Stream, generator
from sparsecode.records import AdamStep, Batch, Loss
from sparsecode.schedules import Linear

N_CODE, STEP = 12, 5
SPIKES = SpikeSlabPrior(alpha=0.05)
WARM = Linear(start=0.2, stop=1.0, length=20)


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return Digits().load().train.x[:27]  # not all of a vector's lanes


def encoder(model: VariationalModel) -> PerceptronModule:
    assert isinstance(model.encoder, PerceptronModule)
    return model.encoder


def taught(model: VariationalModel, x: Tensor) -> tuple[Loss, dict[str, Tensor]]:
    """A step's loss, and its derivative by all weights: by autograd, or what Adam's first moments are of nothing else."""
    rng, names = Stream(3, STEP), {id(param): name for name, param in model.named_parameters()}
    grads = {name: torch.zeros_like(param, requires_grad=False) for name, param in model.named_parameters()}
    update = bound_updates(
        model, len(x), lambda param: (grads[names[id(param)]], torch.zeros_like(param, requires_grad=False))
    )
    if update is not None:
        return update(Batch(x), STEP, rng, AdamStep(rate=0, fresh=1, fresh2=1, root=1, eps=1)), grads
    loss = model.loss(Batch(x), STEP, rng)
    loss.total.backward()
    return loss, {name: param.grad for name, param in model.named_parameters() if param.grad is not None}


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """With one thread, and with more than there may be processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("hidden", [(30,), (20, 24), ()])
@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        (Gaussian(), StandardNormal()),
        (SpikeSlab(), SPIKES),
        (SpikeSlab(spike="negrelu"), SPIKES),
        (SpikeSlab(spike="negrelu", warm_up=WARM), SPIKES),
    ],
)
def test_losses_and_derivatives_are_the_eager_ones(
    posterior: Posterior, prior: Prior, hidden: tuple[int, ...], digits: Tensor
) -> None:
    spec = Variational(
        N_CODE,
        posterior,
        prior,
        likelihood=Bernoulli(binarise=len(hidden) > 1),
        net=Perceptron(hidden=hidden),
        slab_weight=0.7,
        spike_weight=Linear(start=0.0, stop=1.0, length=10),
    )
    model = spec.build((8, 8), seed=1)
    with torch.no_grad():  # spread out, so that clamps, both sides of kinks and closed gates are seen
        for param in model.parameters():
            param += 0.2 * torch.randn(param.shape, generator=generator(0, "noise", param.numel()))
        heads = encoder(model).biases[-1]
        heads[2 * N_CODE :] = torch.linspace(-20, 20, len(heads[2 * N_CODE :]))
    before = [param.detach().clone() for param in model.parameters()]
    fast, fast_grads = taught(model, digits)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    model.fused = False
    slow, slow_grads = taught(model.double(), digits.double())
    assert fast.parts.keys() == slow.parts.keys()
    assert fast.stats.keys() == slow.stats.keys()
    torch.testing.assert_close(fast.total.double(), slow.total, rtol=1e-5, atol=0)
    for name, value in (slow.parts | slow.stats).items():
        torch.testing.assert_close(
            (fast.parts | fast.stats)[name].double(), value.double(), rtol=1e-5, atol=1e-6, msg=name
        )
    assert fast_grads.keys() == slow_grads.keys()
    for name, grad in slow_grads.items():
        error = (fast_grads[name].double() - grad).norm() / grad.norm()
        assert error < 1e-5, (name, float(error))


@pytest.mark.parametrize(
    "parts",
    [
        {"posterior": SpikeSlab(gate=BinaryConcrete())},
        {"prior": PseudoInputs()},
        {"prior": SpikeSlabPrior(learned=True)},
        {"likelihood": Normal()},
        {"net": Perceptron(activation="gelu")},
        {"free_bits": 0.1},
    ],
)
def test_what_has_none_is_left_to_autograd(parts: dict[str, object]) -> None:
    spec = {"posterior": SpikeSlab(), "prior": SPIKES, **parts}
    model = Variational(N_CODE, **spec).build((8, 8), seed=1)  # pyright: ignore[reportArgumentType] - checked by the spec
    assert not model.fused


def test_a_weight_that_is_not_finite_shows(digits: Tensor) -> None:
    model = Variational(N_CODE, SpikeSlab(), SPIKES).build((8, 8), seed=1)
    with torch.no_grad():
        encoder(model).weights[0][0] = float("nan")
    assert not torch.isfinite(taught(model, digits)[0].total)
