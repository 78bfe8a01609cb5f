"""`sparsecode units`: what it prints, writes and draws, and what it says of runs that have no units or no pictures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from noisy import digits, noisy_network, trained_network

from sparsecode.cli import main
from sparsecode.cli.unit_pictures import data_space_keys, most_active
from sparsecode.cli.units import UnitsReport
from sparsecode.data import Arrays, Splits
from sparsecode.evaluate.units.activity import activity
from sparsecode.evaluate.units.receptive_fields import fit_fields, summary
from sparsecode.models.amortised import AmortisedModel
from sparsecode.models.storage import save_model
from sparsecode.nn.activations import ReLU
from sparsecode.nn.encoders import LISTA
from sparsecode.nn.noises import GaussianNoise
from sparsecode.nn.normalisers import Standardise
from sparsecode.recipes import RECIPES
from sparsecode.runs import RunFolder
from sparsecode.schedules import Linear
from sparsecode.specs import from_json
from sparsecode.train.checkpoint import save_state
from sparsecode.train.fit_state import STATE_FILE, FitState

Capture = pytest.CaptureFixture[str]
Make = Callable[..., Path]
PICTURES = {"fields", "neighbours", "query", "levels", "pre_activations", "dynamics"}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A run folder around a model, as training leaves it."""

    def made(name: str, model: AmortisedModel, splits: Splits | None = None, **config: Any) -> Path:
        folder = RunFolder(tmp_path / name)
        splits = splits or digits()
        folder.write_config(msgspec.structs.replace(RECIPES["noise-digits"](), model=model.spec, **config))
        save_model(model, folder.model, {"data": splits.fingerprint(), "data_range": list(splits.span())})
        records = [{"kind": "train", "step": step, "l0": 100 / step, "seconds": 1.0} for step in (20, 40)]
        save_state(folder.resume / STATE_FILE, FitState(40, 40, 1, splits.fingerprint()), model, [])
        folder.metrics_file.write_text("".join(json.dumps(record) + "\n" for record in records))
        return folder.path

    return made


def drawn(folder: Path) -> set[str]:
    return {path.stem.removeprefix("units_") for path in folder.glob("units_*.png")}


def test_a_run_is_measured_and_drawn(make: Make, tmp_path: Path, capsys: Capture) -> None:
    model, report_file = trained_network(), tmp_path / "activity.json"
    run = make("run", model)
    assert main(["units", str(run), "--units", "8", "--json", str(report_file)]) == 0
    text = capsys.readouterr().out
    (result,) = from_json(report_file.read_bytes(), UnitsReport).units
    measured = activity(model, digits().test)
    assert result.activity == measured
    assert measured is not None
    assert measured.terms is not None
    assert f"{measured.active_noisy:.4f} / {measured.active_clean:.4f}" in text
    assert f"{measured.terms.variance / 64:.5f}" in text
    rows = most_active(model, digits().test, 0.0, 8)
    fields = summary(fit_fields(model.encoder.get_parameter("weight")[rows].reshape(8, 1, 8, 8)))
    assert result.fields == fields
    assert f"{fields.gabor_quality:.4f}" in text
    assert drawn(run / "figures") == PICTURES
    assert main(["units", str(run), "--json", str(report_file)]) == 3
    assert "exists already" in capsys.readouterr().err


