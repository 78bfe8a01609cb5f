"""Variational models: sizes, the original's loss and steps, bounds, refusals."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor, nn

from sparsecode.data import Digits
from sparsecode.evaluate.evaluation import evaluate_model
from sparsecode.evaluate.variational.elbo import Bound, bounds, per_batch
from sparsecode.models.storage import load_model, save_model
from sparsecode.models.variational import Variational, VariationalModel
from sparsecode.nn.convnet import ConvNet
from sparsecode.nn.gates import SigmoidGate
from sparsecode.nn.likelihoods import Bernoulli
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.posteriors import Gaussian, SpikeSlab
from sparsecode.nn.priors import PseudoInputs, SpikeSlabPrior, StandardNormal
from sparsecode.ops.rng import Stream, generator
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch
from sparsecode.runs import Evaluate
from sparsecode.schedules import Linear
from sparsecode.train.optim import Adam

SPIKES = {"posterior": SpikeSlab(), "prior": SpikeSlabPrior()}
PLAIN = {"posterior": Gaussian(), "prior": StandardNormal()}
WIDE = Perceptron(hidden=(2000, 2000))


def built(shape: tuple[int, ...] = (8, 8), n_code: int = 6, **parts: object) -> VariationalModel:
    parts = SPIKES | {"net": Perceptron(hidden=(20,))} | parts
    return Variational(n_code=n_code, **parts).build(shape, seed=0)  # pyright: ignore[reportArgumentType] - checked by the spec


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return Digits().load().train.x[:640]


@pytest.mark.parametrize(
    ("parts", "shape", "n_code", "expected"),
    [
        (PLAIN | {"net": Perceptron()}, (1, 28, 28), 200, 869_184),
        (SPIKES | {"net": Perceptron()}, (1, 28, 28), 200, 949_384),
        (SPIKES | {"net": WIDE}, (3, 32, 32), 800, 26_701_472),
        (SPIKES | {"net": Perceptron(hidden=(500, 500))}, (3, 32, 32), 20, 3_617_132),
        (SPIKES | {"net": ConvNet()}, (3, 64, 64), 200, 963_995),
        (SPIKES | {"net": ConvNet()}, (1, 64, 64), 100, 859_245),
        (SPIKES | {"net": ConvNet()}, (3, 32, 32), 800, 1_186_211),
        (PLAIN | {"net": ConvNet()}, (3, 64, 64), 32, 783_235),
        (PLAIN | {"net": ConvNet()}, (1, 64, 64), 10, 764_245),
    ],
)
def test_nets_have_the_originals_sizes(
    parts: dict[str, object], shape: tuple[int, ...], n_code: int, expected: int
) -> None:
    model = built(shape, n_code, **parts)
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("net", [Perceptron(hidden=(30, 20)), ConvNet(channels=(4, 8, 8), hidden=12)])
def test_any_square_image_goes_in_and_comes_out(net: Perceptron | ConvNet) -> None:
    for shape in ((3, 24, 24), (16, 16)):
        model = built(shape, net=net)
        x = torch.rand(5, *shape)
        assert model.posterior(x).mu.shape == (5, 6)
        assert model.reconstruct(x).shape == x.shape


def test_other_images_are_refused_by_convolutions() -> None:
    with pytest.raises(ValueError, match="images are 16 x 8; expected square ones with sides divisible by 4"):
        built((1, 16, 8), net=ConvNet(channels=(4, 4)))
    with pytest.raises(ValueError, match=r"28 x 28; expected square ones with sides divisible by 16.*fewer channels"):
        built((1, 28, 28), net=ConvNet())
    with pytest.raises(ValueError, match=r"expected images.*choose net 'perceptron'"):
        built((384,), net=ConvNet())


def test_mismatches_and_data_outside_0_to_1_are_refused(digits: Tensor) -> None:
    with pytest.raises(
        ValueError, match="'gaussian' and prior 'spike_slab'; expected 'gaussian' with 'standard_normal'"
    ):
        Variational(n_code=4, posterior=Gaussian(), prior=SpikeSlabPrior())
    with pytest.raises(ValueError, match=r"samples span -1 to 2 .* expected \[0, 1\]: choose likelihood 'normal'"):
        built().initialise_(digits * 3 - 1)


class Original(nn.Module):
    """The replication's model and loss, in plain torch: three heads, sums over the batch, clamped gammas."""

    def __init__(self, model: VariationalModel, alpha: float) -> None:
        super().__init__()
        weights = [w.detach().clone() for w in [*model.encoder.parameters(), *model.decoder.parameters()]]
        (w1, wh), (b1, bh), (w3, w4), (b3, b4) = weights[:2], weights[2:4], weights[4:6], weights[6:]
        layers = [(w1, b1), *zip(wh.chunk(3), bh.chunk(3), strict=True), (w3, b3), (w4, b4)]
        self.layers = nn.ModuleList([nn.Linear(w.shape[1], w.shape[0]).double() for w, _ in layers])
        for layer, (w, b) in zip(self.layers, layers, strict=True):
            layer.weight.data, layer.bias.data = w.clone(), b.clone()  # pyright: ignore
        self.alpha = alpha

    def loss(self, x: Tensor, normal: Tensor, uniform: Tensor) -> Tensor:
        first, mean, logvar, spike, third, last = self.layers
        h = torch.relu(first(x))
        mu, lv, gamma = mean(h), logvar(h), torch.exp(-torch.relu(-spike(h)))
        z = torch.sigmoid(50.0 * (uniform + gamma - 1)) * (mu + torch.exp(0.5 * lv) * normal)
        out = torch.sigmoid(last(torch.relu(third(z))))
        on = torch.clamp(gamma, 1e-6, 1 - 1e-6)
        slab = -0.5 * torch.sum(on * (1 + lv - mu.pow(2) - lv.exp()))
        spikes = torch.sum((1 - on) * torch.log((1 - on) / (1 - self.alpha)) + on * torch.log(on / self.alpha))
        return nn.functional.binary_cross_entropy(out, x, reduction="sum") + slab + spikes


