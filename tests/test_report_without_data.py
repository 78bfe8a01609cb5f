"""The report of a run whose samples cannot be had: everything that does not need them, and in words what is left out and what brings it back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from sparsecode.cli.main import main
from sparsecode.data.catalogue import datasets, remedy_of
from sparsecode.data.registry import Known
from sparsecode.reports.builders.source import source_of_folder
from sparsecode.reports.document import RunReport, read_document
from sparsecode.runs import RunFolder

SMALL = ["--model.n-code", "12", "--train.epochs", "2", "--no-figures", "--accelerator", "cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on an array that is gone."""
    folder = tmp_path_factory.mktemp("absent")
    x = np.abs(np.random.default_rng(0).normal(size=(400, 8))).astype(np.float32)
    np.save(folder / "x.npy", x)
    command = [
        "train",
        "acts-topk",
        "--out",
        str(folder / "run"),
        "--data",
        "arrays",
        "--data.path",
        str(folder / "x.npy"),
    ]
    assert main([*command, "--model.activation.k", "3", "--train.batch-size", "50", *SMALL]) == 0
    return folder / "run"


def reported(run: Path, out: Path) -> RunReport:
    assert main(["report", str(run), "--out", str(out / "r.html"), "--json", str(out / "r.json"), "--force"]) == 0
    (report,) = read_document(out / "r.json").runs
    return report


def test_a_page_without_samples(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = reported(run, tmp_path)
    away = shutil.copytree(run, tmp_path / "away")
    data = run.parent / "x.npy"
    data.rename(tmp_path / "elsewhere.npy")
    try:
        capsys.readouterr()
        report = reported(away, tmp_path)
        said = capsys.readouterr()
    finally:
        (tmp_path / "elsewhere.npy").rename(data)
    assert "x.npy" in said.err
    assert "left out" in said.err
    (warned,) = (w for w in report.head.warnings if "not at hand" in w.text)
    assert "x.npy" in warned.remedy
    for words in ("examples, densities", "reconstructions", "references at equal L0"):
        assert words in warned.text
    assert "--data.path" in warned.remedy
    # what does not need samples is the same
    assert report.head.numbers == whole.head.numbers
    assert report.head.settings == whole.head.settings
    assert report.training == whole.training
    assert report.samples is None
    assert report.pool is None
    assert report.measures is not None
    assert whole.measures is not None
    stored = [table for table in whole.measures.tables if table.source == "eval"]
    assert [*report.measures.tables] == stored
    assert report.codes is not None
    assert whole.codes is not None
    assert report.codes.n == 0
    norms = next(c for c in report.codes.columns if c.key == "norm").values.values()
    assert (np.diff(norms) <= 0).all()
    known = {detail.code: detail for detail in whole.codes.details}
    for detail in report.codes.details:
        assert detail.atom == known[detail.code].atom
        assert detail.by_cosine == known[detail.code].by_cosine
        assert not detail.bands
    page = (tmp_path / "r.html").read_text()
    assert "which are not at hand" in page
    assert "most important code</h3>" not in page


def test_stored_features_are_shown_without_samples(run: Path, tmp_path: Path) -> None:
    """Densities and examples are those of the report with samples, of all of them; the order is by mean size."""
    away = shutil.copytree(run, tmp_path / "away")
    assert main(["features", str(away), "--split", "test"]) == 0
    whole = reported(away, tmp_path)
    data = run.parent / "x.npy"
    data.rename(tmp_path / "elsewhere.npy")
    try:
        report = reported(away, tmp_path)
    finally:
        (tmp_path / "elsewhere.npy").rename(data)
    assert report.codes is not None
    assert whole.codes is not None
    assert report.pool is not None
    assert whole.pool is not None
    assert report.codes.groups == whole.codes.groups
    assert report.codes.distributions == whole.codes.distributions
    known = {detail.code: detail for detail in whole.codes.details}
    for detail in report.codes.details:
        there = known[detail.code]
        assert detail.activations == there.activations
        assert detail.by_firing == there.by_firing
        rows = [[report.pool.rows.values()[e.sample] for e in band.examples] for band in detail.bands]
        assert rows == [[whole.pool.rows.values()[e.sample] for e in band.examples] for band in there.bands]
        assert detail.effect is None
    x, model = np.load(data), RunFolder(away).best_model()
    split = RunFolder(away).splits().test
    assert len(split.x) < len(x)
    atoms = model.decoder.atoms * model.get_buffer("normaliser.scale")  # pyright: ignore - a dictionary
    size = model.encode(split.x).abs().mean(dim=0) * atoms.norm(dim=1)
    importance = next(c for c in report.codes.columns if c.key == "importance").values.values()
    np.testing.assert_allclose(importance, size.detach().numpy()[report.codes.codes.values()], rtol=1e-4, atol=1e-6)


def test_data_that_have_changed_are_not_used(run: Path, tmp_path: Path) -> None:
    data = run.parent / "x.npy"
    before = data.read_bytes()
    try:
        np.save(data, np.load(data)[::-1])
        source = source_of_folder(RunFolder(run), "run")
        with pytest.raises(ValueError, match="trained on other samples"):  # the place is given: an error
            source_of_folder(RunFolder(run), "run", moved=data)
    finally:
        data.write_bytes(before)
    assert "trained on other samples than its data source gives now" in source.absent
    assert source.samples.n == 0


def test_the_remedy_names_the_data() -> None:
    names = {str(kind.__struct_config__.tag): kind for kind in get_args(Known)}
    assert "sparsecode data get mnist" in remedy_of(names["mnist"]())
    assert "sparsecode data get fashion" in remedy_of(names["fashion_mnist"]())
    assert remedy_of(names["minilm"]()) == "set SPARSECODE_DATA to the folder that holds them"
    tags = {name for name in datasets() if name not in ("fashion",)}
    assert tags <= names.keys()
