"""The training session: what stops it, ends it early and extends it, and that it goes on from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from toys import toy

from sparsecode.cli import main
from sparsecode.data import Digits
from sparsecode.records import Event
from sparsecode.runner import run
from sparsecode.runs import Extension, Run, RunFolder
from sparsecode.schedules import Linear, resolve
from sparsecode.sweeps import Axis, jobs_of, stacked
from sparsecode.train import Adam, Observer, Optim, StopTraining, Train
from sparsecode.train.fit import launch, open_session, train_alone
from sparsecode.train.plan import clock

replace = msgspec.structs.replace


def config(folder: Path, steps: int = 10, **train: Any) -> Run:
    return toy("digits-topk", folder, steps, **train)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "resume/state.safetensors")


def same(a: Path, b: Path) -> bool:
    ours, theirs = weights(a), weights(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def answering(event: Event) -> str | None:
    return "enough" if event.kind == "train" and event.step == 4 else None


def raising(event: Event) -> None:
    if event.kind == "train" and event.step == 4:
        raise StopTraining("enough")


@pytest.mark.parametrize("observer", [raising, pytest.param(answering, marks=pytest.mark.slow)])
def test_an_observer_stops_a_run_that_the_same_call_goes_on_with(observer: Observer, tmp_path: Path) -> None:
    result = run(config(tmp_path), tmp_path / "run", observers=[observer], accelerator="cpu", figures=False)
    assert (result.state.stopped_by, result.state.step, result.evaluation) == ("enough", 4, None)
    result = run(config(tmp_path), tmp_path / "run", accelerator="cpu", figures=False)
    run(config(tmp_path), tmp_path / "whole", accelerator="cpu", figures=False)
    assert result.evaluation is not None
    assert same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("way", ["alone", "stacked"])
def test_training_ends_when_the_selected_value_stops_improving(way: str, tmp_path: Path) -> None:
    """With a learning rate of 0 nothing improves after the first validation."""
    changes = {
        "train.patience": 2, "train.epochs": 20, "train.evaluate_every": 0.5, "train.batch_size": 500, "model.n_code": 8,
        "train.select": "encode/psnr", "evaluate.sigmas": [], "optim.groups": '{"*":{"type":"adam","lr":0}}',
    }  # fmt: skip
    sets = tuple(f"{path}={value if isinstance(value, str) else msgspec.json.encode(value).decode()}" for path, value in changes.items())  # fmt: skip
    (job,) = jobs_of(["digits-dae"], [Axis.parse("seed=0")], sets, tmp_path, figures=False)
    for _ in range(2):  # once it has ended, it is left as it is
        if way == "alone":
            evaluation = run(job.config, job.folder, accelerator="cpu", figures=False).evaluation
        else:
            (outcome,) = stacked(lambda _: iter(()), "cpu")([job])
            evaluation = outcome.evaluation
        assert evaluation is not None
        folder = RunFolder(job.folder)
        state = folder.state()
        assert state is not None
        assert (state.step, state.stopped_by, state.finished, folder.unfinished) == (3, None, True, "")
        assert state.ended == "no improvement of encode/psnr in 2 validations"


def test_what_is_an_improvement_depends_on_the_least_change(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = run(
        config(tmp_path, 50, patience=3, min_change=1e9, select="encode/psnr"), folder, accelerator="cpu", figures=False
    )
    assert result.state.step == 20  # of validations at 5, 10, 15, 20 the first alone counts
    result = run(
        config(tmp_path, 20, patience=4, select="encode/psnr"), tmp_path / "other", accelerator="cpu", figures=False
    )
    assert (result.state.ended, result.state.step) == (None, 20)


def test_patience_needs_a_value_to_judge_by() -> None:
    with pytest.raises(ValueError, match="patience is 3 and select 'last'; expected a validation value"):
        Train(epochs=1, batch_size=2, select="last", patience=3)


@pytest.mark.parametrize("stop_at", [13, pytest.param(None, marks=pytest.mark.slow)])
def test_an_extended_run_ends_in_the_bits_of_one_planned_so_long(stop_at: int | None, tmp_path: Path) -> None:
    """As long as no schedule counts in fractions of the whole."""
    half, whole = config(tmp_path, 10), config(tmp_path, 20)
    out, epochs = tmp_path / "run", half.train.epochs
    run(half, out, accelerator="cpu", figures=False)

    def stop(event: Event) -> str | None:
        return "enough" if event.step == stop_at else None

    result = run(half, out, observers=[stop], accelerator="cpu", figures=False, extend=epochs)
    assert result.state.total_steps == 20
    if stop_at is not None:
        assert (result.state.stopped_by, result.evaluation) == ("enough", None)
        result = run(half, out, accelerator="cpu", figures=False, extend=epochs)  # the same call
    stored = RunFolder(out).config()
    assert stored.extensions == (Extension(epochs, epochs),)
    assert stored.train == whole.train
    assert stored.unextended == half
    run(whole, tmp_path / "whole", accelerator="cpu", figures=False)
    assert same(out, tmp_path / "whole")
    ours, theirs = ([{**r, "seconds": 0} for r in f.metrics()] for f in (result.folder, RunFolder(tmp_path / "whole")))
    assert ours == theirs
    assert result.evaluation == RunFolder(tmp_path / "whole").evaluation()
    assert run(stored, out, accelerator="cpu", figures=False).evaluation == result.evaluation


def test_schedules_are_planned_anew_from_the_step_reached(tmp_path: Path) -> None:
    rate = Linear(start=1e-3, stop=0.0, length=1.0, unit="fraction")
    base = replace(config(tmp_path, 10), optim=Optim({"*": Adam(lr=rate)}))
    out = tmp_path / "run"
    run(base, out, accelerator="cpu", figures=False)
    run(base, out, accelerator="cpu", figures=False, extend=base.train.epochs)
    stored = RunFolder(out).config()
    planned = resolve(stored, clock(stored.train, stored.data.load().training.n)).optim.groups["*"].lr
    assert isinstance(planned, Linear)
    assert (planned(10), planned(20)) == (pytest.approx(5e-4), 0.0)


def test_a_run_that_ended_early_is_extended_from_where_it_stands(tmp_path: Path) -> None:
    base, out = config(tmp_path, 50, patience=1, min_change=1e9, select="encode/psnr"), tmp_path / "run"
    first = run(base, out, accelerator="cpu", figures=False)
    assert first.state.step == 10
    second = run(base, out, accelerator="cpu", figures=False, extend=base.train.epochs)
    assert (second.state.total_steps, second.state.step) == (60, 20)
    (extension,) = RunFolder(out).config().extensions
    assert (extension.planned, extension.reached) == (base.train.epochs, pytest.approx(base.train.epochs / 5))


@pytest.mark.slow
def test_killed_before_the_first_new_checkpoint_an_extension_goes_on(tmp_path: Path) -> None:
    base, out = config(tmp_path, 10), tmp_path / "run"
    run(base, out, accelerator="cpu", figures=False)
    run(base, tmp_path / "whole", accelerator="cpu", figures=False)
    old = (out / "resume/state.safetensors").read_bytes()
    run(base, tmp_path / "whole", accelerator="cpu", figures=False, extend=0.5)
    run(base, out, accelerator="cpu", figures=False, extend=0.5, observers=[lambda _: "enough"])
    (out / "resume/state.safetensors").write_bytes(old)  # as if killed after the config was written
    assert main(["train", "--resume", str(out), "--accelerator", "cpu", "--no-figures"]) == 0
    assert same(out, tmp_path / "whole")


def test_what_has_not_finished_is_not_extended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, out = config(tmp_path), tmp_path / "run"
    with pytest.raises(ValueError, match="holds no run; expected a finished one: train it first"):
        run(base, out, accelerator="cpu", figures=False, extend=1)
    run(base, out, observers=[answering], accelerator="cpu", figures=False)
    before = (out / "config.json").read_bytes()
    command = ["train", "--resume", str(out), "--accelerator", "cpu", "--no-figures"]
    assert main([*command, "--extend", "1"]) == 1
    assert "is not finished (step 4 of 10); go on with it first" in capsys.readouterr().err
    assert main(command) == 0
    assert (out / "config.json").read_bytes() == before
    assert main([*command, "--extend", "0.5"]) == 0
    assert f"extending {out} from step 10" in capsys.readouterr().out
    assert main([*command, "--extend", "-1"]) == 1
    assert "extend is -1 epochs; expected a number above 0" in capsys.readouterr().err


def test_a_session_without_a_folder_trains_and_says_where_it_stands() -> None:
    splits = Digits().load()
    base = toy("digits-topk", Path("/nonexistent"), 3)
    model = base.model.build(splits.shape, 0)
    session = open_session(model, splits, base.optim, base.train, 0, fabric=launch("32-true", "cpu"))
    assert (session.step, session.over) == (0, False)
    state = train_alone(session)
    assert (state.step, state.finished, session.over) == (3, True, True)