def test_twenty_steps_are_the_originals(digits: Tensor) -> None:
    spec = RECIPES["mnist-vsc-20"]().model
    model = msgspec.structs.replace(spec, n_code=6, net=Perceptron(hidden=(20,))).build((8, 8), seed=0)
    assert isinstance(model, VariationalModel)
    model.double().train()
    original = Original(model, alpha=0.2)
    adam = RECIPES["mnist-vsc-20"]().optim.groups["net"]
    assert isinstance(adam, Adam)
    ours, theirs = adam.build(list(model.parameters())), torch.optim.Adam(original.parameters(), lr=1e-3, eps=1e-8)
    for step in range(20):
        x = digits[step * 32 : (step + 1) * 32].double()
        rng = Stream(0, step)("posterior")
        normal, uniform = torch.randn(32, 6, generator=rng).double(), torch.rand(32, 6, generator=rng).double()
        loss, summed = model.loss(Batch(x), step, Stream(0, step)).total, original.loss(x.flatten(1), normal, uniform)
        assert float(loss.detach()) == pytest.approx(float(summed.detach()) / 32, rel=1e-6)
        for optimiser, value in ((ours, loss), (theirs, summed)):
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    heads = torch.cat([layer.weight.detach() for layer in list(original.layers)[1:4]])  # pyright: ignore
    torch.testing.assert_close(model.encoder.weights[1].detach(), heads, rtol=0, atol=2e-6)  # pyright: ignore


def test_a_bound_is_the_mean_loss_and_a_batchs_value_follows(digits: Tensor) -> None:
    splits = Digits().load()
    variants: list[dict[str, object]] = [{**SPIKES}, {**PLAIN}, {"prior": PseudoInputs(n=3)}]
    for parts in variants:
        model = built((8, 8), 6, **parts).eval()
        result = bounds(model, splits.test, seed=3)
        assert result == bounds(model, splits.test, seed=3)
        kind = "exact" if isinstance(model.spec.posterior, Gaussian) else "relaxed"
        x = splits.test.x
        stats = [model.loss(Batch(x), 0, Stream(s, 0)).stats["elbo"] for s in range(20)]
        assert result[kind].elbo == pytest.approx(float(torch.stack(stats).mean()), rel=2e-3)
        total = result[kind].recon + result[kind].kl_slab + result[kind].kl_spike + result[kind].kl_choice
        assert result[kind].elbo == pytest.approx(-total)
        assert evaluate_model(model, splits, Evaluate(sigmas=()), seed=3).of(Bound) == result
    assert per_batch(1.0, 10_000) == pytest.approx(10_000 / 313)
    assert per_batch(111.8, 10_000) == pytest.approx(31.949 * 111.8, rel=1e-4)


