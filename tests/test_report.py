"""The report's data."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from report_schema import PAGE, records, written

import sparsecode as sc
from sparsecode.cli.main import main
from sparsecode.cli.repeating import command_of
from sparsecode.cli.train import config_of
from sparsecode.evaluate.units.activity import Activity
from sparsecode.files import is_own
from sparsecode.overrides import assign
from sparsecode.recipes import RECIPES
from sparsecode.reports import document as schema_of_reports
from sparsecode.reports.builders.quantities import QUANTITIES, quantity_of
from sparsecode.reports.builders.source import ReportSource, source_of_model, source_of_run
from sparsecode.reports.builders.training_curves import phases_of
from sparsecode.reports.builders.whole import build_document
from sparsecode.reports.document import Document, RunReport, read_document, write_document
from sparsecode.reports.schema.arrays import PackedArray, packed
from sparsecode.runs import RunFolder
from sparsecode.schedules import Clock

replace = msgspec.structs.replace


def test_arrays_come_back(tmp_path: Path) -> None:
    values = np.array([[0.1, np.nan, -np.inf], [1e-300, 2.0, 3.0]])
    np.testing.assert_array_equal(packed(values).values(), values)
    np.testing.assert_array_equal(packed([3, -1], "i4").values(), [3, -1])
    with pytest.raises(
        ValueError, match=re.escape("PackedArray.data has 8 characters; expected 24 for f8 of shape (2,)")
    ):
        PackedArray("f8", (2,), "AAAAAAA=")


def test_documents_come_back_and_newer_ones_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    document = Document("two", (), None, {}, "0.1")
    write_document(file, document)
    assert read_document(file) == document
    assert is_own(file)
    file.write_bytes(file.read_bytes().replace(b'"format":1', b'"format":2'))
    with pytest.raises(ValueError, match="written in format 2 by a newer sparsecode"):
        read_document(file)
    file.write_text("{}")
    with pytest.raises(ValueError, match="not a report"):
        read_document(file)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training with coders and measures of several shapes."""
    folder = tmp_path_factory.mktemp("report") / "digits <b>&"
    config = sc.recipes.RECIPES["digits-sdl"]()
    sc.run(replace(config, train=replace(config.train, epochs=0.2)), folder, accelerator="cpu", figures=False)
    return folder


