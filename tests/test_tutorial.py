"""Thresholded codes, curves of several runs, anomalies and classical restoration: what the commands write, and what they refuse."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from sparsecode.cli import main
from sparsecode.cli import restore as restore_cli
from sparsecode.cli.anomaly import AnomalyReport
from sparsecode.cli.curves import CurvesReport, courses_of
from sparsecode.cli.restore import RestoreReport
from sparsecode.cli.threshold import ThresholdReport
from sparsecode.data import Digits, WithoutClasses
from sparsecode.data.splits import Split
from sparsecode.evaluate.base import MeasureSettings
from sparsecode.evaluate.metrics import wape
from sparsecode.evaluate.reconstruction.anomaly import anomalies, reference_anomaly_scores
from sparsecode.evaluate.reconstruction.classical import Pairs, classical, linear_map
from sparsecode.evaluate.units.codes import CodeMeans, Codes
from sparsecode.evaluate.units.thresholding import above, filled, largest, thresholding
from sparsecode.losses import KL
from sparsecode.losses.kl import KLTerm, kl_divergence
from sparsecode.models.amortised import Amortised
from sparsecode.nn.activations import Sigmoid
from sparsecode.nn.noises import GaussianNoise
from sparsecode.specs import from_json

Capture = pytest.CaptureFixture[str]
SETTINGS = MeasureSettings()
SHORT = ["--no-figures", "--set", "train.epochs=2", "train.evaluate_every=1", "evaluate.sigmas=[]"]


@pytest.fixture(scope="module")
def denoisers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two seeds of a sigmoid denoiser with a KL term, trained without zeros."""
    folder = tmp_path_factory.mktemp("tutor")
    data = 'data={"type":"without_classes","source":{"type":"digits"},"classes":[0]}'
    for seed in (0, 1):
        changes = [data, f"seed={seed}", "model.n_code=20", 'model.corruption={"type":"gaussian","sigma":0.3}']
        assert main(["train", "digits-satlin", "--out", str(folder / f"s{seed}"), *SHORT, *changes]) == 0
    return folder / "s0", folder / "s1"


def test_the_measure_of_codes_does_not_depend_on_batches_and_gives_the_share_of_the_loss() -> None:
    torch.manual_seed(0)
    split = Split(torch.rand(2300, 6))  # more than one chunk of samples
    model = Amortised(n_code=5, activation=Sigmoid(), terms=(KL(rho=0.1, weight=3.0),)).build((6,), 0)
    with torch.no_grad():
        result = Codes().measure(model, split, SETTINGS, 0)["encode"]
        z = model.encode(split.x)
        kl = float(kl_divergence(0.1, z.double().mean(dim=0)).sum())
        error = float((model.normalise(split.x) - model.decode(z)).double().square().sum(dim=1).mean())
    assert result.kl == pytest.approx(kl, rel=1e-6)
    assert result.error_per_feature == pytest.approx(error / 6, rel=1e-5)
    assert result.kl_share == pytest.approx(3 * kl / (error + 3 * kl), rel=1e-5)
    assert result.histogram is not None
    assert sum(result.histogram.counts) == 5
    assert result.histogram.edges[0] == pytest.approx(result.least_activation)
    at_target = KLTerm(KL(rho=0.1), 3)
    assert float(at_target.divergence(torch.full((4, 3), 0.1), training=False)) == pytest.approx(0, abs=1e-6)


def test_codes_of_denoisers_are_those_of_corrupted_samples() -> None:
    split = Split(torch.zeros(400, 6))
    model = Amortised(n_code=5, activation=Sigmoid(), terms=(KL(),), corruption=GaussianNoise(sigma=2.0)).build((6,), 0)
    result = Codes().measure(model, split, SETTINGS, 0)["encode"]
    with torch.no_grad():
        clean = model.encode(split.x).double().mean()
    assert abs(result.mean_activation - float(clean)) > 1e-4
    assert Codes().measure(model, split, SETTINGS, 0)["encode"] == result


def test_kept_codes() -> None:
    z = torch.tensor([[0.5, -2.0, 0.0, 1.0]])
    assert above(z, 0.5).tolist() == [[0, 1, 0, 1]]
    assert largest(z, 2).tolist() == [[0, 1, 0, 1]]
    train = torch.tensor([[0.2, 0.0, 0.0, 0.0], [0.4, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]])
    assert filled(z, above(z, 0.5), train, 1 - above(train, 0.5))[0].tolist() == pytest.approx([0.3, -2.0, 0.0, 1.0])


