"""Wheels, and environments that they are installed into, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLEARED = ("PYTHONPATH", "SPARSECODE_CACHE", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "PYTHONDONTWRITEBYTECODE")


class Environment:
    """A virtual environment in `folder`, without pip; its processes start in `folder/work`, with `folder/home` as home."""

    def __init__(self, folder: Path, borrowed: Path | None = None) -> None:
        """`borrowed` is the folder of packages of another environment, which are there, too."""
        self.folder, self.python = folder, folder / "environment" / "bin" / "python"
        self.home, self.work = folder / "home", folder / "work"
        for path in (self.home, self.work):
            path.mkdir(parents=True)
        self.call(sys.executable, "-m", "venv", "--without-pip", self.python.parents[1])
        (self.packages,) = self.python.parents[1].glob("lib/*/site-packages")
        if borrowed:  # .pth files in that folder do not count, which leaves out an editable install
            (self.packages / "borrowed.pth").write_text(str(borrowed))

    def call(self, *command: object) -> str:
        """What a command prints. One that fails fails the test, with what it said."""
        env = {name: value for name, value in os.environ.items() if name not in CLEARED}
        words = [str(word) for word in command]
        done = subprocess.run(
            words, cwd=self.work, env={**env, "HOME": str(self.home)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def command(self, *words: object) -> str:
        return self.call(self.python.with_name("sparsecode"), *words)

    def pip(self, *words: object) -> str:
        return self.call(sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", *words)


def borrowed() -> Path:
    """The packages of the environment that runs the tests."""
    return Path(sysconfig.get_path("purelib"))


def built(kind: str, out: Path, source: Path = ROOT) -> Path:
    """The wheel or the sdist (`kind`) of `source`, made in the folder `out`."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (path,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return path
