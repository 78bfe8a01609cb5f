"""What training changes in noise and competition is followed: closed forms, and the share of units active before and after."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from noisy import digits, noisy_network, trained_network
from torch import Tensor, nn

from sparsecode.cli import main
from sparsecode.evaluate.base import MeasureSettings
from sparsecode.evaluate.evaluation import validation
from sparsecode.evaluate.units.activity import activity
from sparsecode.evaluate.units.training_state import TrainingState
from sparsecode.models.amortised import AmortisedModel
from sparsecode.models.storage import build_model
from sparsecode.nn.activations import BatchTopK, GABASwitch, Inhibition, LearnedK, SampledK, Softmax, SubtractTopK, TopK
from sparsecode.nn.noises import GaussianNoise
from sparsecode.recipes import RECIPES
from sparsecode.schedules import Linear

X = digits().test


def state(model: AmortisedModel, samples: int = 500) -> dict[str, float]:
    result = TrainingState(samples=samples).measure(model, X, MeasureSettings(), 0)
    return result["model"].values if result else {}


def largest(model: AmortisedModel, rank: int) -> Tensor:
    """The rectified pre-activation of this rank, counted from 1, for each sample."""
    return torch.relu(model.pre_activations(X.x)).detach().topk(rank, dim=1).values[:, -1].double()


def parameter(model: AmortisedModel, name: str) -> nn.Parameter:
    return model.activation.get_parameter(name)


def test_plain_units_under_constant_noise_have_no_state() -> None:
    assert state(noisy_network(0)) == {}


def test_the_present_noise_is_that_of_the_next_step() -> None:
    noise = GaussianNoise(sigma=Linear(start=0.4, stop=0.1, length=20), unit="range")
    model = noisy_network(11, corruption=noise)  # digits span 0 to 1
    assert state(model) == {"sigma": pytest.approx(0.4 - 0.3 * 11 / 20)}


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (TopK(k=Linear(start=100, stop=10, length=20)), {"k": 100 - 90 * 10 / 20}),  # after step 10
        (LearnedK(start=12.5), {"k": 12.5}),
        (SampledK(start=20, deviation=0.25), {"k": 20.0, "k_deviation": 0.25}),
        (Softmax(beta=3.0), {"beta": 3.0}),
        (BatchTopK(k=5), {"threshold": 0.0}),
        (Inhibition(), {"inhibition": 0.0}),
    ],
)
def test_numbers_of_codes_and_other_states(activation: Any, expected: dict[str, float]) -> None:
    model = noisy_network(0, activation=activation)
    if isinstance(activation, TopK):
        model.activation.train_code(torch.zeros(1, 100), 10, training=True)
    assert state(model) == pytest.approx(expected, rel=1e-6)


def test_inhibition_of_the_largest() -> None:
    model = noisy_network(0, activation=SubtractTopK(k=3))
    assert state(model) == {"k": 3, "inhibition": pytest.approx(float(largest(model, 4).mean()))}
    assert state(model, 1)["inhibition"] == pytest.approx(float(largest(model, 4)[0]))


def test_the_gate_opens_from_excitation_to_inhibition() -> None:
    model = noisy_network(0, activation=GABASwitch(k=3, until=10))
    mean = float(largest(model, 4).mean())
    assert state(model) == pytest.approx({"gate": -1.0, "gate_inhibits": 0.0, "inhibition": -mean})
    model.activation.get_buffer("counts")[:50] = 7.5  # g = 0.5
    assert state(model) == pytest.approx({"gate": -0.25, "gate_inhibits": 0.5, "inhibition": -0.25 * mean})
    model.activation.get_buffer("counts").fill_(99.0)
    assert state(model) == pytest.approx({"gate": 1.0, "gate_inhibits": 1.0, "inhibition": mean})


def test_activity_before_and_after_a_circuit() -> None:
    """G = c times the identity: m = pre - c relu(pre), so that c = 2 silences every unit and c = 0 none."""
    model = noisy_network(40, activation=Inhibition())
    pre = model.pre_activations(X.x).detach()
    for c, silent in ((0.0, False), (2.0, True)):
        with torch.no_grad():
            parameter(model, "lateral").copy_(c * torch.eye(100))
        result = activity(model, X)
        assert result is not None
        assert result.active_before_clean == pytest.approx(float((pre > 0).double().mean()))
        assert result.active_before_noisy != result.active_before_clean
        assert result.active_clean == (0.0 if silent else result.active_before_clean)
        assert result.active_noisy == (0.0 if silent else result.active_before_noisy)
        assert result.dead_share_before_clean == float((pre <= 0).all(dim=0).double().mean())
        assert (result.dead_share_clean == 1.0) == silent
        assert state(model) == {"inhibition": pytest.approx(float(c * torch.relu(pre).double().mean()), rel=1e-5)}


def test_units_that_do_not_compete_have_no_activity_before() -> None:
    result = activity(trained_network(), X)
    assert result is not None
    assert result.active_before_clean is result.active_before_noisy is result.dead_share_before_clean is None
    assert result.active_without_bias is not None
    assert result.active_without_bias == pytest.approx(
        result.active_clean - result.flips_bias_up + result.flips_bias_down
    )
    assert "active_before_clean" not in result.means()


def test_noise_recipes_follow_it() -> None:
    config = RECIPES["noise-mnist-inhibition"]()
    model = build_model(config.model, X.x.shape[1:], 0).eval()
    values = validation(model, X, 1.0, config.evaluate)
    assert values["training_state/inhibition"] == 0.0
    assert values["activity/active_before_noisy"] == values["activity/active_noisy"]


def test_train_and_eval_print_the_share_of_active_units(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    arguments = ["--train.epochs", "0.2", "--model.n_code", "20", "--no-figures", "--set", "evaluate.sigmas=[]"]
    assert main(["train", "noise-digits", *arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "activity/active_noisy 0." in printed
    assert "activity/active_clean 0." in printed
    for text in (printed, (main(["eval", str(out)]), capsys.readouterr().out)[1]):
        assert "units, noise of sigma 0.3" in text
        row = next(line for line in text.splitlines() if line.startswith("│ active "))
        assert all(0 < float(cell) < 1 for cell in row.split("│")[2:4])
