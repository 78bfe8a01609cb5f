"""Names of folders and files hold whatever the system allows: printed, drawn and stored as text, they mean nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.progress import track
from rich.table import Table
from safetensors import safe_open

from sparsecode.cli import main
from sparsecode.cli.console import Console, described
from sparsecode.data import Digits
from sparsecode.files import printable
from sparsecode.plots.saving import save_figure
from sparsecode.reports.page import inside_script
from sparsecode.runs import RunFolder

Capture = pytest.CaptureFixture[str]

BYTES = os.fsdecode(b"\xff\xfe")  # not UTF-8
NAMES = [
    "[red]x[/red]", "[/]", ":smile:", "$\\frac", "a$b$c", "<!--<script>", "a&b;<\\script>", "{{data}}", "%s%d", "a\nb", "a\tb",
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", BYTES, "\U0001f600\u6f22", "\u202ertl", "\u2028", "-lead", " spaces ", "'quote\"",
    "a=b,c", "*?[x]", "x" * 120,
]  # fmt: skip
WORST = ["[/]", "$\\frac", "a\nb", "\x1b]0;title\x07", BYTES]
UNSEEN = {chr(code) for code in (*range(10), *range(11, 32), 0x7F, 0x9B, 0x202E, 0x2028)}


def checked(capsys: Capture) -> str:
    """All that was said, which must be text that a terminal takes no orders from."""
    said = capsys.readouterr()
    text = said.out + said.err
    assert not UNSEEN & set(text)
    text.encode()
    return text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain é \U0001f600", "plain é \U0001f600"),
        ("a\nb\t", "a\\nb\\t"),
        ("\x1b[31m", "\\x1b[31m"),
        (BYTES, "\\xff\\xfe"),
        ("\ud800", "\\ud800"),
        ("\u2028\u202e", "\\u2028\\u202e"),
    ],
)
def test_what_is_not_seen_is_shown_as_an_escape(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert printable("a\nb", kept="\n") == "a\nb"


@pytest.mark.parametrize("name", NAMES)
def test_the_terminal_shows_names_as_they_are(name: str, capsys: Capture) -> None:
    console = Console()
    table = Table("run", title=name)
    table.add_row(name)
    console.print(table)
    console.print(f"{name}: done", highlight=False, soft_wrap=True)
    assert printable(name, kept="\n") + ": done" in checked(capsys)
    with console.status(f"{described(name)}: working"):
        pass
    assert list(track(range(2), description=described(name), console=console)) == [0, 1]


def test_one_listing_holds_every_name(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    names = [name.replace("/", "|") for name in NAMES]
    for name in names:
        (tmp_path / name).mkdir()
        shutil.copy(trained / "config.json", tmp_path / name)
    (tmp_path / BYTES / "config.json").write_bytes(b"{")
    assert main(["runs", "ls", str(tmp_path)]) == 0
    said = checked(capsys)
    assert said.count("not begun") == len(names) - 1
    for name in names[:-1]:
        assert printable(name) in said
    assert f"\\xff\\xfe: {tmp_path}/\\xff\\xfe/config.json: not valid JSON" in said


@pytest.mark.parametrize("name", WORST)
def test_a_run_of_any_name_is_scored_coded_and_compared(
    name: str, trained: Path, tmp_path: Path, capsys: Capture
) -> None:
    run = str(shutil.copytree(trained, tmp_path / name))
    out, x = tmp_path / f"{name}.safetensors", tmp_path / f"{name}.npy"
    np.save(x, Digits().load().test.x.numpy()[:9])
    assert main(["eval", run, "--json", str(tmp_path / f"{name}.json")]) == 0
    assert main(["encode", run, str(x), "--out", str(out)]) == 0
    assert main(["runs", "show", run]) == 0
    assert main(["runs", "compare", run, str(trained)]) == 0
    assert main(["train", "--resume", run, "--no-figures"]) == 0
    assert main(["eval", run, "--json", str(tmp_path / f"{name}.json")]) == 3
    assert main(["convert", run, str(tmp_path / f"o{name}"), "--to", "saelens"]) == 1
    assert printable(name) in checked(capsys)
    shutil.copy(out, tmp_path / "z.safetensors")
    with safe_open(tmp_path / "z.safetensors", framework="np") as file:
        assert file.metadata()["run"] == printable(Path(name).name)
    assert RunFolder(run).state() == RunFolder(trained).state()


@pytest.mark.parametrize("name", WORST)
def test_an_error_is_one_line_whatever_the_file_is_called(name: str, tmp_path: Path, capsys: Capture) -> None:
    missing = str(tmp_path / name)
    for command in (
        ["eval", missing],
        ["train", "--resume", missing],
        ["runs", "ls", missing],
        ["convert", missing, "o", "--to", "openai"],
    ):
        assert main(command) == 1
        said = checked(capsys)
        assert printable(missing) in said
        assert said.count("\n") == 1


def test_a_path_that_json_cannot_hold_is_refused_before_training(tmp_path: Path, capsys: Capture) -> None:
    data = json.dumps({"type": "arrays", "path": str(tmp_path / BYTES)}, ensure_ascii=False)
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), "--set", f"data={data}"]) == 2
    said = checked(capsys)
    assert "is not UTF-8, and a config is stored as JSON, which is; rename the file or folder" in said
    assert not (tmp_path / "run").exists()


def test_pictures_show_names_as_they_are_and_powers_as_powers(tmp_path: Path) -> None:
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle("\n".join(NAMES[:6]))
    for name in NAMES:
        left.plot([1, 2], [1, 2], label=name)
    left.legend(fontsize=4)
    left.set_xlabel("$\\frac")
    left.set_xscale("log")
    right.set_xticks(range(3), ["$\\frac", BYTES, "\u6f22"])
    right.set_title("long " * 100)
    save_figure(
        tmp_path / "a.png", figure
    )  # an unknown command or a missing character would be an error or a warning here
    assert (tmp_path / "a.png").stat().st_size > 1000
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert {"$\\frac", "\\xff\\xfe", "?"} <= set(texts)
    assert max(map(len, texts)) < 400
    powers = [label for label in left.get_xticklabels(which="both") if "mathdefault" in label.get_text()]
    assert powers
    assert all(label.get_parse_math() for label in powers)


@pytest.mark.parametrize("name", [*NAMES, "</script>", "]]>", "<!--", "&lt;"])
def test_nothing_in_a_page_begins_or_ends_an_element(name: str) -> None:
    text = inside_script({"title": name})
    assert not set("<>&\u2028\u2029") & set(text)
    assert text.isascii()
    assert json.loads(text) == {"title": name}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORST)
def test_every_command_takes_a_run_of_any_name(name: str, trained: Path, tmp_path: Path, capsys: Capture) -> None:
    run = str(shutil.copytree(trained, tmp_path / name))
    image = str(tmp_path / f"{name}.npy")
    np.save(image, np.random.default_rng(0).random((16, 16)))
    vsc = str(tmp_path / f"vsc{name}")
    short = ["--train.epochs", "0.1", "--accelerator", "cpu"]
    for command in (
        ["plot", run],
        [
            "analyse",
            run,
            str(trained),
            "--json",
            str(tmp_path / f"{name}.json"),
            "--samples",
            "50",
        ],
        ["probe", run, "--labels-per-class", "1", "--seeds", "1", "--out", str(tmp_path / f"probe{name}")],
        ["denoise", image, "--dictionary", run, "--sigma", "0.1", "--out", str(tmp_path / f"den{name}")],
        ["train", "digits-vsc", "--out", vsc, "--tensorboard", *short],
        ["traverse", vsc, "--gif", "--html", "--out", str(tmp_path / f"t{name}")],
        ["latents", vsc],
        ["sweep", "digits-sdl", "--over", "seed=0,1", "--epochs", "0.1", "--out", str(tmp_path / f"sweep{name}")],
        ["runs", "ls", str(tmp_path / f"sweep{name}")],
    ):
        if command[0] == "train" and name == BYTES:
            command.remove("--tensorboard")  # its files have names in UTF-8
        assert main(command) == 0, (command, capsys.readouterr().err)
    checked(capsys)
