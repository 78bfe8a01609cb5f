"""A disk that fills up or cannot be written: what was there stays, and the run goes on once there is space."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toys import SHORT

from sparsecode.cli import main
from sparsecode.records import Event
from sparsecode.runs import RunFolder
from sparsecode.train.observers import ProgressBar

Capture = pytest.CaptureFixture[str]

OFTEN = [*SHORT, "--train.log-every", "1", "--train.checkpoint-every", "0.2", "--train.evaluate-every", "0.2"]


def files(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[[int | None], None]]:
    """Bound the size of any file that this process writes; None lifts it. The system itself refuses the rest."""
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # Python would keep what is cut short of modules imported then
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def bound(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before if size is None else size, most))

    yield bound
    bound(None)


def full_at(step: int, size: int, room: Callable[[int | None], None], patch: pytest.MonkeyPatch) -> None:
    """Let the disk of `sparsecode train` be full from this step on."""

    class Filling(ProgressBar):
        def __call__(self, event: Event) -> None:
            if event.kind == "train" and event.step == step:
                room(size)
            super().__call__(event)

    patch.setattr("sparsecode.cli.train.ProgressBar", Filling)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("disk") / "run"
    assert main(["train", "digits-sdl", "--out", str(out), *OFTEN, "--figures"]) == 0
    return out


@pytest.mark.parametrize(
    ("step", "size", "file", "saved"),
    [
        (5, 30_000, "model/sae_weights.safetensors", 3),
        (2, 60_000, "resume/state.safetensors", None),
        (7, 1_000, "metrics.jsonl", 6),
    ],
)
def test_a_disk_that_fills_up_costs_no_more_than_the_steps_since_the_checkpoint(
    step: int,
    size: int,
    file: str,
    saved: int | None,
    undisturbed: Path,
    tmp_path: Path,
    room: Callable[[int | None], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        full_at(step, size, room, patch)
        assert main(["train", "digits-sdl", "--out", str(out), *OFTEN]) == 1
    room(None)
    said = capsys.readouterr().err
    assert said.startswith(f"sparsecode train: cannot write {out / file}: File too large; free some space")
    assert said.count("\n") == 1
    state = RunFolder(out).state()
    assert (state and state.step) == saved
    if saved:
        assert RunFolder(out).best_model().shape == (8, 8)
    assert not list(out.rglob("*.partial"))

    assert main(["train", "--resume", str(out), "--no-figures"]) == 0
    for name in ("resume/state.safetensors", "model/sae_weights.safetensors"):
        a, b = load_file(undisturbed / name), load_file(out / name)
        assert all(torch.equal(a[k], b[k]) for k in a)
    assert RunFolder(out).evaluation() == RunFolder(undisturbed).evaluation()


@pytest.mark.draws
def test_a_disk_full_at_the_figures_keeps_the_training(
    undisturbed: Path, tmp_path: Path, room: Callable[[int | None], None], capsys: Capture
) -> None:
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out)
    (out / "eval.json").unlink()
    shutil.rmtree(out / "figures")
    before = files(out)
    room(10_000)
    assert main(["train", "--resume", str(out)]) == 1
    room(None)
    assert f"cannot write {out / 'figures'}" in capsys.readouterr().err
    assert files(out) == before
    assert main(["train", "--resume", str(out)]) == 0
    assert "at step 14 of 14" in capsys.readouterr().out
    assert {p: b for p, b in files(out).items() if p in before} == before
    assert (out / "eval.json").read_bytes() == (undisturbed / "eval.json").read_bytes()


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (["encode", "RUN", "--split", "test", "--out", "PLACE/z.npz"], "z.npz"),
        (["probe", "RUN", "--labels-per-class", "1", "--seeds", "1", "--references", "--out", "PLACE"], "probe.json"),
        (["eval", "RUN", "--json", "PLACE/scores.json"], "scores.json"),
        (["denoise", "IMAGE", "--dictionary", "RUN", "--sigma", "0.1", "--out", "PLACE"], "image.npy"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_results_that_find_no_room_leave_nothing_half_written(
    command: list[str],
    file: str,
    undisturbed: Path,
    tmp_path: Path,
    room: Callable[[int | None], None],
    capsys: Capture,
) -> None:
    image = tmp_path / "image.npy"
    np.save(image, np.random.default_rng(0).random((16, 16), np.float32))
    place = tmp_path / "results"
    words = {"RUN": str(undisturbed), "IMAGE": str(image), "PLACE": str(place)}
    for word, meant in words.items():
        command = [part.replace(word, meant) for part in command]
    before = files(undisturbed)
    room(100)
    code = main(command)
    room(None)
    assert code == 1
    said = capsys.readouterr().err
    assert f"sparsecode {command[0]}: cannot write" in said
    assert f"{file}" in said
    assert "File too large; free some space, or write somewhere else" in said
    assert files(undisturbed) == before
    assert not (place.exists() and files(place))


@pytest.mark.parametrize("nowhere", ["a file", "/proc"])
@pytest.mark.parametrize(
    "command",
    [
        ["train", "digits-sdl", *SHORT, "--out", "NOWHERE/run"],
        ["sweep", "digits-sdl", "--set", "train.epochs=1", "--out", "NOWHERE/sweep"],
        ["encode", "RUN", "--split", "test", "--out", "NOWHERE/z.safetensors"],
        ["probe", "RUN", "--labels-per-class", "1", "--seeds", "1", "--references", "--out", "NOWHERE/probe"],
        ["eval", "RUN", "--json", "NOWHERE/scores.json"],
    ],
    ids=lambda value: value[0],
)
def test_a_folder_that_cannot_be_written_is_named(
    command: list[str], nowhere: str, undisturbed: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "a file").write_bytes(b"not a folder")
    place = nowhere if nowhere == "/proc" else str(tmp_path / nowhere)
    command = [part.replace("RUN", str(undisturbed)).replace("NOWHERE", place) for part in command]
    refused = nowhere == "a file" and command[0] in {"encode", "probe", "eval"}  # before any work
    assert main(command) == (3 if refused else 1)
    said = capsys.readouterr().err
    assert said.startswith(f"sparsecode {command[0]}: {'--' if refused else 'cannot write '}")
    assert place in said
    assert said.count("\n") == 1
    endings = "choose another folder", "write somewhere else"
    assert said.rstrip().endswith(f"{place} is a file; expected a folder, or a new name" if refused else endings)
    assert (tmp_path / "a file").read_bytes() == b"not a folder"
