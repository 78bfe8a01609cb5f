"""Sweeps whose runs start from other runs: along an axis, or from runs of another recipe that are trained first."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from waiting import PATIENCE, wait_until

from sparsecode.cli import main
from sparsecode.named_sweeps import EXPERIMENTS
from sparsecode.overrides import OverrideError
from sparsecode.records import Event
from sparsecode.runs import RunFolder
from sparsecode.sweeps import Axis, Job, Outcome, Start, jobs_of, processes, read_results, serial, sweep
from sparsecode.train.observers import Observer

QUICK = ("train.epochs=0.1", "evaluate.sigmas=[]", "model.n_code=16")
RATES = "optim.groups.encoder.lr=0.01,1e-12"  # the second learns nothing
TASKS = 'data={"type":"class_tasks","source":{"type":"digits"},"epochs_per_task":1}'
SIGMA = "model.corruption.sigma"


def chain(root: Path, *over: str) -> list[Job]:
    axes = [Axis.parse(text) for text in over]
    return jobs_of(["noise-digits"], axes, QUICK, root, figures=False, start=Start("previous"))


def keys(folder: Path) -> Tensor:
    return RunFolder(folder).best_model().state_dict()["encoder.weight"]


def refuse(jobs: Sequence[Job]) -> Iterator[Outcome]:
    assert not jobs
    yield from ()


def stops(name: str) -> Callable[[Job], Sequence[Observer]]:
    """Stop the training of the runs with this in their folder's name at its first step."""

    def observer(event: Event) -> str | None:
        return "the test" if event.kind == "start" else None

    return lambda job: [observer] if name in job.folder.name else []


def test_each_run_of_a_chain_starts_from_the_one_before(tmp_path: Path) -> None:
    jobs = chain(tmp_path, "seed=0,1", RATES)
    assert [job.after for job in jobs] == [None, jobs[0].folder, None, jobs[2].folder]
    assert [job.config.init_from is None for job in jobs] == [True, False, True, False]
    assert all(o.evaluation for o in sweep(jobs[2:], tmp_path, serial(accelerator="cpu")))
    torch.testing.assert_close(keys(jobs[2].folder), keys(jobs[3].folder), rtol=0, atol=1e-6)
    moved = tmp_path / "moved"
    assert [job.folder.name for job in chain(moved, "seed=0,1", RATES)] == [job.folder.name for job in jobs]


def test_a_chain_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, parts = (chain(tmp_path / name, f"{SIGMA}=0.1,0.5,0.9") for name in ("whole", "parts"))
    list(sweep(whole, tmp_path / "whole", serial(accelerator="cpu")))
    root = tmp_path / "parts"
    outcomes = list(sweep(parts, root, serial(stops("sigma=0.5"), "cpu")))
    assert [(bool(o.evaluation), o.problem) for o in outcomes] == [(True, ""), (False, "")]
    assert not parts[2].folder.exists()
    assert len(list(sweep(parts, root, serial(accelerator="cpu")))) == 3
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(keys(one.folder), keys(other.folder))
    assert len(list(sweep(parts, root, refuse))) == 3
    assert [r.overrides for r in read_results(root)] == [{SIGMA: 0.1}, {SIGMA: 0.5}, {SIGMA: 0.9}]


@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_runs_after_one_that_failed_say_so(tmp_path: Path, n: int) -> None:
    jobs = chain(tmp_path, "train.batch_size=9999,50,60")
    backend = serial(accelerator="cpu") if n == 1 else processes(n, "cpu")
    first, *others = sweep(jobs, tmp_path, backend)
    assert "train.batch_size is 9999" in first.problem
    assert [o.job for o in others] == jobs[1:]
    assert f"{jobs[0].folder} has not finished, and this run starts from its weights" in others[0].problem


def test_a_chain_may_begin_with_a_run_that_is_there(tmp_path: Path) -> None:
    there = 'init_from={"run":"previous","parts":["encoder"]}'
    axes = [Axis.parse(RATES)]
    first, second = jobs_of(
        ["noise-digits"], axes, (*QUICK, there.replace("previous", "mine")), tmp_path, start=Start("previous")
    )
    assert first.config.init_from is not None
    assert second.config.init_from is not None
    assert (Path(first.config.init_from.run).name, second.config.init_from.run) == ("mine", str(first.folder))
    assert second.config.init_from.parts == ("encoder",)
    (alone,) = jobs_of(["noise-digits"], [Axis.parse("seed=1")], (*QUICK, there), tmp_path)
    assert alone.config.init_from is not None  # a folder of that name


