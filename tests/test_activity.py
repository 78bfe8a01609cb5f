"""How units of noise-trained networks are used: definitions, independence of batches, and what is left undefined."""

import math

import pytest
import torch
from noisy import digits, noisy_network, trained_network
from torch import Tensor

from sparsecode.evaluate.evaluation import evaluate_model
from sparsecode.evaluate.metrics import CodeUse, hoyer, treves_rolls
from sparsecode.evaluate.units.activity import Activity, activity, noise_source
from sparsecode.evaluate.units.unit_use import UnitUse
from sparsecode.losses.task import Classify
from sparsecode.models.amortised import AmortisedModel
from sparsecode.nn.activations import ReLU, TopK
from sparsecode.nn.affine import Affine, BiasedDictionary
from sparsecode.nn.constraints import Free
from sparsecode.nn.corruptions import MaskPixels
from sparsecode.nn.encoders import LISTA
from sparsecode.nn.noises import GaussianNoise, LaplaceNoise
from sparsecode.recipes import RECIPES
from sparsecode.schedules import Linear
from sparsecode.specs import from_json, to_json

VALUES = BiasedDictionary(constraint=Free(), bias="zero", start="uniform")


def measured(model: AmortisedModel, sigma: float | None = None, seed: int = 0, theta: float = 0.0) -> Activity:
    actual = activity(model, digits().test, sigma, seed, theta)
    assert actual is not None
    return actual


@pytest.fixture
def codes(rng: torch.Generator) -> Tensor:
    z = torch.relu(torch.randn(60, 8, generator=rng, dtype=torch.float64))
    z[:, 3] = 0.0  # a dead unit
    z[7] = 0.0  # a silent sample
    return z


def test_use_is_that_of_the_definitions(codes: Tensor) -> None:
    use = UnitUse(8, 0.1, codes.device)
    use.update(codes)
    actual = use.result()
    active = (codes > 0.1).double()
    share = active.sum(dim=0) / active.sum()
    share = share[share > 0]
    assert actual.active == pytest.approx(float(active.mean()))
    assert (actual.dead, actual.dead_share) == (1, 1 / 8)
    assert actual.entropy == pytest.approx(float(-(share * share.log()).sum()) / math.log(8))
    heard = codes[codes.any(dim=1)]
    assert actual.hoyer == pytest.approx(float(hoyer(heard).mean()))
    assert actual.population == pytest.approx(float(treves_rolls(heard).mean()))
    known = CodeUse(8)
    known.update(codes)
    assert actual.lifetime == pytest.approx(float(known.result().lifetime_sparsity.nanmean()))


@pytest.mark.parametrize("size", [1, 7, 60])
def test_use_does_not_depend_on_the_batches(codes: Tensor, size: int) -> None:
    whole, parts = (UnitUse(8, 0.1, codes.device) for _ in range(2))
    whole.update(codes)
    for part in codes.split(size):
        parts.update(part)
    for a, b in zip(whole.result(), parts.result(), strict=True):
        assert a == pytest.approx(b, rel=1e-12)


def test_entropy_of_equal_units_is_1_and_of_silence_unknown() -> None:
    use = UnitUse(4, 0.0, torch.device("cpu"))
    use.update(torch.eye(4))
    assert use.result().entropy == pytest.approx(1.0)
    silent = UnitUse(4, 0.0, torch.device("cpu"))
    silent.update(torch.zeros(3, 4))
    actual = silent.result()
    assert (actual.active, actual.dead, actual.dead_share) == (0.0, 4, 1.0)
    assert (actual.hoyer, actual.population, actual.lifetime, actual.entropy) == (None, None, None, None)


