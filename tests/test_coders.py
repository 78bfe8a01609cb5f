"""Coders have the same names in every kind of model, and files of earlier versions are read with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from sparsecode.cli import main
from sparsecode.coders import coders_today, in_words
from sparsecode.models.storage import build_model
from sparsecode.overrides import replaced
from sparsecode.recipes import RECIPES
from sparsecode.records import Event
from sparsecode.runner import RunConflictError, run
from sparsecode.runs import RunFolder
from sparsecode.specs import plain
from sparsecode.sweeps.results import read_results
from sparsecode.train.observers import MetricsFile, read_metrics

FROZEN = Path(__file__).parent / "frozen/format-1"
CODERS = {
    "digits-sdl": ("encode", "amortised"),
    "digits-vdl": ("encode", "amortised"),
    "digits-vsc": ("encode", "mean"),
}
RUNS = sorted(folder.name for folder in (FROZEN / "runs").iterdir())


def copied(name: str, tmp_path: Path, kind: str = "runs") -> RunFolder:
    return RunFolder(shutil.copytree(FROZEN / kind / name, tmp_path / name))


@pytest.mark.parametrize("name", RUNS)
def test_files_of_format_1_have_the_names_of_today(name: str) -> None:
    folder = RunFolder(FROZEN / "runs" / name)
    expected = CODERS.get(name, ("encode",))
    evaluation = folder.evaluation()
    assert evaluation is not None
    assert tuple(evaluation.scores) == expected
    assert set(evaluation.measures.get("denoising", expected)) == set(expected)
    assert tuple(folder.best_model().coders()) == expected
    validated = {name for r in folder.metrics() if r["kind"] == "evaluate" for name in r if "/" in name}
    assert {name.partition("/")[0] for name in validated} - {"gates"} == set(expected)
    select = folder.config().train.select
    assert select == "last" or select in validated


@pytest.mark.parametrize(
    ("model", "before", "after"),
    [
        ("digits-sdl", "solver/psnr", "encode/psnr"),
        ("digits-sdl", "encoder/l0", "amortised/l0"),
        ("digits-vsc", "hard/psnr", "encode/psnr"),
        ("digits-vsc", "mean/psnr", "mean/psnr"),
        ("digits-vae", "mean/psnr", "encode/psnr"),
        ("digits-topk", "encode/psnr", "encode/psnr"),
        ("digits-topk", "last", "last"),
    ],
)
def test_what_the_best_model_is_selected_by_is_renamed(model: str, before: str, after: str, tmp_path: Path) -> None:
    folder = copied(model, tmp_path)
    raw = json.loads(folder.config_file.read_text())
    raw["spec"]["train"]["select"] = before
    folder.config_file.write_text(json.dumps(raw))
    assert folder.config().train.select == after


def test_lines_of_sweeps_are_renamed(tmp_path: Path) -> None:
    """A sweep of format 1 whose runs were chosen by other values."""
    folder = copied("digits-sdl", tmp_path)
    scores = json.loads(folder.eval_file.read_text())["spec"]["scores"]
    line = {"type": "sweep_result", "run": "digits-sdl", "recipe": "digits-sdl", "scores": scores}
    line |= {"overrides": {"train.select": "solver/objective"}, "denoising": {"solver": [], "encoder": []}}
    (tmp_path / "results.jsonl").write_text(json.dumps(line) + "\n")
    (result,) = read_results(tmp_path)
    assert tuple(result.scores) == ("encode", "amortised")
    assert result.overrides == {"train.select": "encode/objective"}


def test_metrics_of_an_interrupted_run_go_on_without_a_break(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    old = {"kind": "evaluate", "step": 1, "solver/objective": 2.0, "encoder/objective": 3.0, "elbo/hard/recon": None}
    file.write_text(json.dumps(old) + "\n")
    MetricsFile(file)(Event("evaluate", 2, 2, {"encode/objective": 1.0, "amortised/objective": 2.0}))
    first, second = read_metrics(file)
    assert [first["encode/objective"], second["encode/objective"]] == [2.0, 1.0]
    assert [first["amortised/objective"], second["amortised/objective"]] == [3.0, 2.0]
    assert "elbo/hard/recon" in first  # a kind of gate, no coder


def test_a_finished_run_of_format_1_is_the_run_of_its_recipe(tmp_path: Path) -> None:
    folder = copied("digits-sdl", tmp_path)
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file() and p.suffix != ".lock"}
    train = plain(folder.config())["train"]
    short = ("epochs", "batch_size", "evaluate_every", "checkpoint_every", "log_every")
    changes = [f"train.{name}={msgspec.json.encode(train[name]).decode()}" for name in short]
    command = ["train", "digits-sdl", "--set", "model.n_code=16", *changes, "--out", str(folder.path), "--no-figures"]
    assert main(command) == 0
    assert {p: p.read_bytes() for p in before} == before


def test_what_validations_measure_makes_no_other_run(tmp_path: Path) -> None:
    folder = copied("noise-digits", tmp_path)
    before, config = folder.config(), folder.config()
    more = replaced(config, {"evaluate.validation": [{"type": "scores"}, {"type": "denoising"}]})
    weights = (folder.model / "sae_weights.safetensors").read_bytes()
    assert run(more, folder.path, accelerator="cpu", figures=False).state.finished
    assert folder.config() == before
    assert (folder.model / "sae_weights.safetensors").read_bytes() == weights
    with pytest.raises(RunConflictError, match="seed: 0 -> 1"):
        run(replaced(more, {"seed": 1}), folder.path, accelerator="cpu", figures=False)


def test_recipes_select_by_what_models_stand_for() -> None:
    assert {recipe().train.select.partition("/")[0] for recipe in RECIPES.values()} == {"last", "encode"}


def test_coders_are_named_as_today_or_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "z.npz"

    def codes(name: str, coder: str) -> Any:
        command = ["encode", str(FROZEN / "runs" / name), "--split", "test", "--out", str(out), "--coder", coder]
        assert main([*command, "--force"]) == 0
        return np.load(out)["z"]

    for name, before, today in (
        ("digits-sdl", "encoder", "amortised"),
        ("digits-vsc", "hard", "encode"),
        ("digits-vae", "mean", "encode"),
    ):
        assert np.array_equal(codes(name, before), codes(name, today))
    assert not np.array_equal(codes("digits-vsc", "mean"), codes("digits-vsc", "encode"))
    capsys.readouterr()
    command = ["encode", str(FROZEN / "runs/digits-topk"), "--split", "test", "--out", str(out), "--force", "--coder"]
    assert main([*command, "solver"]) == 2
    assert "coder is 'solver'; this model has encode" in capsys.readouterr().err


def test_names_in_words() -> None:
    assert coders_today(["solver", "encoder"]) == {"solver": "encode", "encoder": "amortised"}
    assert coders_today(["mean"]) == {"mean": "encode"}
    assert coders_today(["hard", "mean"]) == {"hard": "encode", "mean": "mean"}
    assert coders_today(["encode", "mean"]) == {"encode": "encode", "mean": "mean"}
    assert [*in_words(["encode"]).values()] == ["encode"]
    assert [*in_words(["encode", "amortised"]).values()] == ["encode (solved)", "amortised (encoder)"]
    assert [*in_words(["encode", "mean"]).values()] == ["encode (hard gates)", "mean (of posterior)"]


def test_a_model_without_gates_has_one_coder() -> None:
    model = build_model(RECIPES["digits-vae"]().model, (8, 8), 0)
    assert list(model.coders()) == ["encode"]


def test_tables_of_scores_have_whole_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(FROZEN / "runs/digits-sdl")]) == 0
    text = capsys.readouterr().out
    assert "codes by: encode (solved), amortised (encoder)" in text
    assert "│ amortised │" in text
    assert " on ┃" in text  # the last column, in a terminal of 80