def test_runs_start_from_those_of_another_recipe(tmp_path: Path) -> None:
    start = Start("noise-digits", [Axis.parse(f"{SIGMA}=0,0.8"), Axis.parse("seed=3")], ("model.n_code=16",))
    jobs = jobs_of(
        ["noise-digits-classify"], [Axis.parse("train.batch_size=50,60")], ("model.n_code=16",), tmp_path, start=start
    )
    first, others = jobs[:2], jobs[2:]
    assert [job.recipe for job in jobs] == ["noise-digits"] * 2 + ["noise-digits-classify"] * 4
    assert [job.after for job in others] == [job.folder for job in first for _ in range(2)]
    assert others[2].overrides == {f"start.{SIGMA}": 0.8, "seed": 3, "train.batch_size": 50}
    assert others[2].folder.name.startswith("noise-digits-classify_sigma=0.8_seed=3_batch_size=50_")
    assert {job.config.seed for job in others} == {3}
    assert len({job.folder for job in jobs}) == 6


def test_continual_learning_over_noise_levels_is_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "sweep",
        "noise-digits-continual",
        "--set",
        TASKS,
        "train.epochs=5",
        "model.n_code=16",
        "--out",
        str(tmp_path),
    ]
    command += ["--start-over", f"{SIGMA}=0,0.8", "--start-set", *QUICK, "--no-figures", "--accelerator", "cpu"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert f"experiment noise-digits-continual: 4 runs, over start.{SIGMA}" in text
    assert (tmp_path / "noise-digits-continual.png").is_file()
    classified = [r for r in read_results(tmp_path) if r.recipe == "noise-digits-classify"]
    assert [r.overrides for r in classified] == [{f"start.{SIGMA}": 0}, {f"start.{SIGMA}": 0.8}]
    assert main(command) == 0  # nothing is trained again
    assert "training" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--start-from", "nothing"], r"--start-from nothing: expected previous or a recipe"),
        (["--start-from", "previous", "--start-over", "seed=1"], "--start-from is previous; expected a recipe there"),
        (["--start-set", "seed=1"], "--start-from is None; expected a recipe there"),
        (["--start-from", "previous"], "expected an axis along which runs start from the run before"),
    ],
)
def test_starts_that_cannot_be_are_named(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "noise-digits", *options, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    with pytest.raises(OverrideError, match="no recipe 'nothing'"):
        jobs_of(["noise-digits"], [], (), tmp_path, start=Start("nothing"))


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2])
def test_killed_in_either_stage_it_goes_on(n: int, tmp_path: Path) -> None:
    experiment = EXPERIMENTS["noise-digits-continual"]
    assert experiment.start is not None
    command = [
        sys.executable, "-m", "sparsecode", "sweep", "noise-digits-continual", "--start-over", f"{SIGMA}=0,0.8", "--no-figures",
        "--accelerator", "cpu", "--processes", str(n), "--set", "train.evaluate_every=5", "--start-set", "train.epochs=20",
    ]  # fmt: skip
    out, whole = tmp_path / "killed", tmp_path / "whole"
    for stage in ("noise-digits_*", "noise-digits-classify_*"):
        with subprocess.Popen(
            [*command, "--out", str(out)], stdout=subprocess.DEVNULL, start_new_session=True
        ) as process:
            wait_until(lambda stage=stage: any(f.stat().st_size for f in out.glob(f"{stage}/metrics.jsonl")), process)
            os.killpg(process.pid, signal.SIGKILL)
    for folder in (out, whole):
        assert (
            subprocess.run(
                [*command, "--out", str(folder)], check=False, capture_output=True, timeout=PATIENCE
            ).returncode
            == 0
        )
    names = sorted(path.name for path in whole.iterdir() if path.is_dir())
    assert len(names) == 4
    for name in names:
        assert torch.equal(keys(out / name), keys(whole / name))
    shutil.rmtree(whole)
