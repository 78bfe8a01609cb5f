"""Runs, models, sweeps and shards of earlier versions load, give the same codes and scores, and go on.

`write.py` wrote each folder here with the version whose config format it is named after; they are never written again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file

from sparsecode.cli import main
from sparsecode.data import Digits, Shards
from sparsecode.evaluate.reconstruction.score import Score
from sparsecode.run_list import list_runs
from sparsecode.runner import run
from sparsecode.runs import RunFolder

WRITTEN = Path(__file__).with_name("format-1")
RUNS = sorted(folder.name for folder in (WRITTEN / "runs").iterdir())
INTERRUPTED = sorted(folder.name for folder in (WRITTEN / "interrupted").iterdir())


def numbers(score: Score) -> dict[str, float]:
    return {k: v for k, v in msgspec.to_builtins(score).items() if isinstance(v, float) and k != "gap_max"}


@pytest.mark.parametrize("name", RUNS)
def test_a_model_gives_the_codes_it_gave(name: str) -> None:
    expected = np.load(WRITTEN / "codes.npz")[name]
    codes = RunFolder(WRITTEN / "runs" / name).best_model().encode(Digits().load().train.x[: len(expected)].numpy())
    np.testing.assert_allclose(codes, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", RUNS)
def test_a_run_has_the_scores_it_had(name: str, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(WRITTEN / "runs" / name, tmp_path / name))
    before = folder.evaluation()
    folder.eval_file.unlink()
    after = run(folder.config(), folder.path, accelerator="cpu", figures=False).evaluation
    assert before is not None
    assert after is not None
    assert after.scores.keys() == before.scores.keys()
    for coder, score in before.scores.items():
        expected, result = numbers(score), numbers(after.scores[coder])  # which may have more fields by now
        assert {name: result[name] for name in expected} == pytest.approx(expected, rel=5e-3, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupted_run_ends_where_it_would_have(name: str, tmp_path: Path) -> None:
    out = shutil.copytree(WRITTEN / "interrupted" / name, tmp_path / name)
    assert main(["train", "--resume", str(out), "--accelerator", "cpu", "--no-figures"]) == 0
    weights, expected = (load_file(path / "resume/state.safetensors") for path in (out, WRITTEN / "runs" / name))
    compared = [key for key in expected if key.startswith("model/") and expected[key].dtype == np.float32]
    assert compared
    for key in compared:  # another processor rounds otherwise
        np.testing.assert_allclose(weights[key], expected[key], rtol=1e-2, atol=1e-3, err_msg=key)


def test_runs_are_listed() -> None:
    listed = list_runs(WRITTEN / "runs")
    assert len(listed) == len(RUNS)


def test_a_sweep_goes_on_without_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shutil.copytree(WRITTEN / "sweep", tmp_path / "sweep")
    config = RunFolder(next(out.glob("*k=2*"))).config()
    changes = [f"{key}={msgspec.json.encode(value).decode()}" for key, value in _changes(config).items()]
    weights = {p: p.read_bytes() for p in out.rglob("*.safetensors")}
    command = [
        "sweep",
        "digits-topk",
        "--over",
        "model.activation.k=2,4",
        "--set",
        *changes,
        "--out",
        str(out),
        "--no-figures",
    ]
    assert main(command) == 0
    assert {p: p.read_bytes() for p in out.rglob("*.safetensors")} == weights
    assert "2.00" in capsys.readouterr().out  # the L0 of k=2


def _changes(config: object) -> dict[str, object]:
    raw = msgspec.to_builtins(config)
    train = ("epochs", "batch_size", "evaluate_every", "checkpoint_every", "log_every")
    return {"model.n_code": raw["model"]["n_code"], **{f"train.{name}": raw["train"][name] for name in train}}


def test_shards_have_the_rows_they_had() -> None:
    splits = Shards(path=str(WRITTEN / "shards")).load()
    rows = np.concatenate([part.x.numpy() for part in (splits.train, splits.valid, splits.test)])
    expected = (np.arange(30, dtype=np.float32).reshape(5, 6) / 7 + np.arange(40)[:, None, None]).reshape(-1, 6)
    assert sorted(rows.astype(np.float16).tolist()) == sorted(expected.astype(np.float16).tolist())
