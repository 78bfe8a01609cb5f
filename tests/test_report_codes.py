"""What a report says of codes and samples, against independent computations."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from toys import toy

import sparsecode as sc
from sparsecode.cli.repeating import command_of
from sparsecode.data import Digits
from sparsecode.evaluate.units.features import FeatureSettings
from sparsecode.models.amortised import Amortised
from sparsecode.nn import BiasedDictionary, Sigmoid, TopK
from sparsecode.reports.builders.additions import additions_of
from sparsecode.reports.builders.coded import coded_samples, errors_of
from sparsecode.reports.builders.importance import importance_of
from sparsecode.reports.builders.source import ReportSource, source_of_run
from sparsecode.reports.builders.whole import build_document
from sparsecode.reports.document import CodeDetail, CodeTable, Document, RunReport
from sparsecode.runs import RunFolder

FAMILIES = [
    "digits-sdl", "mnist-sdl-nl", "photos-csc", "digits-topk", "digits-dae", "noise-digits-classify", "acts-transcoder",
    "acts-crosscoder", "digits-vae", "digits-vsc",
]  # fmt: skip
EACH = [
    name if name in ("digits-topk", "digits-vsc") else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES
]


def reported(name: str, folder: Path, n_codes: int = 512, n_samples: int = 10_000) -> tuple[RunReport, ReportSource]:
    """The report of a toy run, and what it was made from."""
    sc.run(toy(name, folder), folder / "run", accelerator="cpu", figures=False)
    run = RunFolder(folder / "run")
    source = source_of_run(run, run.label, run.splits(), *command_of(run.config()))
    (report,) = build_document([source], n_codes, n_samples).runs
    return report, source


def table_of(report: RunReport) -> tuple[CodeTable, dict[str, np.ndarray], dict[int, CodeDetail]]:
    assert report.codes is not None
    columns = {column.key: column.values.values() for column in report.codes.columns}
    return report.codes, columns, {detail.code: detail for detail in report.codes.details}


@pytest.mark.parametrize("name", EACH)
@torch.no_grad()
def test_reports_of_every_family(name: str, tmp_path: Path) -> None:
    """Numbers equal the evaluation's, what is referred to is there, and the effects are those of setting codes to 0."""
    report, source = reported(name, tmp_path)
    table, columns, details = table_of(report)
    model, split = source.model, source.samples
    assert source.evaluation is not None
    assert table.n == split.n
    (main, *_), score = table.distributions, next(iter(source.evaluation.scores.values()))
    assert (main.mean_l0, main.dead, main.dense, main.always_on) == (
        pytest.approx(score.l0),
        score.dead,
        score.dense,
        score.always_on,
    )
    assert main.same_as_eval
    codes = table.codes.values()
    assert sorted(details) == sorted(codes.tolist())
    assert (np.diff(columns["importance"]) <= 0).all()
    z = model.encode(split.x)
    places = model.n_code // table.n_code
    by_place = z.reshape(len(z), -1, places)
    assert report.pool is not None
    rows, n = report.pool.rows.values(), len(report.pool.rows.values())
    before = _errors(source, z)
    for code in codes[:3].tolist():
        detail, values = details[code], by_place[:, code]
        active = (values.abs() > table.theta).any(dim=1)
        assert columns["density"][codes == code].item() == pytest.approx(float(active.double().mean()))
        for band in detail.bands:
            for example in band.examples:
                assert example.sample < n
                strongest = values[rows[example.sample]].abs().max()
                assert abs(example.activation) == pytest.approx(float(strongest), rel=1e-4)
        if int(active.sum()) <= 32 or not any(w in table.importance_of for w in ("at most", "share")):
            ablated = z.clone()
            ablated.reshape(len(z), -1, places)[:, code] = 0
            increase = float((_errors(source, ablated) - before).mean())
            assert columns["importance"][codes == code].item() == pytest.approx(increase, rel=1e-3, abs=1e-5)
            assert (detail.effect is not None) == bool(active.any())
            if detail.effect is None:
                continue
            assert detail.effect.loss == pytest.approx(increase * len(z) / int(active.sum()), rel=1e-3, abs=1e-5)
    _check_pictures(report, source)


@torch.no_grad()
def test_only_the_code_itself_is_set_to_0_for_its_effect() -> None:
    """With a level theta under activity, smaller codes stay, of decoders that are not linear, too."""
    splits = Digits().load()
    spec = Amortised(n_code=12, activation=Sigmoid(), decoder=BiasedDictionary(output="tanh"))
    model = sc.fit(spec, splits, epochs=1, progress=False, figures=False).model.eval()
    test = splits.test.take(slice(30))
    additions, z = additions_of(model), model.encode(test.x)
    coded = coded_samples(model, test, additions, 30, FeatureSettings(theta=float(z.median())))
    mean = importance_of(model, coded, additions).values
    for code in range(3):
        active, without = z[:, code] > coded.features.settings.theta, z.clone()
        without[:, code] = 0
        before, after = (errors_of(model, test, model.output(test.x, each)) for each in (z, without))
        assert mean[code] == pytest.approx(float((after - before)[active].sum()) / 30, rel=1e-4)