@torch.no_grad()
def test_all_codes_give_the_reconstruction_and_none_the_bias() -> None:
    splits = Digits().load()
    model = Amortised(n_code=12, activation=Sigmoid(), terms=(KL(),)).build((8, 8), 0)
    result = thresholding(model, splits.test, splits.train, (0.0, 1.0), (1, 12))
    whole = float((splits.test.x - model.reconstruct(splits.test.x)).square().mean())
    nothing = float((splits.test.x - model.denormalise(model.decode(torch.zeros(1, 12)))).square().mean())
    every, none = result.by_threshold
    assert (every.mse, none.mse) == pytest.approx((whole, nothing), rel=1e-4)
    assert (every.l0, none.l0) == (12, 0)
    assert result.by_count[1].mse == pytest.approx(whole, rel=1e-4)
    assert result.by_count[0].l0 == 1
    means = model.denormalise(model.decode(model.encode(splits.train.x).mean(dim=0, keepdim=True)))
    assert none.mse_filled == pytest.approx(float((splits.test.x - means).square().mean()), rel=1e-4)


def test_threshold_of_runs(denoisers: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    runs = [str(path) for path in denoisers]
    out = tmp_path / "t"
    arguments = ["threshold", *runs, "--out", str(out), "--json", str(out / "t.json"), "--samples", "50"]
    assert main([*arguments, "--thresholds", "0", "0.2", "--k", "1", "20"]) == 0
    assert "50 samples, corrupted as in training" in " ".join(capsys.readouterr().out.split())
    report = from_json((out / "t.json").read_bytes(), ThresholdReport)
    assert {name: len(one.by_threshold) for name, one in report.thresholding.items()} == {"s0": 2, "s1": 2}
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.png")} == {
        "threshold.png",
        "s0/thresholded.png",
        "s1/thresholded.png",
    }
    assert main([*arguments]) == 3
    assert main(["threshold", runs[0], "--k", "21"]) == 2
    assert "k is 21; expected 1 to 20" in capsys.readouterr().err


