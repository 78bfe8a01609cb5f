"""What bash offers after Tab."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from sparsecode.cli import main
from sparsecode.cli.main import COMMANDS
from sparsecode.recipes import RECIPES

TAB = """
source ./script
tab() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sparsecode; echo "${COMPREPLY[*]}"; }
"""


def test_commands_recipes_options_and_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    (tmp_path / "script").write_text(script, encoding="utf-8")
    expected = {
        "": " ".join(COMMANDS),
        "enc": "encode",
        "encode runs/d": "",  # then bash offers files
        "encode runs/d --sp": "--split",
        "encode runs/d --split te": "test",
        "train photos-": " ".join(name for name in RECIPES if name.startswith("photos-")),
        "train photos-sdl --acc": "--accelerator",
        "train photos-sdl --accelerator c": "cpu cuda",
        "train --resume runs/d --data": "--data.path",
        "runs ": "ls show compare",
        "sweep mnist-sdl noise-digits-cont": "noise-digits-continual",
        "completion ": "bash zsh",
    }
    bash = shutil.which("bash")
    assert bash
    calls = "\n".join(f"tab {shlex.join(['sparsecode', *typed.split(' ')])}" for typed in expected)
    done = subprocess.run([bash, "-c", TAB + calls], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == list(expected.values())
    assert len(script) < 200_000, "every shell reads it at its start"


def test_shells_are_those_that_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 2
    assert "zsh" in capsys.readouterr().err