def _errors(source: ReportSource, z: torch.Tensor) -> torch.Tensor:
    """The error of every sample for codes z: squared in data space, or cross-entropy."""
    model, split = source.model, source.samples
    assert source.evaluation is not None
    if model.n_classes:
        assert split.label is not None
        return -model.decode(z).double().log_softmax(dim=1).gather(1, split.label[:, None])[:, 0]
    wanted = split.x if split.target is None else split.target
    return (wanted - model.output(split.x, z).reshape(wanted.shape)).double().square().flatten(1).sum(dim=1)


def _check_pictures(report: RunReport, source: ReportSource) -> None:
    """Every picture that is referred to is in its sheet, and those of samples show the samples."""
    assert report.samples is not None
    assert report.pool is not None
    cells = [cell for item in report.samples.reconstructions for cell in item.outputs.values()]
    cells += [cell for strip in report.samples.strips for row in strip.rows for cell in row.pictures]
    for detail in report.codes.details if report.codes else ():
        cells += [cell for cell in (detail.atom.picture, detail.atom.field) if cell] if detail.atom else []
    assert all(0 <= cell.index < report.sheets[cell.sheet].n for cell in cells)
    if report.pool.kind != "picture":
        return
    sheet = report.sheets[report.pool.sheet]
    pixels = np.asarray(Image.open(BytesIO(b64decode(sheet.png))))
    x = source.samples.pixels(source.samples.x).reshape(-1, sheet.height, sheet.width).numpy()
    low, high = source.splits.low, source.splits.high
    for i, row in enumerate(report.pool.rows.values()[:20].tolist()):
        top, left = i // sheet.columns * sheet.height, i % sheet.columns * sheet.width
        tile = pixels[top : top + sheet.height, left : left + sheet.width]
        np.testing.assert_allclose(tile, np.clip((x[row] - low) / (high - low), 0, 1) * 255, atol=0.51)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunReport, ReportSource]:
    return reported("digits-topk", tmp_path_factory.mktemp("digits"))


def test_few_codes_and_few_samples(digits: tuple[RunReport, ReportSource]) -> None:
    whole, source = digits
    (few,) = build_document([source], n_codes=5, n_samples=50).runs
    table, columns, details = table_of(few)
    assert table.left_out == "19 of 24 codes are not listed: the least important ones"
    assert len(details) == len(columns["density"]) == 5
    assert table.n == 50
    assert not table.distributions[0].same_as_eval
    assert few.pool is not None
    assert whole.pool is not None
    assert len(few.pool.rows.values()) <= 50
    spread = np.linspace(0, source.samples.n - 1, 50).astype(int)
    assert set(few.pool.rows.values().tolist()) <= set(spread.tolist())
    with pytest.raises(ValueError, match="n_codes is 0; expected 1 or more"):
        build_document([source], n_codes=0)
    with pytest.raises(ValueError, match="n_samples is 0; expected 1 or more"):
        build_document([source], n_samples=0)


def test_labels_are_counted(digits: tuple[RunReport, ReportSource]) -> None:
    report, source = digits
    table, columns, details = table_of(report)
    label = source.samples.label
    assert label is not None
    z = source.model.encode(source.samples.x)
    code = int(table.codes.values()[0])
    there = label[z[:, code] != 0]
    counts = torch.bincount(there, minlength=10)
    first = details[code].labels[0]
    assert int(counts[int(first.label)]) == int(counts.max())
    assert first.share == pytest.approx(float(counts.max() / counts.sum()))
    assert columns["purity"][0] == pytest.approx(first.share)
    assert first.base == pytest.approx(float((label == int(first.label)).double().mean()))


@pytest.mark.slow
def test_many_codes_take_bounded_memory_and_space(tmp_path: Path) -> None:
    """65 536 codes: the document is as large as that of a model with as many codes as are shown."""
    x = torch.randn(2000, 32, generator=torch.Generator().manual_seed(0))
    fitted = sc.fit(
        Amortised(n_code=65_536, activation=TopK(k=8)), x, epochs=0.1, progress=False, device="cpu", figures=False
    )
    source = ReportSource("wide", fitted.model, fitted.splits, "valid", fitted.scores) if fitted.scores else None
    assert source is not None
    document = build_document([source], 64)
    assert isinstance(document, Document)
    table, _, details = table_of(document.runs[0])
    assert len(details) == 64
    assert table.left_out == "65,472 of 65,536 codes are not listed: the least important ones"
    assert len(msgspec.json.encode(document)) < 2_000_000
