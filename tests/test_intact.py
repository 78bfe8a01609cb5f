"""An intact file is never called damaged because the system would not hand it over, or because training replaced it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from sparsecode.cli import main
from sparsecode.data.cache import mapped
from sparsecode.models.storage import read_tensors, write_tensors
from sparsecode.run_list import list_runs
from sparsecode.runs import RunFolder

Capture = pytest.CaptureFixture[str]
FILES = ("config.json", "resume/state.safetensors", "model/cfg.json", "model/sae_weights.safetensors")


def failing(name: str, number: int, patch: pytest.MonkeyPatch) -> None:
    """Let the system refuse to open files of this name."""
    real = Path.open, Path.read_bytes

    def refuse(path: Path) -> None:
        if path.name == name:
            raise OSError(number, os.strerror(number), str(path))

    patch.setattr(Path, "open", lambda path, *how, **more: (refuse(path), real[0](path, *how, **more))[1])
    patch.setattr(Path, "read_bytes", lambda path: (refuse(path), real[1](path))[1])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
@pytest.mark.parametrize("file", FILES)
def test_what_cannot_be_read_is_not_damaged(
    file: str, number: int, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with monkeypatch.context() as patch:
        failing(Path(file).name, number, patch)
        commands = [["eval", str(trained)], ["runs", "show", str(trained)]]
        codes = [main(command) for command in commands]
        (result,) = (run for run in list_runs(trained.parent) if run.name == trained.name)
    said = capsys.readouterr().err + result.problem
    assert 1 in codes or result.problem
    assert os.strerror(number) in said
    assert "damaged" not in said
    assert "Traceback" not in said


def test_a_checkpoint_replaced_while_it_is_read_is_not_damaged(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(shutil.copytree(trained, tmp_path / "run"))
    file, opened = run.resume / "state.safetensors", Path.open
    longer = tmp_path / "longer.safetensors"
    tensors = read_tensors(file)
    write_tensors(longer, tensors.tensors, {**tensors.metadata, "more": "than before"})

    def replaced_first(path: Path, *arguments: str) -> object:
        if path == file:
            shutil.copy(longer, file)
        return opened(path, *arguments)  # pyright: ignore[reportArgumentType, reportCallIssue] - handed through

    state = run.state()
    monkeypatch.setattr(Path, "open", replaced_first)
    assert run.state() == state


def test_a_disk_that_fails_does_not_damage_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", np.ones(3, np.float32))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"cut\.npy: damaged or gone"):
        mapped(tmp_path / "cut.npy")
    with pytest.raises(ValueError, match=r"none\.npy: damaged or gone"):
        mapped(tmp_path / "none.npy")

    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(np, "load", failing)
    with pytest.raises(OSError, match="Input/output error"):
        mapped(tmp_path / "x.npy")
