"""`sparsecode latents`, and `sparsecode probe` of variational runs and of sweeps."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from rich.console import Console

from sparsecode.cli import main
from sparsecode.cli.latents import LatentsReport, _use  # pyright: ignore[reportPrivateUsage]
from sparsecode.data import Digits
from sparsecode.evaluate.probes.mlp_probe import mlp_trials
from sparsecode.evaluate.probes.probe import (
    Probe,
    ProbeReport,
    ProbeTask,
    judged,
    linear_trials,
    probe_features,
    representations,
)
from sparsecode.evaluate.variational.elbo import bounds
from sparsecode.evaluate.variational.iwae import importance_bound
from sparsecode.models.variational import VariationalModel
from sparsecode.plots.probe import accuracy_over
from sparsecode.runs import RunFolder
from sparsecode.specs import from_json

Capture = pytest.CaptureFixture[str]
SHORT = ["--train.epochs", "1", "--train.log-every", "20", "--accelerator", "cpu", "--no-figures"]
SHAPES = 'data={"type":"shapes","n_train":300,"n_valid":40,"n_test":200}'


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recipes by two sizes, on digits."""
    out = tmp_path_factory.mktemp("latents") / "sweep"
    command = [
        "sweep",
        "digits-vae",
        "digits-vsc",
        "--over",
        "model.n_code=3,6",
        "--set",
        "train.epochs=1",
        "--no-figures",
    ]
    assert main([*command, "--backend", "serial", "--out", str(out), "--accelerator", "cpu"]) == 0
    return out


@pytest.fixture(scope="module")
def runs(swept: Path) -> tuple[Path, Path]:
    """The VAE and the VSC of three codes."""
    folders = sorted(path for path in swept.iterdir() if "n_code=3" in path.name)
    return folders[0], folders[1]


def model_of(path: Path) -> VariationalModel:
    model = RunFolder(path).best_model()
    assert isinstance(model, VariationalModel)
    return model


