"""Help is immediate (nothing large is imported for it) and as wide as the terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from sparsecode.cli import main
from sparsecode.cli.arguments import described
from sparsecode.cli.arguments import train as arguments
from sparsecode.cli.main import COMMANDS
from sparsecode.cli.options import table_of
from sparsecode.recipes import RECIPES

TRAIN = [["train", "digits-sdl"], ["train", "acts-matryoshka"], ["train", "--resume", "runs/a"]]
ASKED = [
    [],
    *([name] for name in COMMANDS),
    ["runs", "ls"],
    ["runs", "show"],
    ["runs", "compare"],
    ["data", "get"],
    ["data", "ls"],
    *TRAIN,
]
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


def test_every_help_does_without_torch_and_fits_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPARSECODE_CACHE", str(tmp_path))
    assert main([*TRAIN[0], "--help"]) == 0  # the first help of any recipe keeps the options of all
    first = capsys.readouterr().out
    assert main([*TRAIN[0], "--help"]) == 0
    assert capsys.readouterr().out == first
    for name, recipe in RECIPES.items():
        made = table_of(recipe(), recipe.about.split("\n")[0])
        assert msgspec.json.encode(arguments.kept(name)) == msgspec.json.encode(made), name
    changed = arguments._source() != arguments._source.__wrapped__()  # pyright: ignore[reportPrivateUsage]
    assert not changed, "files of the package were changed while the tests ran: its processes have another source"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{commands}", repr(ASKED))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "all is well\n"), done.stderr


def test_options_that_are_kept_are_those_of_this_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSECODE_CACHE", str(tmp_path))
    table = arguments.OptionTable("about", {"n": arguments.Option.of(int | None, 3, "help")})
    arguments.keep({"a": table})
    assert arguments.kept("a") == table
    assert arguments.kept("b") is None
    with monkeypatch.context() as other:
        other.setattr(arguments, "_source", lambda: b"a field more")
        assert arguments.kept("a") is None
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(file.read_bytes().replace(b"help", b"hulp"))
    assert arguments.kept("a") is None
    monkeypatch.setenv("SPARSECODE_CACHE", str(file))  # no folder: help works all the same
    arguments.keep({"a": table})
    assert arguments.kept("a") is None


def test_descriptions_end_before_the_arguments_and_keep_their_paragraphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = described("One line.\n\nAnother paragraph,\nwhich is too long for one line.\n\nArgs:\n    x: a number\n")
    assert text.splitlines() == ["  One line.", "", "  Another paragraph, which is too long", "  for one line."]