def test_energy_is_the_bound_of_a_given_code(digits: Tensor) -> None:
    model, x = built(), digits[:9]
    z = model.encode(x)
    expected = -model.log_likelihood(x, z) + model.kl(model.posterior(x), x).per_sample()
    torch.testing.assert_close(model.energy(x, z), expected.detach())
    gamma = model.posterior(x).gamma
    assert gamma is not None
    torch.testing.assert_close(model.coders()["mean"](x), (gamma * model.posterior(x).mu).detach())
    assert torch.equal(z == 0, gamma <= 0.5)


def test_weights_and_free_bits_change_the_loss_and_not_the_bound(digits: Tensor) -> None:
    batch, rng = Batch(digits[:64]), Stream(0, 5)
    plain = built().loss(batch, 5, rng)
    weighed = built(slab_weight=Linear(start=0.0, stop=1.0, length=10), spike_weight=3.0).loss(batch, 5, rng)
    torch.testing.assert_close(weighed.parts["kl_slab"], 0.5 * plain.parts["kl_slab"])
    torch.testing.assert_close(weighed.parts["kl_spike"], 3 * plain.parts["kl_spike"])
    torch.testing.assert_close(weighed.stats["elbo"], plain.stats["elbo"])
    model = built(free_bits=0.006)
    free = model.loss(batch, 5, rng)
    kl = model.kl(model.posterior(batch.x), batch.x)
    assert kl.spike is not None
    each = (kl.slab + kl.spike).mean(dim=0)
    assert 0 < int((each > 0.006).sum()) < 6  # else this tests nothing
    expected = free.parts["recon"] + each.clamp(min=0.006).sum()
    torch.testing.assert_close(free.total, expected)
    torch.testing.assert_close(free.stats["elbo"], plain.stats["elbo"], check_dtype=False)


def test_schedules_stand_where_training_left_them(digits: Tensor, tmp_path: Path) -> None:
    model = built(posterior=SpikeSlab(gate=SigmoidGate(slope=Linear(start=1.0, stop=500.0, length=100))))
    soft = model.sample_posterior(digits[:50], generator(0, "z"))
    assert model.train().loss(Batch(digits[:50]), 100, Stream(0, 100)).stats["slope"] == 500
    save_model(model, tmp_path, {})
    again = load_model(tmp_path)
    assert isinstance(again, VariationalModel)
    steep = again.sample_posterior(digits[:50], generator(0, "z"))
    assert torch.equal(steep, model.sample_posterior(digits[:50], generator(0, "z")))
    assert not torch.equal(soft, steep)
    hard = again.sample_posterior(digits[:50], generator(0, "z"), hard=True)
    assert bool((hard == 0).any())
    assert not bool((soft == 0).any())


def test_a_learned_prior_follows_the_gates(digits: Tensor) -> None:
    model = built(prior=SpikeSlabPrior(alpha=0.01, learned=True)).train()
    optimiser = torch.optim.Adam(model.param_groups()["prior.alpha"], lr=0.3)
    for step in range(150):
        optimiser.zero_grad()
        model.loss(Batch(digits[:64]), step, Stream(0, step)).total.backward()
        optimiser.step()
    gamma = model.posterior(digits[:64]).gamma
    assert gamma is not None
    learned = torch.sigmoid(model.param_groups()["prior.alpha"][0])
    torch.testing.assert_close(learned.detach(), gamma.mean(dim=0).detach(), rtol=0, atol=0.03)
    drawn = model.sample_prior(4000, generator(0, "z"))
    torch.testing.assert_close((drawn != 0).float().mean(dim=0), learned.detach(), rtol=0, atol=0.04)


def test_binary_pictures_are_drawn_for_encoder_and_target(digits: Tensor) -> None:
    batch = Batch(digits[:64])
    grey, drawn = (built(likelihood=Bernoulli(binarise=b)) for b in (False, True))
    one, other = (drawn.loss(batch, 0, Stream(s, 0)).parts["recon"] for s in (0, 1))
    assert float(one.detach()) != float(other.detach())
    black = Batch((digits[:64] > 0.5).float())
    torch.testing.assert_close(drawn.loss(black, 0, Stream(0, 0)).total, grey.loss(black, 0, Stream(0, 0)).total)