def test_latents_of_runs_are_those_of_the_functions(runs: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "latents.json"
    command = ["latents", *map(str, runs), "--draws", "3", "--samples", "50", "--json", str(file)]
    assert main(command) == 0
    text = capsys.readouterr().out
    report = from_json(file.read_bytes(), LatentsReport)
    split = Digits().load().test
    some = split.take(torch.linspace(0, split.n - 1, 50).long())
    for path, kinds in zip(runs, (["exact"], ["hard", "relaxed"]), strict=True):
        result, model = report.latents[path.name], model_of(path)
        assert list(result.bounds) == kinds
        assert result.bounds == bounds(model, split)
        assert result.importance == importance_bound(model, some, 3)
        assert (result.use.n_code, result.disentanglement) == (3, None)
        assert f"{result.bounds[kinds[0]].elbo:.2f}" in text
        assert f"{result.importance.bound:.2f}" in text
    assert "disentanglement" not in text
    assert main(command) == 3
    assert "latents.json: exists already" in capsys.readouterr().err


def test_all_columns_fit_into_a_terminal(runs: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "latents.json"
    assert main(["latents", str(runs[1]), "--draws", "2", "--samples", "20", "--json", str(file)]) == 0
    (result,) = from_json(file.read_bytes(), LatentsReport).latents.values()
    replace = msgspec.structs.replace
    use = replace(
        result.use, n_code=200, active=12.34, expected=12.34, always_on=12, dead=188, active_units=112,
        selection=(0.01,) * 200, hoyer=0.9, psnr=16.18, ssim=0.6, hard_gap=22.3,
    )  # fmt: skip
    capsys.readouterr()
    Console(width=80).print(_use({"mnist-vsc-1": replace(result, use=use)}))
    text = capsys.readouterr().out
    assert "SSIM    gap" in text
    assert " 0.600  22.30" in text


def test_latents_of_known_factors_are_scored(tmp_path: Path, capsys: Capture) -> None:
    run, file = tmp_path / "run", tmp_path / "latents.json"
    assert main(["train", "digits-vsc", *SHORT, "--set", SHAPES, "--out", str(run)]) == 0
    assert main(["latents", str(run), "--draws", "2", "--json", str(file)]) == 0
    scored = from_json(file.read_bytes(), LatentsReport).latents["run"].disentanglement
    assert scored is not None
    assert scored.n == 200
    assert list(scored.gaps) == ["shape", "scale", "orientation", "x", "y"]
    text = capsys.readouterr().out
    assert "disentanglement of gamma mu" in text
    assert f"{scored.mig:.3f}" in text


def test_latents_refuse_other_models(trained: Path, runs: tuple[Path, Path], capsys: Capture) -> None:
    assert main(["latents", str(trained)]) == 2
    assert "its model is 'iterative'; expected 'variational'" in capsys.readouterr().err
    assert main(["latents", str(runs[0]), "--draws", "0"]) == 2
    assert "--draws 0: expected at least 1" in capsys.readouterr().err


def test_codes_with_gates_are_probed_three_ways(runs: tuple[Path, Path]) -> None:
    vae, vsc = map(model_of, runs)
    assert list(representations(vae)) == ["encode"]
    result, x = representations(vsc), Digits().load().test.x
    q = vsc.posterior(x)
    assert list(result) == ["mu", "encode", "mean"]
    assert q.gamma is not None
    torch.testing.assert_close(result["mu"](x), q.mu)
    torch.testing.assert_close(result["mean"](x), q.gamma * q.mu)
    torch.testing.assert_close(result["encode"](x), q.mu * (q.gamma > 0.5))


def test_a_sweep_is_probed_along_its_axis(swept: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "probe"
    command = ["probe", "--sweep", str(swept), "--labels-per-class", "20", "--seeds", "2", "--out", str(out)]
    assert main([*command, "--coders", "mean", "mu", "--standardise"]) == 0
    report = from_json((out / "probe.json").read_bytes(), ProbeReport)
    assert (report.over, len(report.runs)) == ("model.n_code", 4)
    lines = {p.line: [q.at for q in report.points if q.line == p.line] for p in report.points}
    assert lines == {
        line: [3.0, 6.0] for line in ("digits-vae, encode", "digits-vsc, mu", "digits-vsc, mean", "pixels", "PCA")
    }
    accuracy = {r.features: r.test for r in report.results}
    for point in report.points:
        assert len(point.values) == 2
        if point.line.startswith("digits"):
            recipe, coder = point.line.split(", ")
            name = next(n for n in report.runs if n.startswith(recipe) and f"n_code={point.at:g}" in n)
            assert point.values == accuracy[f"{name}, {coder}"]
    assert (out / "probe.png").read_bytes().startswith(b"\x89PNG")
    assert f"{100 * report.points[0].mean:.1f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected run folders, or --sweep FOLDER"),
        (["--sweep", "SWEEP", "--over", "model.net"], "expected a number, such as model.n_code"),
        (["--sweep", "NOWHERE"], "no finished runs there"),
    ],
)
def test_sweeps_that_cannot_be_probed_are_named(
    arguments: list[str], message: str, swept: Path, tmp_path: Path, capsys: Capture
) -> None:
    places = {"SWEEP": str(swept), "NOWHERE": str(tmp_path)}
    assert main(["probe", *(places.get(word, word) for word in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_two_layers_and_all_labels(global_rng_untouched: None) -> None:
    """On pixels: more than chance with few labels, more with all of them; no class goes unrecognised."""
    splits = Digits().load()
    how = Probe(labels_per_class=(5,), seeds=1, all_labels=True, standardise=True, strengths=(1.0,))
    task = ProbeTask.of(splits, how)
    features, pool = probe_features(lambda x: x.flatten(1), splits, task)
    few, everything = linear_trials(features, pool, task, how)
    assert (few.labels_per_class, everything.labels_per_class) == (5, splits.train.n // 10)
    assert everything.test > 0.93 > few.test > 0.6
    assert everything.least_recall is not None
    assert everything.test > everything.least_recall > 0.7
    task = task._replace(subsets={(5, 0): task.subsets[5, 0]})
    first, again = (list(mlp_trials(features, pool, task, how)) for _ in range(2))
    assert first == again
    assert first[0].test > 0.6


def test_the_class_known_least_is_found() -> None:
    label = torch.tensor([0, 0, 0, 0, 2, 2, 3])
    assert judged([0, 0, 0, 1, 2, 0, 3], label) == pytest.approx((5 / 7, 0.5))
    assert judged([0, 0, 0, 0, 2, 2, 1], label)[1] == 0.0


def test_no_points_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="panels hold no points"):
        accuracy_over({})
