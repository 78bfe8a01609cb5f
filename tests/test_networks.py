"""Ordinary networks as autoencoders: starts, cosines, shared biases, projections, memories, annealing; and what noise does to them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from toys import jobs_in, toy

from sparsecode.data import Digits
from sparsecode.evaluate.units.activity import Activity
from sparsecode.models.amortised import Amortised, AmortisedModel
from sparsecode.named_sweeps import EXPERIMENTS
from sparsecode.nn.activations import ReLU, Softmax
from sparsecode.nn.affine import Affine, BiasedDictionary
from sparsecode.nn.constraints import Free
from sparsecode.nn.noises import GaussianNoise
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.projection import Projection
from sparsecode.ops.rng import Stream
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch
from sparsecode.runner import run
from sparsecode.schedules import Linear
from sparsecode.sweeps import Axis, jobs_of, serial, sweep

replace = msgspec.structs.replace
PLAIN = Affine(centred=False, start="uniform")
VALUES = BiasedDictionary(constraint=Free(), bias="zero", start="uniform")
X = Digits().load().train.x[:100]


def network(n_code: int = 40, shape: tuple[int, ...] = (8, 8), **parts: Any) -> AmortisedModel:
    settings: dict[str, Any] = {"activation": ReLU(), "encoder": PLAIN, "decoder": VALUES, **parts}
    return Amortised(n_code=n_code, **settings).build(shape, seed=0)


def test_at_the_start_half_of_the_units_fire_and_keys_have_norm_0_577() -> None:
    model = network(2000)
    x = torch.randn(200, 8, 8, generator=torch.Generator().manual_seed(1))
    assert abs(float((model.encode(x) > 0).double().mean()) - 0.5) < 0.01
    norms = torch.linalg.vector_norm(model.state_dict()["encoder.weight"], dim=1)
    assert abs(float(norms.mean()) - 1 / math.sqrt(3)) < 0.01


def test_cosines_are_cosines_and_silence_gives_0() -> None:
    model = network(encoder=Affine(centred=False, start="uniform", bias=False, cosine=True))
    keys = model.state_dict()["encoder.weight"]
    expected = torch.nn.functional.cosine_similarity(X.flatten(1)[:, None], keys[None], dim=2)
    torch.testing.assert_close(model.pre_activations(X), expected, rtol=1e-4, atol=1e-6)
    assert not bool(model.pre_activations(torch.zeros(1, 8, 8)).any())
    torch.testing.assert_close(torch.linalg.vector_norm(keys, dim=1), torch.ones(40))


def test_positive_encoders_see_no_negative_values_and_keep_no_negative_weights() -> None:
    model = network(encoder=Affine(centred=False, start="uniform", positive=True))
    assert torch.equal(model.pre_activations(X - 0.5), model.pre_activations((X - 0.5).clamp(min=0)))
    with torch.no_grad():
        for param in model.parameters():
            param.sub_(0.05)
    model.constrain_()
    assert float(model.state_dict()["encoder.weight"].min()) == 0.0


def test_a_shared_bias_is_one_number_for_all() -> None:
    model = network(encoder=Affine(centred=False, start="uniform", shared_bias=True))
    assert model.state_dict()["encoder.bias"].shape == (1,)
    before = model.pre_activations(X)
    with torch.no_grad():
        model.get_parameter("encoder.bias").fill_(-0.25)
    torch.testing.assert_close(model.pre_activations(X), before - 0.25)


@pytest.mark.parametrize("before", [True, False])
def test_projections_stand_before_or_behind_the_noise(before: bool) -> None:
    model = network(corruption=GaussianNoise(sigma=100.0), projection=Projection(before_noise=before))
    with torch.no_grad():
        model.get_parameter("projection.weight").mul_(1e-6)
    model.train()
    reached = float(model.loss(Batch(X), 0, Stream(0, 0)).total.detach())
    assert (reached > 1e4) == before  # behind it, the noise is projected away
    assert set(model.param_groups()) >= {"projection.weight"}


def test_a_memory_of_the_samples_recalls_the_nearest() -> None:
    model = network(
        100,
        activation=Softmax(beta=2000.0),
        encoder=Affine(centred=False, tied=True, bias=False, cosine=True),
        decoder=BiasedDictionary(constraint=Free(), bias="zero", start="samples", frozen=True),
    )
    model.initialise_(X)
    torch.testing.assert_close(model.reconstruct(X + 0.01), X, rtol=0, atol=1e-3)
    assert list(model.param_groups()) == ["activation.beta"]
    with pytest.raises(ValueError, match=r"n_code is 100 and decoder.start is 'samples', of which there are 50"):
        model.initialise_(X[:50])


def test_layers_behind_the_code_decode_it() -> None:
    model = network(decoder=Perceptron(hidden=(30, 20), activation="gelu"))
    assert model.reconstruct(X).shape == X.shape
    assert sum(p.numel() for p in model.decoder.parameters()) == 40 * 30 + 30 + 30 * 20 + 20 + 20 * 64 + 64


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"decoder": Perceptron(), "encoder": Affine()},
            r"encoder.centred needs atoms in data space, and decoder is 'perceptron'",
        ),
        ({"encoder": Affine(tied=True, centred=False), "decoder": Perceptron()}, "encoder.tied needs atoms"),
    ],
)
def test_parts_that_need_atoms_say_so(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**parts)


def test_annealed_noise_is_that_of_the_step_in_training_and_of_the_next_one_after() -> None:
    model = network(corruption=GaussianNoise(sigma=Linear(start=0.8, stop=0.2, length=10)))
    rows = model.normalise(X)

    def spread() -> float:
        made = model.corrupt(rows, torch.Generator().manual_seed(0))
        assert made is not None
        return float((made.x - rows).std())

    model.train()
    model.loss(Batch(X), 5, Stream(0, 5))
    assert abs(spread() - 0.5) < 0.02
    model.eval()
    assert abs(spread() - 0.44) < 0.02  # as the next step would
    model.loss(Batch(X), 10, Stream(0, 10))
    assert abs(spread() - 0.44) < 0.02  # evaluation moves nothing
    model.train()
    model.loss(Batch(X), 500, Stream(0, 500))
    assert abs(spread() - 0.2) < 0.02


@pytest.mark.parametrize(
    "name",
    [n if "latents" not in n and "cifar" not in n else pytest.param(n, marks=pytest.mark.slow) for n in EXPERIMENTS],
)
def test_every_experiment_is_a_grid_of_runs_that_can_be_built(name: str, tmp_path: Path) -> None:
    experiment = EXPERIMENTS[name]
    jobs = jobs_in(experiment, tmp_path)
    assert len({job.folder for job in jobs}) == len(jobs) > 1
    assert all(experiment.x in job.overrides for job in jobs if job.recipe in experiment.recipes)


def test_noise_silences_units_of_a_small_network(tmp_path: Path) -> None:
    config = toy("noise-digits", tmp_path, steps=400, evaluate_every=10.0, checkpoint_every=10.0, log_every=600)
    config = replace(config, model=replace(config.model, n_code=200))
    active: list[float] = []
    for sigma in (0.0, 0.8):
        noisy = replace(config, model=replace(config.model, corruption=GaussianNoise(sigma=sigma)))
        evaluation = run(noisy, tmp_path / f"{sigma}", accelerator="cpu", figures=False).evaluation
        assert evaluation is not None
        active.append(evaluation.of(Activity)["model"].active_noisy)
    assert active[1] < 0.6 * active[0]


@pytest.mark.slow
def test_on_mnist_units_fall_silent_with_noise_and_stay_silent_when_it_is_gone(tmp_path: Path) -> None:
    """The acceptance checks f, g and i: 1000 units, 4 400 steps of 250 digits (SPARSECODE_DATA)."""
    result: dict[float, Any] = {}
    experiment = EXPERIMENTS["noise-mnist"]
    axes = [Axis.parse("model.corruption.sigma=0,0.05,0.1,0.3,0.8,3")]
    for outcome in sweep(jobs_of(experiment.recipes, axes, (), tmp_path), tmp_path, serial()):
        assert outcome.evaluation is not None
        result[outcome.job.overrides["model.corruption.sigma"]] = outcome.evaluation.of(Activity)["model"]
    noisy = [result[sigma].active_noisy for sigma in (0.05, 0.1, 0.3, 0.8)]
    assert noisy == sorted(noisy, reverse=True)
    clean = [result[sigma].active_clean for sigma in (0, 0.1, 0.3, 0.8, 3)]
    assert clean == sorted(clean, reverse=True)
    assert result[3].bias_mean < 0
    assert result[3].bias_sd < 0.3 * abs(result[3].bias_mean)
    assert result[3].norm_cv < result[0.3].norm_cv
    annealed = run(RECIPES["noise-mnist-anneal"](), tmp_path / "annealed").evaluation
    assert annealed is not None
    units = annealed.of(Activity)["model"]
    assert units.active_clean < 2.5 * result[0.3].active_noisy
    assert units.active_clean < 0.8 * result[0].active_clean
