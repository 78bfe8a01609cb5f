"""Transcoder and crosscoder on two sites of a running host: trained by the command, scored by site, written where a format can hold them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_extract_text import GPT2, SINK, TEXT, saved

from sparsecode.cli import main
from sparsecode.data.batches import batches
from sparsecode.evaluate.reconstruction.sites import LinearBaseline, SiteScores
from sparsecode.interop import read
from sparsecode.runs import RunFolder

pytestmark = SINK
MLP = ("h.1.ln_2", "h.1.mlp")
SHORT = (
    "--data.length", "12", "--data.batch-size", "8", "--data.buffer", "200", "--data.valid", "0.2", "--data.test", "0.2", "--model.n-code", "32",
    "--train.epochs", "3", "--train.batch-size", "32", "--no-figures", "--accelerator", "cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("host")
    saved(home / "gpt", "GPT2", **GPT2)
    (home / "text.txt").write_text(TEXT)
    return home


def train(home: Path, recipe: str, hook_points: tuple[str, ...], out: Path, *options: str) -> RunFolder:
    data = (
        "--data.type",
        "host",
        "--data.model",
        str(home / "gpt"),
        "--data.text",
        str(home / "text.txt"),
        "--data.hook-point",
    )
    assert main(["train", recipe, *data, *hook_points, *options, *SHORT, "--out", str(out)]) == 0
    return RunFolder(out)


def convert(run: RunFolder, out: Path, name: str) -> int:
    return main(["convert", str(run.path), str(out), "--to", name])


@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder(home: Path, tmp_path: Path, skip: bool, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = "acts-skip-transcoder" if skip else "acts-transcoder"
    run = train(home, recipe, MLP, tmp_path / "run", "--data.target", "h.1.mlp", "--model.activation.k", "4")
    config, splits = run.config(), run.splits()
    assert splits.shape == splits.target_shape == (8,)
    evaluation = run.evaluation()
    assert evaluation is not None
    assert evaluation.of(LinearBaseline)
    model = run.best_model().requires_grad_(requires_grad=False)
    ((_, batch),) = batches(splits.training, 32, config.seed, 5, 6)
    x = batch.x
    assert batch.target is not None
    # the run knows where it reads and predicts
    report = tmp_path / "recovered.json"
    assert (
        main(
            [
                "recovered",
                str(run.path),
                str(home / "gpt"),
                str(home / "text.txt"),
                "--length",
                "12",
                "--spans",
                "8",
                "--json",
                str(report),
            ]
        )
        == 0
    )
    assert json.loads(report.read_text())["spec"]["hook_points"] == ["transformer.h.1.ln_2", "transformer.h.1.mlp"]
    # in sparsify's format, as the formula of its file says
    assert convert(run, tmp_path / "sparsify", "sparsify") == 0
    sae = read(tmp_path / "sparsify")
    assert sae.transcoder
    assert (sae.W_skip is not None) == skip
    torch.testing.assert_close(sae.reconstruct(x), model.reconstruct(x), rtol=1e-4, atol=1e-4)
    score = evaluation.scores["encode"]
    test = splits.test
    assert test.target is not None
    error = (model.reconstruct(test.x) - test.target).square().sum()
    explained = 1 - error / (test.target - test.target.mean(0)).square().sum()
    assert score.explained_variance == pytest.approx(float(explained), rel=1e-3, abs=1e-4)
    # SAELens has ReLU and JumpReLU transcoders alone; the others have none
    capsys.readouterr()
    for name, words in (
        ("saelens", "no transcoder with topk codes"),
        ("dictionary_learning", "no transcoder"),
        ("openai", "no transcoder"),
    ):
        assert convert(run, tmp_path / f"{name}.pt", name) != 0
        assert words in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / f"{name}.pt").exists()


def test_a_transcoder_with_relu_is_written_for_saelens(home: Path, tmp_path: Path) -> None:
    run = train(
        home, "acts-skip-transcoder", MLP, tmp_path / "run", "--data.target", "h.1.mlp", "--model.activation", "relu"
    )
    assert convert(run, tmp_path / "saelens", "saelens") == 0
    config = json.loads((tmp_path / "saelens" / "cfg.json").read_text())
    assert config["architecture"] == "skip_transcoder"
    names = {name: config["metadata"].get(name) for name in ("hook_name", "hook_name_out", "hf_hook_name")}
    assert names == {"hook_name": "h.1.ln_2", "hook_name_out": "h.1.mlp", "hf_hook_name": None}  # no others for certain
    x, sae = run.splits().test.x[:20], read(tmp_path / "saelens")
    torch.testing.assert_close(sae.reconstruct(x), run.best_model().reconstruct(x), rtol=1e-4, atol=1e-4)


def test_a_crosscoder(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(home, "acts-crosscoder", ("h.0", "h.1"), tmp_path / "run")
    evaluation = run.evaluation()
    assert evaluation is not None
    (scores,) = evaluation.of(SiteScores).values()
    assert len(scores.sites) == 2
    splits, model = run.splits(), run.best_model().requires_grad_(requires_grad=False)
    x = splits.test.x
    out = model.reconstruct(x)
    for i, site in enumerate(scores.sites):
        error = (out[:, i] - x[:, i]).double().square()
        assert site.mse == pytest.approx(float(error.mean()), rel=1e-4)
        explained = 1 - error.sum() / (x[:, i] - x[:, i].mean(0)).double().square().sum()
        assert site.explained_variance == pytest.approx(float(explained), rel=1e-3, abs=1e-4)
    validated = [record for record in run.metrics() if record["kind"] == "evaluate"]
    assert any("explained_variance_1" in name for name in validated[-1])
    capsys.readouterr()
    for name in ("saelens", "sparsify", "dictionary_learning", "openai"):
        assert convert(run, tmp_path / name, name) != 0
        assert "crosscoder of 2 sites" in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / name).exists()
