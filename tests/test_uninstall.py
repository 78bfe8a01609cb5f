"""What is left of an installation: nothing in the environment, one folder in the user's cache."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_uninstalling_leaves_nothing_but_the_cache_folder(tmp_path: Path) -> None:
    home, environment = tmp_path / "home", tmp_path / "environment"
    python = environment / "bin" / "python"
    cleared = ("PYTHONPATH", "SPARSECODE_CACHE", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "PYTHONDONTWRITEBYTECODE")
    env = {name: value for name, value in os.environ.items() if name not in cleared}

    def call(*command: object) -> None:
        subprocess.run([str(word) for word in command], check=True, cwd=tmp_path, env={**env, "HOME": str(home)})

    def pip(*command: object, into: Path = Path(sys.executable)) -> None:
        call(sys.executable, "-m", "pip", "--python", into, "--disable-pip-version-check", *command)

    home.mkdir()
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    call(sys.executable, "-m", "venv", "--without-pip", environment)
    (packages,) = environment.glob("lib/*/site-packages")
    # .pth files in that folder do not count, which leaves out an editable install
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    before = sorted(environment.rglob("*"))
    pip("install", "--no-deps", "--no-index", wheel, into=python)

    command = environment / "bin" / "sparsecode"
    call(python, "-c", f"import sparsecode; assert sparsecode.__file__.startswith({str(packages)!r})")
    call(command, "train", "digits-sdl", "--help")
    call(command, "train", "digits-sdl", "--train.epochs", "1", "--out", "run")
    call(command, "encode", "run", "--split", "test", "--out", "codes.npz")
    assert (packages / "sparsecode" / "__pycache__").is_dir()

    pip("uninstall", "--yes", "sparsecode", into=python)
    assert sorted(environment.rglob("*")) == before
    assert {path.name for path in (home / ".cache" / "sparsecode").iterdir()} == {"kernels", "options"}
    ours = [path for path in home.rglob("*sparsecode*") if path != home / ".cache" / "sparsecode"]
    assert not ours
