"""Tables of commands on narrow terminals: every number is there, whole and in a line of its own column, with the name of its row."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
from rich.table import Table

from sparsecode.cli.console import Console
from sparsecode.cli.main import main
from sparsecode.cli.tables import rich_table
from sparsecode.evaluate.reconstruction.host_loss import HostLoss, RecoveredLoss

WRITTEN = Path(__file__).parent / "frozen/format-1/runs"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(params=[40, 60, 80, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def printed(table: Table, capsys: Capture) -> str:
    Console().print(table)
    return capsys.readouterr().out


def test_the_losses_of_a_language_model(width: int, capsys: Capture) -> None:
    numbers = itertools.count(1)

    def loss() -> HostLoss:
        return HostLoss(*(float(f"{next(numbers)}.{next(numbers):04d}") for _ in HostLoss.__struct_fields__))

    one = RecoveredLoss(("transformer.h.10.mlp.output",), 4096, loss(), loss(), loss(), loss(), 0.9123, 0.8456, 0.7789)
    table = RecoveredLoss.table("loss of a model with a long name recovered", {"transformer.h.10.mlp.output": one})
    text = printed(rich_table(table), capsys)
    assert "…" not in text
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    for row in table.rows:
        for number in " ".join(row[1:]).replace(",", " ").split():
            assert any(number in line for line in lines), number


@pytest.mark.parametrize("columns", [1, 3, 9])
def test_no_number_is_cut(width: int, columns: int, capsys: Capture) -> None:
    table = Table(
        title="a title",
        caption="the caption of the table, a sentence or two",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("name of the run")
    for j in range(columns):
        table.add_column(f"quantity {j}", justify="right")
    cells = [[f"-{i}.{j}567e-12" for j in range(columns)] for i in range(3)]
    for i, row in enumerate(cells):
        table.add_row(f"row{i} with a name of several words", *row)
    text = printed(table, capsys)
    lines = text.splitlines()
    assert "…" not in text
    assert max(map(len, lines)) <= width
    for i, row in enumerate(cells):
        for number in row:
            (line,) = (line for line in lines if number in line)
            assert f"row{i}" in line  # beside the name of its row
    assert text.count("a title") == 1
    assert " ".join(text.split()).endswith("the caption of the table, a sentence or two")
    for j in range(columns):
        assert sum(f"{j}" in part for part in text.replace("\n", " ").split() if part == f"{j}") >= 1


def test_what_fits_is_one_table_as_it_was(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["runs", "ls", str(WRITTEN)]) == 0
    out = capsys.readouterr().out
    assert out.count("run ") == 1
    assert "objectives of models with\n" in out  # a caption in the width of the terminal


def test_lists_and_comparisons(width: int, tmp_path: Path, capsys: Capture) -> None:
    names = ["digits-vsc", "jumprelu"]
    for name in names:
        shutil.copytree(WRITTEN / name, tmp_path / f"a run with a long name, {name}, trained again")
    runs = [str(path) for path in sorted(tmp_path.iterdir())]
    for words in (
        ["runs", "ls", str(tmp_path)],
        ["runs", "show", runs[0]],
        ["runs", "compare", *runs],
        ["data", "ls"],
        ["recipes"],
        ["sweep", "--list"],
    ):
        assert main(words) == 0
        out = capsys.readouterr().out
        tables = [line for line in out.splitlines() if "│" in line or "PSNR" in line]
        assert not any("…" in line for line in out.splitlines()), words
        assert max(map(len, tables), default=0) <= width, words
    assert main(["runs", "compare", *runs]) == 0
    out = capsys.readouterr().out
    for number in ("192.5", "-1.3486", "7.61", "7.17", "of 16"):
        assert number in out
