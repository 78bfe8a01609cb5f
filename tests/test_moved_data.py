"""Data that have moved are pointed to; a reader of the output that leaves stops a training, which says how to go on."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toys import SHORT

from sparsecode.cli import main
from sparsecode.data import ClassTasks, Digits, ImageFolder, Patches
from sparsecode.runs import RunFolder, moved_to

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an array and a run on it."""
    place = tmp_path_factory.mktemp("own")
    np.save(place / "x.npy", Digits().load().train.x.flatten(1)[:300].numpy())
    data = f'data={{"type":"arrays","path":"{place / "x.npy"}"}}'
    assert main(["train", "digits-topk", "--out", str(place / "run"), "--set", data, *SHORT]) == 0
    return place


@pytest.fixture
def moved(own: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the run whose config names a file that is not there, and where the file is."""
    run = shutil.copytree(own / "run", tmp_path / "run")
    config = (run / "config.json").read_text().replace(str(own / "x.npy"), str(tmp_path / "gone.npy"))
    (run / "config.json").write_text(config)
    return run, own / "x.npy"


@pytest.mark.parametrize(
    "command",
    [
        ["eval", "RUN"],
        ["encode", "RUN", "--split", "test", "--out", "OUT/z.npz"],
        ["analyse", "RUN", "--samples", "2"],
        ["plot", "RUN"],
        ["train", "--resume", "RUN", "--no-figures"],
    ],
    ids=lambda command: command[0],
)
def test_commands_say_how_to_point_to_data_that_moved(
    command: list[str], moved: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("sparsecode.cli.analyse.analyse", lambda *_, **__: pytest.fail("came too far"))
    run, there = moved
    (run / "eval.json").unlink()  # or there is nothing to resume
    before = (run / "config.json").read_bytes()
    command = [part.replace("RUN", str(run)).replace("OUT", str(tmp_path)) for part in command]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / 'gone.npy'}: no such file" in said
    assert "if the data have moved, say where they are with --data.path" in said
    others = tmp_path / "others.npy"
    np.save(others, np.load(there)[::-1])
    assert main([*command, "--data.path", str(others)]) == 1
    assert "trained on other samples" in capsys.readouterr().err
    if command[0] != "analyse":
        assert main([*command, "--data.path", str(there)]) == 0
    assert (run / "config.json").read_bytes() == before


def test_a_run_goes_on_with_moved_data(own: Path, moved: tuple[Path, Path]) -> None:
    run, there = moved
    (run / "eval.json").unlink()
    assert main(["train", "--resume", str(run), "--data.path", str(there), "--no-figures"]) == 0
    assert RunFolder(run).evaluation() == RunFolder(own / "run").evaluation()


def test_which_sources_have_files_that_move(tmp_path: Path) -> None:
    assert moved_to(ImageFolder(path="a"), Path("b")) == ImageFolder(path="b")
    assert moved_to(Patches(images="a"), Path("b")) == Patches(images="b")
    for data in (Digits(), ClassTasks(source=Digits()), Patches()):
        with pytest.raises(ValueError, match=r"--data\.path b: data of type \w+ have no path in the config"):
            moved_to(data, Path("b"))


class Left(io.StringIO):
    """A pipe whose reader leaves after the first line."""

    def __init__(self) -> None:
        super().__init__()
        self.descriptor = os.open(os.devnull, os.O_WRONLY)

    def write(self, text: str) -> int:
        if "\n" in self.getvalue():
            raise BrokenPipeError
        return super().write(text)

    def fileno(self) -> int:
        return self.descriptor


def test_a_training_whose_reader_has_left_saves_and_says_how_to_go_on(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    run = tmp_path / "run"
    often = ["--train.evaluate-every", "0.2"]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Left())
        assert main(["train", "digits-sdl", "--out", str(run), *SHORT, *often]) == 141
    said = capsys.readouterr().err
    state = RunFolder(run).state()
    assert state is not None
    assert state.stopped_by == "a closed output"
    assert 0 < state.step < state.total_steps
    assert f"stopped by a closed output at step {state.step} of {state.total_steps}; all is saved" in said
    assert f"sparsecode train --resume {run}" in said
    assert main(["train", "--resume", str(run), "--no-figures"]) == 0
    ended = [load_file(folder / "resume" / "state.safetensors") for folder in (run, trained)]
    assert all(torch.equal(ended[0][name], ended[1][name]) for name in ended[1] if name.startswith("model/"))


def test_a_listing_that_nobody_reads_to_the_end_says_nothing(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Left())
        assert main(["recipes"]) == 141
    assert capsys.readouterr().err == ""