def test_curves_of_runs(denoisers: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    runs = [str(path) for path in denoisers]
    assert (
        main(
            [
                "curves",
                *runs,
                "--of",
                "codes/encode/kl",
                "restoration/mse",
                "--out",
                str(tmp_path),
                "--json",
                str(tmp_path / "c.json"),
            ]
        )
        == 0
    )
    curves = from_json((tmp_path / "c.json").read_bytes(), CurvesReport).curves
    assert {name: [*lines] for name, lines in curves.items()} == {
        "codes/encode/kl": ["s0", "s1"],
        "restoration/mse": ["s0", "s1"],
    }
    assert (tmp_path / "curves_beside.png").read_bytes()[:4] == b"\x89PNG"
    course = courses_of(denoisers[0])["codes/encode/kl"]
    assert course.epochs == [1.0, 2.0]
    assert all(value > 0 for value in course.values)
    capsys.readouterr()
    assert main(["curves", runs[0], str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err
    assert main(["curves", *runs, "--of", "codes/kl"]) == 2
    assert "--of codes/kl: not in every run's validations; choose from encode/objective" in capsys.readouterr().err


def test_training_lacks_the_classes_and_the_test_split_keeps_them() -> None:
    whole, rest = Digits().load(), WithoutClasses(source=Digits(), classes=(0, 7)).load()
    for part in (rest.train, rest.valid):
        assert part.label is not None
        assert not torch.isin(part.label, torch.tensor([0, 7])).any()
    assert torch.equal(rest.test.x, whole.test.x)
    assert whole.train.label is not None
    assert rest.train.n == int((~torch.isin(whole.train.label, torch.tensor([0, 7]))).sum())
    with pytest.raises(ValueError, match="classes has 10; choose from 0, 1"):
        WithoutClasses(source=Digits(), classes=(10,)).load()
    with pytest.raises(ValueError, match="leave at least one"):
        WithoutClasses(source=Digits(), classes=tuple(range(10))).load()


def test_areas_under_the_curve() -> None:
    label = np.array([0, 0, 1, 1, 1])
    result = anomalies({"right": np.array([2.0, 3.0, 0, 1, 1]), "ties": np.ones(5)}, label, (0,)).by
    assert (result["right"].auc, result["right"].detected) == (1.0, 1.0)
    assert result["ties"].auc == pytest.approx(0.5)
    with pytest.raises(ValueError, match="0 of 5 samples are of class 4"):
        anomalies({"ties": np.ones(5)}, label, (4,))
    x = torch.randn(50, 1) @ torch.randn(1, 4)
    distance, rest = reference_anomaly_scores(x, x).values()
    assert np.allclose(distance, (x - x.mean(dim=0)).square().mean(dim=1))
    assert np.allclose(rest, 0, atol=1e-9)


def test_anomalies_of_runs(denoisers: tuple[Path, Path], tmp_path: Path, capsys: Capture, trained: Path) -> None:
    runs = [str(path) for path in denoisers]
    scores, json = tmp_path / "s.npz", tmp_path / "a.json"
    arguments = ["anomaly", *runs, "--out", str(tmp_path), "--scores", str(scores), "--json", str(json)]
    assert main(arguments) == 0
    report = from_json(json.read_bytes(), AnomalyReport).anomalies
    with np.load(scores) as file:
        assert report.n_anomalous == int(file["anomalous"].sum()) == int((file["label"] == 0).sum())
        assert set(report.by) == {*file.files} - {"label", "anomalous"}
    assert all(0 <= one.auc <= 1 for one in report.by.values())
    assert (tmp_path / "roc.png").exists()
    assert main(arguments) == 3
    capsys.readouterr()
    assert main(["anomaly", str(trained)]) == 2
    assert "trained on all classes; expected data of type 'without_classes'" in capsys.readouterr().err


def test_weighted_absolute_errors() -> None:
    x = torch.rand(7, 3, 2)
    assert wape(x, x) == 0
    assert wape(x, torch.zeros_like(x)) == pytest.approx(1)
    assert wape(torch.zeros(2, 2), torch.ones(2, 2)) == math.inf


def test_classical_methods_remove_noise_and_their_parameters_are_those_of_the_validation_pairs() -> None:
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.linspace(0, 1, 12), np.linspace(0, 1, 12))
    clean = np.stack([ramp, ramp.T[::-1], 2 - ramp])
    pairs = Pairs(clean, clean + 0.3 * rng.standard_normal(clean.shape))
    before = float(np.mean((pairs.corrupted - clean) ** 2))
    methods = {**classical(pairs), "linear": linear_map(pairs, pairs)}
    assert {"median", "Wiener"} <= set(methods)
    for name, one in methods.items():
        assert float(np.mean((one.restore(pairs.corrupted) - clean) ** 2)) < 0.6 * before, name
    assert methods["median"].method == "7 x 7"


def test_restored_beside_classical_methods(
    denoisers: tuple[Path, Path], tmp_path: Path, capsys: Capture, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsecode.evaluate.reconstruction.classical.has_skimage", lambda: False)
    monkeypatch.setattr(restore_cli, "has_skimage", lambda: False)
    runs = [str(path) for path in denoisers]
    arguments = ["restore", *runs, "--samples", "30", "--out", str(tmp_path), "--json", str(tmp_path / "r.json")]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "left out: total variation, non-local means, which need scikit-image; pip install" in " ".join(said.split())
    by = from_json((tmp_path / "r.json").read_bytes(), RestoreReport).by
    assert list(by) == ["corrupted", "median", "Wiener", "linear map of training samples", "s0", "s1"]
    assert by["linear map of training samples"].mse < by["corrupted"].mse
    assert (tmp_path / "classical.png").exists()
    assert main(["restore", str(trained)]) == 2
    assert "trained on clean samples; expected a model with a corruption" in capsys.readouterr().err


def test_total_variation_and_non_local_means() -> None:
    pytest.importorskip("skimage")
    rng = np.random.default_rng(0)
    clean = np.zeros((4, 16, 16))
    clean[:, 4:12, 4:12] = 1
    pairs = Pairs(clean, clean + 0.2 * rng.standard_normal(clean.shape))
    methods = classical(pairs)
    for name in ("total variation", "non-local means"):
        assert float(np.mean((methods[name].restore(pairs.corrupted) - clean) ** 2)) < 0.02, name


def test_old_scores_of_codes_are_read() -> None:
    old = b'{"type":"code_means","n":3,"mean_activation":0.1,"least_activation":0.0,"greatest_activation":0.2,"rho":0.05,"kl":1.0}'
    result = msgspec.json.decode(old, type=CodeMeans)
    assert (result.kl, result.kl_share, result.histogram) == (1.0, None, None)
