"""Reports of several runs, and of models that were not trained here."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import sparsecode as sc
from sparsecode.cli.main import main
from sparsecode.fitting import Fitted
from sparsecode.models.amortised import Amortised, AmortisedModel
from sparsecode.nn import TopK
from sparsecode.reports.builders.source import ReportSource, source_of_model, source_of_training
from sparsecode.reports.builders.whole import build_document
from sparsecode.reports.document import Matches, read_document

replace = msgspec.structs.replace
SAE = Path(__file__).parent / "interop" / "fixtures" / "saelens" / "topk_centred" / "model"


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    x = torch.randn(300, 10, generator=torch.Generator().manual_seed(0))
    spec = Amortised(n_code=16, activation=TopK(k=3))
    return sc.fit(spec, x, epochs=2, progress=False, device="cpu")


def source(fitted: Fitted, name: str, model: AmortisedModel, seed: int = 0) -> ReportSource:
    config = replace(fitted.config, seed=seed)
    return source_of_training(name, model, fitted.splits, config, fitted.history, fitted.state, fitted.scores)


def permuted(fitted: Fitted, order: torch.Tensor, sign: float = 1.0) -> AmortisedModel:
    """The same model with its codes in another order."""
    model = fitted.config.model.build(fitted.model.shape, 0)
    state = {name: value.clone() for name, value in fitted.model.state_dict().items()}
    for name in ("encoder.weight", "encoder.bias", "decoder.atoms"):
        state[name] = state[name][order] * (sign if name == "decoder.atoms" else 1.0)
    model.load_state_dict(state)
    assert isinstance(model, AmortisedModel)
    return model.eval()


def test_runs_side_by_side(fitted: Fitted) -> None:
    """A planted permutation is the matching; configs differ in what differs; every coder is a point of the frontier."""
    assert isinstance(fitted.model, AmortisedModel)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    sources = [source(fitted, "one", fitted.model), source(fitted, "two", permuted(fitted, order), seed=5)]
    document = build_document(sources, n_codes=4)
    comparison = document.comparison
    assert comparison is not None
    assert [(d.path, d.values) for d in comparison.differences] == [("seed", ("0", "5"))]
    (matches,) = comparison.matches
    pairs = matches.codes.values()
    assert (order.numpy()[pairs[:, 1]] == pairs[:, 0]).all()
    np.testing.assert_allclose(matches.cosines.values(), 1.0, atol=1e-6)
    assert (matches.mcc, matches.close, matches.same) == (pytest.approx(1.0), 1.0, 1.0)
    for number, run in enumerate(document.runs):
        assert run.codes is not None
        columns = {column.key: column.values.values() for column in run.codes.columns}
        np.testing.assert_allclose(columns["stability"], 1.0, atol=1e-6)
        assert {*run.codes.codes.values().tolist()} <= {*pairs[:, number].tolist()}
    (frontier,) = comparison.frontiers
    assert fitted.scores is not None
    score = fitted.scores.scores["encode"]
    assert [(line.l0, line.values) for line in frontier.series] == 2 * [((score.l0,), (score.explained_variance,))]
    assert frontier.series[1].label == "two, encode"


def test_atoms_of_opposite_sign_are_no_match_of_positive_codes(fitted: Fitted) -> None:
    assert isinstance(fitted.model, AmortisedModel)
    opposite = permuted(fitted, torch.arange(16), -1.0)
    comparison = build_document([source(fitted, "a", fitted.model), source(fitted, "b", opposite)]).comparison
    assert comparison is not None
    (matches,) = comparison.matches
    assert isinstance(matches, Matches)
    assert matches.mcc < 0.9


def test_references_at_equal_l0(fitted: Fitted) -> None:
    assert isinstance(fitted.model, AmortisedModel)
    (report,) = build_document([source(fitted, "one", fitted.model)]).runs
    assert report.measures is not None
    assert fitted.scores is not None
    (frontier,) = report.measures.frontiers
    run, *others = frontier.series
    assert (run.kind, run.l0, run.values) == ("run", (3.0,), (fitted.scores.scores["encode"].explained_variance,))
    pca = next(line for line in others if line.label == "PCA")
    np.testing.assert_allclose(pca.l0, (1.5, 3.0, 6.0), atol=0.1)
    x, train = fitted.splits.valid.x.double(), fitted.splits.train.x.double()
    mean = train.mean(dim=0)
    axes = torch.linalg.svd(train - mean, full_matrices=False).Vh[:3]
    rest = (x - mean) - (x - mean) @ axes.T @ axes
    explained = 1 - float(rest.square().sum() / (x - x.mean(dim=0)).square().sum())
    assert pca.values[1] == pytest.approx(explained, rel=1e-5)
    tables = {table.name: table for table in report.measures.tables}
    references = tables["references at equal L0"]
    assert references.columns[:2] == ("this run", "PCA")
    explained_row = next(row for row in references.rows if row.key == "explained_variance")
    assert explained_row.values[:2] == (pytest.approx(run.values[0]), pca.values[1])  # the same samples here
    assert "amortisation" in tables


def test_models_of_other_libraries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    d = sc.interop.read(SAE).d_in
    x = np.random.default_rng(0).normal(size=(400, d)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    out, data = tmp_path / "out.html", tmp_path / "out.json"
    words = ["report", str(SAE), "--out", str(out), "--json", str(data)]
    assert main([*words, "--data", str(tmp_path / "x.npy")]) == 0
    (report,) = read_document(data).runs
    assert report.training is None
    assert "saelens" in report.head.model
    assert report.measures is not None
    assert {table.source for table in report.measures.tables} == {"report"}
    assert report.codes is not None
    assert report.codes.n == 40  # a tenth of the samples is the test split
    capsys.readouterr()
    assert main([*words, "--force"]) == 2
    assert "expected --data, samples to look at it on" in capsys.readouterr().err
    np.save(tmp_path / "y.npy", x[:, 1:])
    assert main([*words, "--force", "--data", str(tmp_path / "y.npy")]) == 1
    assert f"samples have shape ({d - 1},)" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("")
    assert main([*words, "--force", "--data", str(tmp_path / "notes.txt")]) == 1
    assert "no samples; expected a run, a .npy or .npz file" in capsys.readouterr().err


def test_a_copy_without_normaliser_has_the_same_numbers_of_codes() -> None:
    """Atoms of norm 1 behind a scale of 0.2; an export has the scale in its weights, and no normaliser."""
    x = 0.2 * torch.randn(300, 10, generator=torch.Generator().manual_seed(0)) + 3
    spec = Amortised(n_code=16, activation=TopK(k=3), normaliser=sc.nn.Standardise())
    trained = sc.fit(spec, x, epochs=2, progress=False, device="cpu")
    copied = sc.interop.to_model(sc.interop.from_model(trained.model))
    assert isinstance(copied, AmortisedModel)
    sources = [source_of_model(model.eval(), trained.splits, "m", "") for model in (trained.model, copied)]
    tables = [report.codes for report in build_document(sources).runs]
    ours, theirs = ({c.key: c.values.values() for c in table.columns} for table in tables if table is not None)
    scale = float(trained.model.get_buffer("normaliser.scale")[0])
    assert 0.1 < scale < 0.3
    np.testing.assert_allclose(ours["norm"], scale, rtol=1e-5)
    for key in ("norm", "importance", "density", "mean_active", "coherence"):
        np.testing.assert_allclose(theirs[key], ours[key], rtol=2e-3, atol=1e-5, err_msg=key)