def test_numbers_are_those_of_the_weights_and_of_drawn_noise() -> None:
    model = trained_network()
    actual = measured(model, sigma=0.5)
    keys, bias = (model.encoder.get_parameter(name).detach().double() for name in ("weight", "bias"))
    x = digits().test.x.flatten(1).double()
    norms, drive = keys.norm(dim=1), x @ keys.T
    pre = drive + bias
    assert actual.norm_mean == pytest.approx(float(norms.mean()))
    assert actual.norm_cv == pytest.approx(float(norms.std(correction=0) / norms.mean()))
    assert actual.bias_mean == pytest.approx(float(bias.mean()))
    assert actual.negative_bias == pytest.approx(float((bias < 0).double().mean()))
    assert actual.margin == pytest.approx(float((pre.abs() / (0.5 * norms)).mean()), rel=1e-5)
    assert actual.active_clean == pytest.approx(float((pre > 0).double().mean()), abs=1e-4)
    assert actual.flips_bias_up == pytest.approx(float(((pre > 0) & (drive <= 0)).double().mean()), abs=1e-4)
    assert actual.flips_bias_down == pytest.approx(float(((pre <= 0) & (drive > 0)).double().mean()), abs=1e-4)
    # a pre-activation changes sign with probability Phi(-|u|)
    flips = torch.special.ndtr(-pre.abs() / (0.5 * norms))
    assert actual.flips_noise == pytest.approx(float(flips.mean()), rel=0.03)
    values = model.decoder.get_parameter("atoms").detach().double()
    assert actual.key_value_cosine == pytest.approx(float(torch.cosine_similarity(keys, values, dim=1).mean()))
    assert actual.terms is not None
    assert (actual.terms.n, actual.terms.sigma) == (181, 0.5)


def test_noise_is_that_of_training_at_its_end() -> None:
    assert measured(trained_network()).sigma == 0.3
    annealed = noisy_network(30, corruption=GaussianNoise(sigma=Linear(start=0.4, stop=0.1, length=20)))
    assert measured(annealed).sigma == pytest.approx(0.1)
    ranged = noisy_network(1, corruption=GaussianNoise(sigma=Linear(start=0.4, stop=0.0, length=20), unit="range"))
    assert measured(ranged).sigma == pytest.approx(0.38)  # after a step of 20; digits span 0 to 1
    assert measured(ranged, sigma=0.7).sigma == 0.7
    gone = noisy_network(20, corruption=GaussianNoise(sigma=Linear(start=0.4, stop=0.0, length=20)))
    assert measured(gone).sigma == 0


def test_without_noise_on_is_off() -> None:
    actual = measured(trained_network(), sigma=0.0)
    for name in ("active", "dead", "hoyer", "population", "lifetime", "entropy"):
        assert getattr(actual, f"{name}_noisy") == getattr(actual, f"{name}_clean")
    assert (actual.margin, actual.terms) == (None, None)
    assert (actual.flips_noise, actual.nearest_target_noisy) == (0.0, 1.0)


def test_more_noise_flips_more_and_leads_further_astray() -> None:
    few, many = (measured(trained_network(), sigma) for sigma in (0.2, 1.0))
    assert few.flips_noise < many.flips_noise
    assert few.nearest_target_noisy is not None
    assert many.nearest_target_noisy is not None
    assert few.nearest_target_noisy > many.nearest_target_noisy
    assert many == measured(trained_network(), 1.0)
    assert many != measured(trained_network(), 1.0, seed=1)
    assert from_json(to_json(many), Activity) == many


def test_what_does_not_apply_is_left_out() -> None:
    labels = noisy_network(0, task=Classify(n_classes=10))
    actual = measured(labels)
    assert actual.key_value_cosine is None
    assert actual.nearest_target_recon is None
    assert actual.terms is None
    assert actual.margin is not None
    cosine = measured(
        noisy_network(0, encoder=Affine(centred=False, start="uniform", bias=False, cosine=True), decoder=VALUES)
    )
    assert (cosine.margin, cosine.terms) == (None, None)
    assert measured(noisy_network(0, activation=TopK(k=3))).active_noisy == pytest.approx(0.03)
    assert measured(noisy_network(0, corruption=LaplaceNoise(sigma=0.3))).terms is None


def test_models_without_noise_have_none_unless_it_is_given() -> None:
    split = digits().test
    for corruption in (None, MaskPixels()):
        plain = noisy_network(0, corruption=corruption)
        assert activity(plain, split) is None
        assert measured(plain, 0.3).sigma == 0.3
    assert noise_source(RECIPES["digits-sdl"]().model.build(digits().shape, 0), 0.3) is None
    lista = noisy_network(0, activation=ReLU(), encoder=LISTA(n_iter=1))
    assert activity(lista, split, 0.3) is None


def test_every_noise_run_records_it() -> None:
    splits, how = digits(), RECIPES["noise-digits"]().evaluate
    recorded = evaluate_model(trained_network(), splits, how, 0)
    assert recorded.of(Activity) == {"model": measured(trained_network())}
    assert evaluate_model(noisy_network(0, corruption=None), splits, how, 0).of(Activity) == {}
