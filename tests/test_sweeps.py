"""Sweeps: the grid and its names, both backends, what is written, failures, interruption and going on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from waiting import PATIENCE, wait_until

from sparsecode.data import Digits
from sparsecode.overrides import OverrideError, value_at
from sparsecode.recipes import RECIPES
from sparsecode.run_list import list_runs
from sparsecode.runs import RunFolder
from sparsecode.sweeps import RESULTS, Axis, Backend, Job, Outcome, jobs_of, processes, read_results, serial, sweep

QUICK = ("train.epochs=0.1", "evaluate.sigmas=[]", "model.n_code=16")


def quick(root: Path) -> tuple[str, ...]:
    """Settings of a short run on digits without their shape, lest it draw them."""
    path = root.parent / f"{root.name}.npy"
    np.save(path, Digits().load().train.x.flatten(1).numpy())
    return (*QUICK, f'data={{"type":"arrays","path":"{path}"}}')


def grid(root: Path, *over: str) -> list[Job]:
    return jobs_of(["digits-sdl"], [Axis.parse(text) for text in over], quick(root), root, figures=False)


def test_the_grid_is_every_combination_of_values_and_recipes(tmp_path: Path) -> None:
    axes = [Axis.parse("model.weight=0.5x,1x,2x"), Axis.parse("seed=0,1")]
    jobs = jobs_of(["digits-sdl", "photos-sdl"], axes, ("train.epochs=3",), tmp_path)
    assert len(jobs) == 12
    assert len({job.folder for job in jobs}) == 12
    for job in jobs:
        own = value_at(RECIPES[job.recipe](), "model.weight")
        assert isinstance(own, float)
        assert value_at(job.config, "model.weight") == job.overrides["model.weight"]
        assert value_at(job.config, "model.weight") in {0.5 * own, own, 2 * own}
        assert job.config.seed == job.overrides["seed"]
        assert job.config.train.epochs == 3
    name, _, hashed = jobs[0].folder.name.rpartition("_")
    assert (name, len(hashed)) == ("digits-sdl_weight=0.16_seed=0", 8)


@pytest.mark.parametrize(
    ("over", "values", "name"),
    [
        ("model.n_code=2x", [128], "n_code=128"),
        ("train.precision=64-true", ["64-true"], "precision=64-true"),
        ("model.weight=1e-3,3x", [0.001, 0.96], "weight=0.001"),
        ("optim.groups.decoder.lr=0.1", [0.1], "lr=0.1"),
        ('model.penalty={"type":"elastic_net","ratio":0.5,"positive":true}', [0.5], "penalty=elastic_net"),
    ],
)
def test_values_may_be_numbers_words_multiples_and_variants(
    tmp_path: Path, over: str, values: list[object], name: str
) -> None:
    jobs = jobs_of(["digits-sdl"], [Axis.parse(over)], (), tmp_path)
    actual = [value["ratio"] if isinstance(value, dict) else value for job in jobs for value in job.overrides.values()]
    assert actual == values
    assert jobs[0].folder.name.startswith(f"digits-sdl_{name}")


def test_paths_with_the_same_last_name_are_told_apart(tmp_path: Path) -> None:
    axes = [Axis.parse("optim.groups.encoder.lr=0.1"), Axis.parse("optim.groups.decoder.lr=0.1")]
    name = jobs_of(["digits-sdl"], axes, (), tmp_path)[0].folder.name
    assert name.rpartition("_")[0] == "digits-sdl_optim.groups.encoder.lr=0.1_optim.groups.decoder.lr=0.1"


def test_an_axis_within_another_leaves_it_as_it_was(tmp_path: Path) -> None:
    noise = ('{"type":"gaussian","sigma":0}', '{"type":"laplace","sigma":0}')
    axes = [Axis.parse("model.corruption=" + ",".join(noise)), Axis.parse("model.corruption.sigma=0,0.3,1.5")]
    jobs = jobs_of(["noise-digits"], axes, (), tmp_path)
    assert {job.overrides["model.corruption"]["sigma"] for job in jobs} == {0}
    assert [value_at(job.config, "model.corruption.sigma") for job in jobs] == [0, 0.3, 1.5] * 2
    assert {job.folder.name.split("_")[1] for job in jobs if "laplace" in job.folder.name} == {
        jobs[-1].folder.name.split("_")[1]
    }


@pytest.mark.parametrize(
    ("recipe", "over", "message"),
    [
        ("nothing", "seed=0", "no recipe 'nothing'; choose from digits-sdl"),
        ("digits-sdl", "seed", "expected PATH=VALUE,VALUE"),
        ("digits-sdl", "seed=", "expected PATH=VALUE,VALUE"),
        ("digits-sdl", "seed=1,2,1", "1 is there twice"),
        ("digits-sdl", "model.wait=1", "--over model.wait: no such place in the config; choose from n_code"),
        ("digits-sdl", "model.weight=-1", r"\$.model.weight"),
        ("digits-sdl", "train.select=2x", "2x needs a number to multiply, and train.select is 'encode/objective'"),
        ("digits-sdl", "model.weight=1x,0.32", "two runs of this sweep would be the same"),
    ],
)
def test_wrong_grids_are_named(tmp_path: Path, recipe: str, over: str, message: str) -> None:
    with pytest.raises(OverrideError, match=message):
        jobs_of([recipe], [Axis.parse(over)], (), tmp_path)


def refuse(jobs: Sequence[Job]) -> Iterator[Outcome]:
    assert not jobs
    yield from ()


@pytest.mark.parametrize("backend", [serial(accelerator="cpu"), processes(2, "cpu")], ids=["serial", "processes"])
def test_runs_finish_and_one_that_fails_does_not_stop_the_others(tmp_path: Path, backend: Backend) -> None:
    jobs = grid(tmp_path, "train.batch_size=9999,100")
    outcomes = {o.job.overrides["train.batch_size"]: o for o in sweep(jobs, tmp_path, backend)}
    assert "ValueError: train.batch_size is 9999" in outcomes[9999].problem
    assert len(outcomes) == 2
    lines = [msgspec.json.decode(line) for line in (tmp_path / RESULTS).read_bytes().splitlines()]
    assert {line["overrides"]["train.batch_size"] for line in lines} == {100}
    for result in read_results(tmp_path):
        evaluation = RunFolder(tmp_path / result.run).evaluation()
        assert evaluation is not None
        assert (result.scores, result.recipe) == (evaluation.scores, "digits-sdl")
    # a second time, finished runs are read and not trained
    done = [job for job in jobs if job.overrides["train.batch_size"] != 9999]
    assert all(o.evaluation for o in sweep(done, tmp_path, refuse))
    assert {s.name for s in list_runs(tmp_path) if s.scored} == {job.folder.name for job in done}


def test_results_of_other_grids_in_the_folder_are_kept_while_their_runs_are_there(tmp_path: Path) -> None:
    for over in ("seed=0", "seed=1"):
        list(sweep(grid(tmp_path, over), tmp_path, serial(accelerator="cpu")))
    assert [r.overrides["seed"] for r in read_results(tmp_path)] == [0, 1]
    next(tmp_path.glob("digits-sdl_seed=0_*/eval.json")).unlink()
    list(sweep(grid(tmp_path, "seed=1"), tmp_path, refuse))
    assert [r.overrides["seed"] for r in read_results(tmp_path)] == [1]


def test_a_run_of_another_config_in_the_way_is_a_failure(tmp_path: Path) -> None:
    list(sweep(grid(tmp_path, "seed=0"), tmp_path, serial(accelerator="cpu")))
    (other,) = jobs_of(["digits-sdl"], [Axis.parse("seed=0")], (*quick(tmp_path), "model.weight=3"), tmp_path)
    assert not other.folder.exists()  # another config is another folder
    (there,) = grid(tmp_path, "seed=0")
    (outcome,) = sweep([other._replace(folder=there.folder)], tmp_path, serial(accelerator="cpu"))
    assert "model.weight: 0.32 -> 3" in outcome.problem


def test_a_run_is_found_again_by_its_config_however_it_was_asked_for(tmp_path: Path) -> None:
    (first,) = jobs_of(["digits-sdl"], [Axis.parse("seed=0"), Axis.parse("model.weight=0.64")], (), tmp_path)
    first.folder.mkdir()
    (again,) = jobs_of(["digits-sdl"], [Axis.parse("model.weight=2x")], ("seed=0",), tmp_path)
    assert again.config == first.config
    assert again.folder == first.folder
    assert (again.overrides, again.fixed) == ({"model.weight": 0.64}, {"seed": 0})


def test_two_sweeps_in_one_folder_keep_out_of_each_others_way(tmp_path: Path) -> None:
    first = sweep(grid(tmp_path, "seed=0,1"), tmp_path, serial(accelerator="cpu"))
    next(first)
    with pytest.raises(BlockingIOError, match="another process"):
        next(sweep(grid(tmp_path, "seed=0,1"), tmp_path, refuse))
    del first  # and the lock with it
    assert len(list(sweep(grid(tmp_path, "seed=0,1"), tmp_path, serial(accelerator="cpu")))) == 2


def test_a_worker_that_is_killed_is_one_failure(tmp_path: Path) -> None:
    jobs = [job._replace(recipe=Killer()) for job in grid(tmp_path, "seed=0")]  # pyright: ignore[reportArgumentType]
    (outcome,) = processes(1, "cpu")(jobs)
    assert "its process died with exit code" in outcome.problem


class Killer:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (9,)


def begun(out: Path) -> bool:
    """Whether a first run has taken steps."""
    return any(file.stat().st_size for file in out.glob("*/metrics.jsonl"))


# a stack, interrupted in the default run, takes the same way out
@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2])
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path, n: int) -> None:
    out = tmp_path / "sweep"
    command = [
        sys.executable, "-m", "sparsecode", "sweep", "digits-sdl", "--over", "seed=0,1", "--set", "train.epochs=400", "--no-figures",
        "--set", "model.n_code=16", "--set", "train.evaluate_every=100", "--out", str(out), "--processes", str(n), "--accelerator", "cpu",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        wait_until(lambda: begun(out), process)
        os.killpg(process.pid, signal.SIGINT)
        text = process.communicate(timeout=PATIENCE)[0].decode()
    assert process.returncode == 130, text
    assert "Run the same command to resume" in text
    assert "Traceback" not in text
    states = [RunFolder(path).state() for path in out.glob("digits-sdl_seed=*")]
    assert any(state is not None and 0 < state.step < state.total_steps for state in states)
