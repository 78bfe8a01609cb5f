"""What can go wrong between a command and its result: wrong settings, changed data, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toys import SHORT

from sparsecode.cli import main
from sparsecode.data import Digits
from sparsecode.evaluate.evaluation import higher_is_better
from sparsecode.models.iterative import Iterative
from sparsecode.overrides import replaced
from sparsecode.recipes import RECIPES
from sparsecode.records import Event
from sparsecode.runner import run
from sparsecode.runs import RunFolder
from sparsecode.specs import to_json
from sparsecode.sweeps import Axis, jobs_of, serial, stacked

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("form", [["--set", "model.weight=0.9"], ["--set=model.weight=0.9"]])
def test_set_works_in_both_spellings(form: list[str], tmp_path: Path) -> None:
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), *SHORT, *form]) == 0
    model = RunFolder(tmp_path / "run").config().model
    assert isinstance(model, Iterative)
    assert model.weight == 0.9


def test_the_best_model_is_best_in_the_right_direction(tmp_path: Path) -> None:
    arguments = ["--train.select", "encode/psnr", "--train.evaluate-every", "0.5"]
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), *SHORT, *arguments]) == 0
    folder = RunFolder(tmp_path / "run")
    seen = {int(r["step"]): float(r["encode/psnr"]) for r in folder.metrics() if r["kind"] == "evaluate"}
    state = folder.state()
    assert state is not None
    assert state.best is not None
    assert (state.best.step, state.best.value) == max(seen.items(), key=lambda item: item[1])


def test_a_value_of_any_validation_measure_selects_the_best_model(tmp_path: Path) -> None:
    out, measures = tmp_path / "run", 'evaluate.validation=[{"type":"scores"},{"type":"denoising"}]'
    arguments = ["--train.select", "denoising/encode/psnr_0.5", "--train.evaluate-every", "0.5", "--set", measures]
    assert main(["train", "digits-sdl", "--out", str(out), *SHORT, *arguments]) == 0
    folder = RunFolder(out)
    seen = {int(r["step"]): float(r["denoising/encode/psnr_0.5"]) for r in folder.metrics() if r["kind"] == "evaluate"}
    state = folder.state()
    assert state is not None
    assert state.best is not None
    assert (state.best.step, state.best.value) == max(seen.items(), key=lambda item: item[1])


@pytest.mark.parametrize(
    ("name", "higher"),
    [("encode/psnr", True), ("encode/objective", False), ("sites/encode/explained_variance_0", True),
     ("encode/class_3", True), ("elbo/hard/elbo", True), ("denoising/encode/psnr_0.5", True), ("restoration/hidden_mse", False)],
)  # fmt: skip
def test_the_direction_of_a_validation_value(name: str, higher: bool) -> None:
    assert higher_is_better(name) is higher


def test_what_cannot_be_selected_is_refused_before_training(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "run"
    assert main(["train", "digits-sdl", "--out", str(out), *SHORT, "--train.select", "beauty"]) == 1
    assert "train.select is 'beauty'; expected last or one of encode/objective" in capsys.readouterr().err
    assert (
        main(["train", "digits-sdl", "--out", str(out), *SHORT, "--train.select", "codes/encode/mean_activation"]) == 1
    )
    assert "other values need their measure in evaluate.validation" in capsys.readouterr().err
    # and the folder is free for the corrected command
    assert main(["train", "digits-sdl", "--out", str(out), *SHORT, "--train.select", "last"]) == 0


NO_PATTERN = '{"nothing":{"type":"adam"}}'


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ("train.select=beauty", "train.select"),  # refused before a config is written
        (f"optim.groups={NO_PATTERN}", "optim.groups"),  # and after that
        ('data={"type":"arrays","path":"nothing.npy"}', "nothing.npy"),
    ],
)
def test_nothing_is_left_of_a_training_that_is_refused(wrong: str, word: str, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "new" / "run"
    assert main(["train", "digits-sdl", "--out", str(out), *SHORT, "--set", wrong]) == 1
    assert word in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    out.mkdir(parents=True)
    assert main(["train", "digits-sdl", "--out", str(out), *SHORT, "--set", wrong]) == 1
    assert not [*out.iterdir()]  # of a folder that was there its contents


def test_nothing_is_left_of_a_training_whose_first_step_fails(tmp_path: Path) -> None:
    def fail(event: Event) -> None:
        raise KeyError(event.kind)

    config, out = replaced(RECIPES["digits-sdl"](), {"train.epochs": 1}), tmp_path / "run"
    with pytest.raises(KeyError, match="start"):
        run(config, out, accelerator="cpu", observers=[fail])
    assert not out.exists()
    out.mkdir()
    (out / "config.json").write_bytes(to_json(config))
    with pytest.raises(KeyError, match="start"):
        run(config, out, accelerator="cpu", observers=[fail])
    assert (out / "config.json").read_bytes() == to_json(config)  # what was there before stays


def test_nothing_is_left_of_a_member_of_a_stack_that_is_refused(tmp_path: Path) -> None:
    set_to = ("train.epochs=1", "evaluate.sigmas=[]", "model.n_code=8", f"optim.groups={NO_PATTERN}")
    jobs = jobs_of(["digits-dae"], [Axis.parse("seed=0,1")], set_to, tmp_path, figures=False)
    outcomes = [*stacked(serial(accelerator="cpu"), "cpu")(jobs)]
    assert all("optim.groups" in outcome.problem for outcome in outcomes)
    assert len(outcomes) == 2
    assert not [*tmp_path.iterdir()]


def test_objectives_under_a_moving_weight_are_not_compared(tmp_path: Path, capsys: Capture) -> None:
    moving = 'model.weight={"type":"linear","start":0.1,"stop":1,"length":1,"unit":"fraction"}'
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), *SHORT, "--set", moving]) == 2
    assert "model.weight moves" in capsys.readouterr().err
    last = ["--set", moving, "train.select=last"]
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), *SHORT, *last]) == 0
    model = RunFolder(tmp_path / "run").best_model()
    assert float(model.state_dict()["weight"]) == pytest.approx(0.1 + 0.9 * 13 / 14)


def test_a_schedule_may_not_leave_the_range_of_its_field(tmp_path: Path, capsys: Capture) -> None:
    negative = 'model.weight={"type":"linear","start":0.1,"stop":-1,"length":1}'
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), "--set", negative]) == 2
    assert "the schedule reaches -1; Expected `float` >= 0" in capsys.readouterr().err


def test_eval_does_not_write_over_files(trained: Path, capsys: Capture) -> None:
    before = (trained / "config.json").read_bytes()
    assert main(["eval", str(trained), "--json", str(trained / "config.json")]) == 3
    assert "exists already" in capsys.readouterr().err
    assert (trained / "config.json").read_bytes() == before


def test_other_samples_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("x.npy", rng.random((200, 8, 8), np.float32))
    data = 'data={"type":"arrays","path":"x.npy"}'
    assert main(["train", "digits-sdl", "--out", "run", *SHORT, "--set", data]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["eval", "../run"]) == 0  # the path in the config holds from everywhere
    np.save("../x.npy", rng.random((200, 8, 8), np.float32))
    assert main(["eval", "../run"]) == 1
    assert "trained on other samples" in capsys.readouterr().err


def test_encode_warns_of_other_units(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "x.npy", 255 * Digits().load().test.x.numpy())
    assert main(["encode", str(trained), str(tmp_path / "x.npy"), "--out", str(tmp_path / "z.npz")]) == 0
    assert "are they in the same units?" in capsys.readouterr().out


def test_one_damaged_run_does_not_hide_the_others(trained: Path, capsys: Capture) -> None:
    damaged = trained.parent / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text('{"format": 99, "spec": {}}')
    assert main(["runs", "ls", str(trained.parent)]) == 0
    text = capsys.readouterr().out
    assert "14 of 14" in text
    assert "damaged: " in text
    assert "written in format 99 by a newer sparsecode" in text


@pytest.mark.draws
def test_vectors_and_no_noise_levels_are_no_obstacle(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((200, 10), np.float32))
    data = f'data={{"type":"arrays","path":"{tmp_path / "x.npy"}"}}'
    out = tmp_path / "run"
    assert main(["train", "digits-sdl", "--out", str(out), "--set", data, "evaluate.sigmas=[]", "train.epochs=2"]) == 0
    assert {p.name for p in (out / "figures").iterdir()} == {"curves.png", "usage.png"}


def test_a_damaged_line_of_metrics_is_named_and_kept(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    file = trained / "metrics.jsonl"
    before = file.read_bytes()
    file.write_bytes(b"oops\n" + before)
    assert main(["plot", str(trained)]) == 1
    assert "metrics.jsonl, line 1: " in capsys.readouterr().err
    file.write_bytes(before)


def test_devices_that_are_not_there_are_named(tmp_path: Path, capsys: Capture) -> None:
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), "--devices", "0"]) == 1
    assert "devices is 0; expected 1 to" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