def test_runs_stand_beside_each_other(
    make: Make, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["--samples", "50", "--units", "2", "--out", str(tmp_path / "out"), "--json", str(tmp_path / "r.json")]
    runs = [str(make("first", trained_network())), str(make("second", noisy_network(1)))]
    plain = make("plain", noisy_network(1, corruption=None))
    assert main(["units", *runs, *few]) == 0
    assert drawn(tmp_path / "out") == {"pre_activations", "dynamics"}
    assert drawn(tmp_path / "out" / "second") == PICTURES - {"pre_activations", "dynamics"}
    result = from_json((tmp_path / "r.json").read_bytes(), UnitsReport)
    assert list(result.runs) == [one.run for one in result.units] == ["first", "second"]
    assert [one.activity.n for one in result.units] == [50, 50]
    capsys.readouterr()
    monkeypatch.setattr("sparsecode.cli.units.pictured", lambda *_, **__: "seen")
    monkeypatch.setattr("sparsecode.cli.units._comparisons", lambda *_: {})
    assert main(["units", runs[0], str(plain), *few, "--force"]) == 1
    assert "trained without noise; set --sigma" in capsys.readouterr().err
    assert main(["units", runs[0], str(plain), *few, "--force", "--sigma", "0.2", "--theta", "0.1"]) == 0
    result = from_json((tmp_path / "r.json").read_bytes(), UnitsReport)
    assert [(one.activity.sigma, one.activity.theta) for one in result.units] == [(0.2, 0.1)] * 2


def test_data_that_are_no_pictures_have_numbers_alone(make: Make, tmp_path: Path, capsys: Capture) -> None:
    rows = tmp_path / "rows.npy"
    np.save(rows, digits().train.x.flatten(1).numpy())
    data = Arrays(path=str(rows))
    spec = msgspec.structs.replace(RECIPES["noise-digits"]().model, n_code=30)
    assert (
        main(["units", str(make("rows", spec.build((64,), 0), data.load(), data=data)), "--out", str(tmp_path / "o")])
        == 0
    )
    text = capsys.readouterr().out
    assert "which are no pictures" in text
    assert "mean share active" in text
    assert drawn(tmp_path / "o") == {"pre_activations", "dynamics"}


def test_models_without_units_are_refused(make: Make, capsys: Capture) -> None:
    assert main(["units", str(make("lista", noisy_network(0, activation=ReLU(), encoder=LISTA(n_iter=1))))]) == 1
    assert "not an activation of one affine map" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--samples", "0"], "--samples 0: expected at least 1"),
        (["--sigma", "-1"], "--sigma -1: expected a finite number, at least 0"),
        (["--sigmas", "0.1", "nan"], "--sigmas nan: expected a finite number, at least 0"),
        (["--query", "50", "--samples", "50"], "--query 50: expected below 50, the number of samples"),
    ],
)
def test_wrong_usage_is_explained(make: Make, capsys: Capture, arguments: list[str], words: str) -> None:
    assert main(["units", str(make("run", noisy_network(0))), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_keys_are_those_of_the_pixels() -> None:
    """Whatever the normaliser: pre-activations change by key . change."""
    model = noisy_network(0, normaliser=Standardise(mean=0.5, std=0.25))
    x, change = digits().test.x[:3], torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    keys = data_space_keys(model, torch.arange(100))
    moved = model.pre_activations(x + change) - model.pre_activations(x)
    assert torch.allclose(moved, change.flatten(1) @ keys.T, atol=1e-4)


def test_the_most_active_units_come_first_and_dead_ones_never() -> None:
    model = trained_network()
    counts = (model.encode(digits().test.x) > 0).sum(dim=0)
    rows = most_active(model, digits().test, 0.0, 100)
    assert len(rows) == int((counts > 0).sum())
    assert counts[rows].tolist() == sorted(counts[rows].tolist(), reverse=True)


def test_levels_follow_the_strongest_noise_of_training(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, ...]] = []
    monkeypatch.setattr("sparsecode.cli.units.pictured", lambda *result, **_: seen.append(result[5]) or "seen")
    annealed = noisy_network(30, corruption=GaussianNoise(sigma=Linear(start=0.4, stop=0.0, length=20)))
    still = noisy_network(0, corruption=GaussianNoise(sigma=0.0))
    assert main(["units", str(make("annealed", annealed)), str(make("still", still))]) == 0
    assert seen == [pytest.approx((0.1, 0.2, 0.4, 0.8, 1.6)), (0.1, 0.3, 0.8, 1.5, 3.0)]