@pytest.fixture(scope="module")
def report(run: Path) -> RunReport:
    (report,) = build_document([source(run)], 8).runs
    return report


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """The numbers and words of plain JSON by path."""
    if isinstance(value, dict):
        items = [(f"{path}.{key}".lstrip("."), item) for key, item in value.items() if key != "type"]
    elif isinstance(value, list):
        items = [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    else:
        return {path: value}
    return {k: v for key, item in items for k, v in leaves(item, key).items()}


def test_the_command_writes_the_numbers_of_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = run / "report.json"
    assert main(["report", str(run), "--json", str(data)]) == 0
    document = read_document(data)
    assert "Content-Security-Policy" in (run / "report.html").read_text()
    (report,) = document.runs
    stored = json.loads((run / "eval.json").read_text())["spec"]["measures"]
    assert report.measures is not None
    tables = [table for table in report.measures.tables if table.source == "eval"]
    assert [table.name for table in tables] == list(stored)
    for table in tables:
        for column, (coder, result) in enumerate(stored[table.name].items()):
            assert table.columns[column].split()[0] == coder
            shown = {row.key: row.values[column] for row in table.rows}
            defined = {key: value for key, value in leaves(result).items() if value is not None}
            assert {key: value for key, value in shown.items() if value is not None} == defined
    numbers = {number.key: number.value for number in report.head.numbers}
    score = stored["scores"]["encode"]
    assert numbers == {key: score[key] for key in ("explained_variance", "l0", "gap_max")}
    capsys.readouterr()
    assert main(["report", str(run), "--json", str(data)]) == 3  # the page of the run itself may be replaced
    assert main(["report", str(run), "--out", str(run / "report.html")]) == 3
    assert capsys.readouterr().err.count("write over it with --force") == 2
    assert main(["report", str(run), "--out", str(run / "report.pdf")]) == 2
    assert main(["report", str(run), "--codes", "0"]) == 2
    (run / "report.html").write_text("mine")
    assert main(["report", str(run)]) == 3
    assert (run / "report.html").read_text() == "mine"


def test_every_logged_point_is_there(run: Path, report: RunReport) -> None:
    assert report.training is not None
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    expected = {
        (record["kind"].replace("evaluate", "validation"), name, record["step"]): value
        for record in logged
        for name, value in record.items()
        if name not in ("kind", "step")
    }
    shown = {
        (series.kind, series.key, step): value
        for series in report.training.series
        for step, value in zip(series.steps.values().tolist(), series.values.values().tolist(), strict=True)
    }
    assert shown == expected
    assert report.training.total == report.training.step


def test_every_number_of_training_with_noise_is_defined() -> None:
    names = {*Activity.__struct_fields__} - {"n", "n_code", "theta", "n_probe", "terms"}
    assert {name for name in names if not quantity_of(name).text} == set()
    texts = [known.text for known in QUANTITIES.values() if known.text]
    assert len(set(texts)) == len(texts)  # a definition is found by its text


def test_the_data_are_said_once(report: RunReport) -> None:
    assert report.head.model == "Sparse coding with a linear dictionary, encoder lista, 64 codes."
    assert report.head.data.count("1,437") == 1
    assert report.head.data.endswith("Samples of shape 8 x 8, values from 0 to 1.")


def test_a_run_behind_all_references_is_warned_of(run: Path) -> None:
    """Weights as they are drawn reconstruct worse than every reference, trained ones do not; the table says the same."""
    splits = RunFolder(run).splits()
    model = sc.models.Amortised(n_code=64, activation=sc.nn.TopK(k=3)).build(splits.shape, seed=0).eval()
    (report,) = build_document([source_of_model(model, splits, "drawn", "")], n_codes=4).runs
    (warned,) = (w for w in report.head.warnings if "every reference at equal L0" in w.text)
    assert warned.remedy.startswith("train longer")
    fitted = sc.fit(model.spec, splits, epochs=30, progress=False, device="cpu")
    for each, is_behind in ((report, True), (fitted.report(n_codes=4).runs[0], False)):
        assert each.measures is not None
        (table,) = (table for table in each.measures.tables if table.name == "references at equal L0")
        (row,) = (row for row in table.rows if row.key == "explained_variance")
        own, *others = (value for value in row.values if isinstance(value, float))
        assert len(others) == 5
        assert (own < min(others)) == is_behind == any("every reference" in w.text for w in each.head.warnings)


def test_schedules_are_phases() -> None:
    phases = {phase.what: phase for phase in phases_of(RECIPES["digits-vsc"](), Clock(44, 1000))}
    weight, slope = phases["model.spike_weight"], phases["model.posterior.gate.slope"]
    assert (weight.first, weight.last, weight.start, weight.stop) == (0, 500, 0, 1)  # half of the training
    assert (slope.first, slope.last, slope.start, slope.stop) == (
        0,
        1000,
        50,
        57.5,
    )  # cut off: 150 more over 20 000 steps


def test_unfinished_runs_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = RECIPES["digits-topk"]()
    config = replace(config, train=replace(config.train, epochs=2, evaluate_every=1))
    sc.run(
        config, tmp_path, accelerator="cpu", figures=False, observers=[lambda e: "no" if e.kind == "evaluate" else None]
    )
    (report,) = build_document([source(tmp_path)], 8).runs
    assert report.head.unfinished == "step 22 of 44"
    assert report.name.endswith("(step 22 of 44)")
    assert report.head.warnings[0].remedy == "finish it with sparsecode train --resume"
    assert report.measures is not None
    assert {table.source for table in report.measures.tables} == {"report"}  # it has no scores yet
    assert report.measures.notes
    assert report.training is not None
    assert (report.training.step, report.training.total) == (22, 44)
    before = Path(__file__).parent / "frozen" / "format-1" / "interrupted" / "digits-sdl"
    assert main(["report", str(before), "--out", str(tmp_path / "none.html")]) == 1
    assert "no model yet; it is saved at the first validation" in capsys.readouterr().err


def source(run: Path) -> ReportSource:
    folder = RunFolder(run)
    return source_of_run(folder, folder.label, folder.splits(), *command_of(folder.config()))


CHANGED = {
    "digits-topk": ("train.epochs=3", "seed=7", 'model.activation={"type":"batch_topk","k":4}'),
    "noise-digits": ("train.epochs=2.5", "train.batch_size=50", 'model.corruption={"type":"mask_pixels","share":0.3}'),
    "photos-sdl": ("train.epochs=1", "data.n_train=3000", "model.weight=0.25"),
    "mnist-vsc": ("evaluate.sigmas=[0.1,0.25]", "model.n_code=12", "evaluate.theta=1e-05"),
}


@pytest.mark.parametrize("name", [n if n == "mnist-vsc" else pytest.param(n, marks=pytest.mark.slow) for n in CHANGED])
def test_the_printed_command_parses_to_the_config(name: str) -> None:
    changed = assign(RECIPES[name](), CHANGED[name])
    line, note = command_of(changed)
    words = shlex.split(line)
    assert words[:2] == ["sparsecode", "train"]
    assert config_of(words[2], words[3:])[0] == changed
    assert not note
    if name == "mnist-vsc":
        assert line == "sparsecode train mnist-vsc --model.n-code 12 --evaluate.sigmas 0.1 0.25 --evaluate.theta 1e-05"


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_commands_repeat_all_recipes(name: str) -> None:
    first = RECIPES[name]()
    line, _ = command_of(replace(first, seed=7, train=replace(first.train, epochs=2.5)))
    words = shlex.split(line)
    assert config_of(words[2], words[3:])[0] == replace(first, seed=7, train=replace(first.train, epochs=2.5))


def test_reports_from_python(run: Path, tmp_path: Path) -> None:
    result = sc.run(RunFolder(run).config(), run, accelerator="cpu")  # finished: nothing to do
    page = tmp_path / "a.html"
    document = result.report(page, n_codes=3)
    codes = document.runs[0].codes
    assert codes is not None
    assert len(codes.details) == 3
    assert "Content-Security-Policy" in page.read_text()
    x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    spec = sc.models.Amortised(n_code=12, activation=sc.nn.TopK(k=2))
    fitted = sc.fit(spec, x, labels=(x[:, 0] > 0).astype(int), epochs=1, progress=False, device="cpu")
    (report,) = fitted.report(tmp_path / "b.json").runs
    assert read_document(tmp_path / "b.json").runs == (report,)
    assert report.measures is not None
    assert report.measures.split == "valid"
    assert report.head.command_note.startswith("trained from Python")
    assert report.pool is not None
    assert report.pool.kind == "row"
    assert report.pool.values is not None
    row = int(report.pool.rows.values()[0])
    np.testing.assert_array_equal(report.pool.values.values()[0], fitted.splits.valid.x[row].numpy())
    with pytest.raises(ValueError, match=r"out is 'x.pdf'; expected a name that ends in .html or .json"):
        fitted.report("x.pdf")


def test_the_page_documents_the_schema() -> None:
    """Every record and field; `python tests/report_schema.py` writes it."""
    page = PAGE.read_text()
    assert written(page) == page
    assert {kind.__name__ for kind in records()} == {
        name for name in schema_of_reports.__all__ if isinstance(getattr(schema_of_reports, name), type)
    }
