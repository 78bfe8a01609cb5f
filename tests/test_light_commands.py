"""Commands that only list things answer at once: torch, which takes seconds, is not imported; lists say what the whole files say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sparsecode.run_list import list_runs
from sparsecode.runs import RunFolder

WRITTEN = Path(__file__).parent / "frozen/format-1/runs"
LISTED = """
import sys
from sparsecode.cli.main import main
codes = [main(words.split("|")) for words in sys.argv[1:]]
slow = [name for name in ("torch", "scipy", "matplotlib", "numba", "pandas") if name in sys.modules]
print("codes", codes, "slow", slow)
"""


def with_objective(run: Path) -> Path:
    """The scores of a run as they are written now: each says what its objective is."""
    file, folder = run / "eval.json", RunFolder(run)
    evaluation = folder.evaluation()
    assert evaluation is not None
    folder.write_evaluation(evaluation)
    raw = json.loads(file.read_text())
    for score in raw["spec"]["measures"]["scores"].values():
        score["objective_of"] = folder.config().model.objective
    file.write_text(json.dumps(raw))
    return run


def test_lists_import_no_torch(tmp_path: Path) -> None:
    with_objective(shutil.copytree(WRITTEN / "digits-vsc", tmp_path / "runs/a run"))
    shutil.copytree(WRITTEN / "digits-sdl", tmp_path / "runs/begun")
    (tmp_path / "runs/begun/eval.json").unlink()
    words = ["--help", "--version", f"runs|ls|{tmp_path / 'runs'}", "recipes", "data|ls", "completion|bash", "train"]
    refused = [f"runs|ls|{tmp_path}", "recipes|none", "data|get|none"]
    done = subprocess.run([sys.executable, "-c", LISTED, *words, *refused], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "codes [0, 0, 0, 0, 0, 0, 0, 1, 2, 2] slow []", (
        done.stdout[-300:] + done.stderr
    )
    assert "192.5" in done.stdout
    assert "begun" in done.stdout


def test_a_list_says_what_the_files_say(tmp_path: Path) -> None:
    """Of every run, whatever version wrote its files."""
    for run in WRITTEN.iterdir():
        shutil.copytree(run, tmp_path / run.name)
    with_objective(tmp_path / "digits-vdl")
    summaries = list_runs(tmp_path)
    assert len(summaries) == len(list(WRITTEN.iterdir()))
    for summary in summaries:
        folder = RunFolder(tmp_path / summary.name)
        evaluation, state = folder.evaluation(), folder.state()
        assert evaluation is not None
        assert state is not None
        assert summary.scored is not None
        coder, score = next(iter(evaluation.scores.items()))
        assert summary.scored == (coder, score.psnr, score.objective, score.l0, folder.config().model.objective)
        assert summary.stands == f"{state.step} of {state.total_steps}"
        assert summary.data == type(folder.config().data).__name__.lower()


@pytest.mark.parametrize(
    ("file", "change", "problem"),
    [
        ("config.json", {"format": 99}, "config.json: written in format 99 by a newer sparsecode"),
        ("config.json", {"spec": {"data": {}, "model": {}}}, "config.json: not the config of a run"),
        ("config.json", {"spec": []}, "config.json: not the config of a run"),
        ("eval.json", {"spec": {"measures": {}}, "format": 2}, "eval.json: not the scores of a run"),
        ("eval.json", {"spec": None, "format": 2}, "eval.json: not the scores of a run"),
    ],
)
def test_files_that_are_none_are_named(file: str, change: dict[str, object], problem: str, tmp_path: Path) -> None:
    run = with_objective(shutil.copytree(WRITTEN / "digits-sdl", tmp_path / "run"))
    raw = json.loads((run / file).read_text())
    (run / file).write_text(json.dumps(raw | change))
    (summary,) = list_runs(tmp_path)
    assert problem in summary.problem
    assert summary.scored is None
