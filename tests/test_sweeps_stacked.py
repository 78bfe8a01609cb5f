"""The stacked backend leaves what separate runs leave; interruption, failures and runs that do not stack. Experiments by name."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from sparsecode.cli import main
from sparsecode.evaluate.units.activity import Activity
from sparsecode.named_sweeps import EXPERIMENTS, Experiment
from sparsecode.overrides import replaced
from sparsecode.plots.sweep import SweepPoint, sweep_lines
from sparsecode.records import Event
from sparsecode.runner import run
from sparsecode.runs import RunFolder
from sparsecode.sweeps import Axis, Job, Outcome, curves_of, jobs_of, read_results, serial, stacked, sweep

SHORT = ("train.epochs=1", "train.evaluate_every=0.5", "train.log_every=5", "evaluate.sigmas=[0.3]", "model.n_code=32")


def grid(root: Path, *over: str, recipe: str = "digits-dae", more: tuple[str, ...] = ()) -> list[Job]:
    return jobs_of([recipe], [Axis.parse(text) for text in over], (*SHORT, *more), root, figures=False)


def refuse(jobs: Sequence[Job]) -> Iterator[Outcome]:
    assert not jobs
    yield from ()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def weights(job: Job) -> dict[str, torch.Tensor]:
    return RunFolder(job.folder).best_model().state_dict()


def test_a_stack_leaves_the_folders_of_ordinary_runs(tmp_path: Path) -> None:
    over = ("seed=0,1",)
    ours, theirs = (grid(tmp_path / name, *over) for name in ("ours", "theirs"))
    assert all(o.evaluation for o in sweep(ours, tmp_path / "ours", stacked(refuse, "cpu")))
    assert all(o.evaluation for o in sweep(theirs, tmp_path / "theirs", serial(accelerator="cpu")))
    for a, b in zip(ours, theirs, strict=True):
        assert files(a.folder) == files(b.folder)
        for name, value in weights(a).items():
            torch.testing.assert_close(value, weights(b)[name], rtol=1e-4, atol=1e-5)
        one, other = RunFolder(a.folder), RunFolder(b.folder)
        for ours_line, their_line in zip(one.metrics(), other.metrics(), strict=True):
            assert list(ours_line) == list(their_line)
            assert ours_line["step"] == their_line["step"]
        evaluation, expected = one.evaluation(), other.evaluation()
        assert evaluation is not None
        assert expected is not None
        assert evaluation.scores["encode"].psnr == pytest.approx(expected.scores["encode"].psnr, rel=1e-3)
        assert evaluation.of(Activity).keys() == expected.of(Activity).keys()
        before = one.model.joinpath("sae_weights.safetensors").read_bytes()
        assert (
            run(a.config, a.folder, accelerator="cpu", figures=False).evaluation == evaluation
        )  # nothing is left to do
        assert one.model.joinpath("sae_weights.safetensors").read_bytes() == before
    assert all(o.evaluation for o in sweep(ours, tmp_path / "ours", refuse))
    assert {r.run for r in read_results(tmp_path / "ours")} == {job.folder.name for job in ours}


def test_ctrl_c_saves_all_members_and_the_same_sweep_goes_on(tmp_path: Path) -> None:
    longer = ("train.epochs=10", "train.evaluate_every=5", "model.n_code=260", "model.arithmetic=dense")
    ours, theirs = (grid(tmp_path / name, "seed=0,1,2", more=longer) for name in ("ours", "theirs"))

    def interrupt(event: Event) -> None:
        if event.kind == "train" and event.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    stop = stacked(refuse, "cpu", watch=lambda _: [interrupt])
    (first,) = sweep(ours, tmp_path / "ours", stop)  # one that was stopped ends the sweep
    assert (first.evaluation, first.problem) == (None, "")
    states = [RunFolder(job.folder).state() for job in ours]
    stopped = [(state.stopped_by, state.step) for state in states if state]
    assert [by for by, _ in stopped] == ["SIGINT"] * 3
    assert all(0 < step < 220 for _, step in stopped)  # each at a step of its own: they take turns
    assert all(o.evaluation for o in sweep(ours, tmp_path / "ours", stacked(refuse, "cpu")))
    assert all(o.evaluation for o in sweep(theirs, tmp_path / "theirs", stacked(refuse, "cpu")))
    for a, b in zip(ours, theirs, strict=True):
        for name, value in weights(a).items():
            torch.testing.assert_close(value, weights(b)[name], rtol=1e-5, atol=1e-6)
        steps = [line["step"] for line in RunFolder(a.folder).metrics() if line["kind"] == "train"]
        assert steps == list(range(5, 221, 5))


def test_what_does_not_stack_goes_elsewhere_and_why_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    jobs = [*grid(tmp_path, "seed=0,1", recipe="digits-topk"), *grid(tmp_path, "seed=0,1")]

    def others(rest: Sequence[Job]) -> Iterator[Outcome]:
        yield from (Outcome(job, problem="elsewhere") for job in rest)

    outcomes = list(stacked(others, "cpu", tell=told.append)(jobs))
    assert [o.problem for o in outcomes if o.job.recipe == "digits-topk"] == ["elsewhere"] * 2
    assert all(o.evaluation for o in outcomes if o.job.recipe == "digits-dae")
    assert len(told) == 1
    assert "not stacked, because model.activation is 'topk'" in told[0]
    assert "and 1 more" in told[0]


def test_members_that_cannot_begin_are_failures_of_their_own(tmp_path: Path) -> None:
    good, bad = grid(tmp_path, "seed=0,1")
    wrong = replaced(bad.config, {"optim.groups": {"encoder": {"type": "adam"}}})
    outcomes = {o.job.folder: o for o in stacked(refuse, "cpu")([good, bad._replace(config=wrong)])}
    assert outcomes[good.folder].evaluation
    assert "optim.groups: no pattern" in outcomes[bad.folder].problem
    missing = [
        job._replace(config=replaced(job.config, {"data": {"type": "arrays", "path": "/none.npy"}}))
        for job in (good, bad)
    ]
    fresh = [job._replace(folder=tmp_path / "fresh" / job.folder.name) for job in missing]
    assert ["no such file" in o.problem for o in stacked(refuse, "cpu")(fresh)] == [True, True]


def test_an_experiment_is_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "noise"
    command = ["sweep", "digits-noise", "--epochs", "1", "--over", "seed=0,1", "--over", "model.corruption.sigma=0,0.8"]
    assert main([*command, "--backend", "stacked", "--out", str(out), "--accelerator", "cpu", "--no-figures"]) == 0
    text = capsys.readouterr().out
    assert "4 runs in one stack" in text
    assert (out / "digits-noise.png").read_bytes().startswith(b"\x89PNG")
    results = read_results(out)
    experiment = EXPERIMENTS["digits-noise"]
    curves = curves_of(results, experiment.x, experiment.y)
    assert list(curves["digits-dae"]) == [0, 0.8]
    assert [len(values) for values in curves["digits-dae"].values()] == [2, 2]
    for result in results:
        assert result.of(Activity)["model"].active_clean in curves["digits-dae"][result.overrides[experiment.x]]
    assert main([*command, "--out", str(out)]) == 0  # all are there
    assert "runs in one stack" not in capsys.readouterr().out


def test_classifiers_are_swept_and_told_by_their_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--set", "train.epochs=0.2", "model.n_code=20", "--no-figures"]
    assert (
        main(["sweep", "noise-digits-classify", "--over", "seed=0,1", *settings, "--out", str(tmp_path / "sweep")]) == 0
    )
    assert "encode: accuracy 0." in capsys.readouterr().out


def test_experiments_are_listed_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--list"]) == 0
    assert "digits-noise" in capsys.readouterr().out
    assert main(["sweep", "digits-noise", "digits-dae"]) == 2
    assert "digits-noise is an experiment" in capsys.readouterr().err
    assert main(["sweep", "noise-mnist", "noise-mnist-sdm", "--over", "model.nothing=1"]) == 2  # recipes, both of them
    assert "model.nothing: no such place" in capsys.readouterr().err
    assert main(["sweep", "nothing"]) == 2
    assert "no recipe 'nothing'" in capsys.readouterr().err
    fields = {"title": "", "about": "", "recipes": ("digits-dae",), "over": ("seed=0",), "x": "seed", "y": "run"}
    with pytest.raises(ValueError, match=r"x is 'model.weight'; expected one of the axes in over, seed"):
        Experiment(**{**fields, "x": "model.weight"})  # pyright: ignore[reportArgumentType] - they are right
    with pytest.raises(ValueError, match="no recipe 'nothing'"):
        Experiment(**{**fields, "recipes": ("nothing",)})  # pyright: ignore[reportArgumentType] - they are right


def test_curves_name_what_is_not_there(tmp_path: Path) -> None:
    jobs = grid(tmp_path, "seed=0")
    list(sweep(jobs, tmp_path, stacked(refuse, "cpu")))
    results = read_results(tmp_path)
    assert curves_of(results, "seed", "scores.encode.l0")["digits-dae"][0][0] > 0
    with pytest.raises(ValueError, match=r"model.weight did not vary; it did: seed"):
        curves_of(results, "model.weight", "scores.encode.l0")
    with pytest.raises(ValueError, match=r"no 'solver' of 'scores.solver.l0' in its results; choose from encode"):
        curves_of(results, "seed", "scores.solver.l0")
    with pytest.raises(ValueError, match="expected a number"):
        curves_of(results, "seed", "scores.encode")


def test_lines_hold_words_and_zeros() -> None:
    figure = sweep_lines({"a": [SweepPoint(3.0, [1, 2]), SweepPoint(0, [4, 6])], "b": [SweepPoint(0.5, [3])]}, "sigma")
    (axes,) = figure.axes
    assert axes.get_xscale() == "symlog"
    line = axes.lines[0]
    assert list(line.get_xdata()) == [0, 3]  # pyright: ignore - an array
    assert list(line.get_ydata()) == [5, 1.5]  # pyright: ignore - an array
    words = sweep_lines({"a": [SweepPoint("relu", [1]), SweepPoint("gelu", [2])]})
    assert [label.get_text() for label in words.axes[0].get_xticklabels()] == ["relu", "gelu"]
    with pytest.raises(ValueError, match="lines hold no points"):
        sweep_lines({})
