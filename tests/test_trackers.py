"""Trackers: pictures during training, and what the real packages record. `make test-trackers` installs the packages."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import toy
from waiting import PATIENCE

from sparsecode.records import Event
from sparsecode.runner import run
from sparsecode.train.observers import Snapshot
from sparsecode.train.trackers import TRACKERS, TensorBoard

SHORT = ("--train.epochs", "2", "--train.evaluate-every", "1", "--no-figures", "--accelerator", "cpu")
ELSEWHERE = [name for name in TRACKERS if name != "tensorboard"]
PICTURES = {
    "digits-sdl": {"usage", "atoms", "reconstructions"},
    "digits-vsc": {"usage", "atoms", "reconstructions", "encoding", "prior"},
}


class Shown:
    """An observer that keeps what it is shown."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.validated: list[int] = []

    def __call__(self, event: Event) -> None:
        if event.kind == "evaluate":
            self.validated.append(event.step)

    def show(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)


@pytest.mark.parametrize("name", ["digits-sdl", pytest.param("digits-vsc", marks=pytest.mark.slow)])
def test_pictures_of_the_model_at_every_validation_change_no_weight(tmp_path: Path, name: str) -> None:
    config, shown, log = toy(name, tmp_path, steps=5), Shown(), tmp_path / "log"
    with_pictures = run(config, tmp_path / "with", observers=[shown, TensorBoard(log)], figures=False)
    without = run(config, tmp_path / "without", figures=False)
    assert [snapshot.step for snapshot in shown.snapshots] == shown.validated == [5]
    for snapshot in shown.snapshots:
        assert set(snapshot.pictures) == PICTURES[name]
        for picture in snapshot.pictures.values():
            assert picture.dtype == np.uint8
            assert picture.shape[2] == 3
            assert picture.std() > 0
        assert all(np.isfinite(values).all() for values in snapshot.histograms.values())
    models = (made.folder.best_model() for made in (with_pictures, without))
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)
    result = EventAccumulator(str(log))
    result.Reload()
    assert [image.step for image in result.Images("atoms")] == [5]
    assert (
        len(result.Histograms("norms of decoder.atoms" if name == "digits-sdl" else "use by encode (hard gates)")) == 1
    )
    assert len(result.Scalars("evaluate/encode/psnr")) == 1


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in (name, "torch.utils.tensorboard.writer"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"^\S.* is not installed: pip install 'sparsecode\[{name}\]'$"):
        TRACKERS[name](tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_has_the_identity_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[dict[str, Any]] = []
    fake = ModuleType("wandb")
    fake.__dict__.update(init=lambda **options: begun.append(options), finish=lambda: None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    (tmp_path / "config.json").write_bytes(msgspec.json.encode({"format": 1, "spec": {"seed": 3}}))
    for step in (0, 7, 0):
        tracker = TRACKERS["wandb"](tmp_path / "wandb")
        tracker(Event("start", step, 10, {}))
        tracker(Event("end", 10, 10, {}))
    first, resumed, anew = (options["id"] for options in begun)
    assert first == resumed != anew
    assert begun[0]["config"] == {"seed": 3}
    assert begun[0]["name"] == tmp_path.name


@pytest.mark.slow
@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_real_package_has_the_record_of_a_run_and_of_its_extension(tmp_path: Path, name: str) -> None:
    """Offline: scalars, pictures and one run after two sessions. Where the package is not installed, its extra is named."""
    env = {
        **os.environ,
        "HOME": str(tmp_path),
        "WANDB_MODE": "offline",
        "SWANLAB_MODE": "offline",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
    }

    def call(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE
        )

    begun = call("-m", "sparsecode", "train", "digits-sdl", "--out", "run", *SHORT, "--track", name)
    if importlib.util.find_spec(name) is None:
        assert begun.returncode == 1
        assert f"pip install 'sparsecode[{name}]'" in begun.stderr
        return
    assert begun.returncode == 0, begun.stderr
    extended = call(
        "-m",
        "sparsecode",
        "train",
        "--resume",
        "run",
        "--extend",
        "1",
        "--no-figures",
        "--accelerator",
        "cpu",
        "--track",
        name,
    )
    assert extended.returncode == 0, extended.stderr
    read = call(str(Path(__file__).parent / "trackers" / "read_back.py"), name, str(tmp_path))
    assert read.returncode == 0, read.stderr
    result = json.loads(read.stdout.splitlines()[-1])
    assert {"evaluate/encode/objective", "train/loss", *(f"pictures/{n}" for n in PICTURES["digits-sdl"])} <= set(
        result["names"]
    )
    assert result["runs"] == 1
    assert result["pictures"] == 9  # three figures at three validations
    assert result.get("steps", [14, 28, 42]) == [14, 28, 42]
    assert result.get("sessions", 2) == 2
    assert result.get("epochs", "2.0") == "2.0"
