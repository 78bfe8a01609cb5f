"""Help is immediate (nothing large is imported for it) and as wide as the terminal."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sparsecode.cli.arguments import described
from sparsecode.cli.main import COMMANDS

ASKED = [[], *([name] for name in COMMANDS), ["runs", "ls"], ["runs", "show"], ["runs", "compare"]]
PROGRAM = """
import contextlib, io, os, sys

LARGE = ("torch", "numpy", "matplotlib", "sklearn", "numba", "lightning_fabric", "safetensors", "PIL")


class Refused:
    def find_spec(name, path=None, target=None):
        if name in LARGE:
            raise ImportError(f"{name} is not needed for help")


sys.meta_path.insert(0, Refused)

from sparsecode.cli import main

for width in (80, 120):
    os.environ["COLUMNS"] = str(width)
    for command in {commands}:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            code = main([*command, "--help"])
        lines = text.getvalue().splitlines()
        assert code == 0 and len(lines) > 4, command
        assert max(map(len, lines)) <= width, (width, command, max(lines, key=len))
print("all is well")
"""


def test_every_help_does_without_torch_and_fits_the_terminal() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{commands}", repr(ASKED))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "all is well\n"), done.stderr


def test_descriptions_end_before_the_arguments_and_keep_their_paragraphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = described("One line.\n\nAnother paragraph,\nwhich is too long for one line.\n\nArgs:\n    x: a number\n")
    assert text.splitlines() == ["  One line.", "", "  Another paragraph, which is too long", "  for one line."]
