"""`sparsecode analyse`: what it prints, writes and draws, and what it says of runs that lack something."""

from pathlib import Path

import numpy as np
import pytest
import torch
from toys import SHORT

from sparsecode.cli import main
from sparsecode.cli.analyse import AnalysisReport
from sparsecode.cli.console import Console
from sparsecode.data import Synthetic
from sparsecode.data.synthetic import Firing
from sparsecode.evaluate.analysis import OWN, analyse
from sparsecode.evaluate.metrics import CodeUse
from sparsecode.models.iterative import Iterative
from sparsecode.nn.decoders import OneHidden
from sparsecode.plots import equal_l0, firing_density, matched_cosines
from sparsecode.runs import RunFolder
from sparsecode.specs import from_json

Capture = pytest.CaptureFixture[str]
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run from another seed."""
    out = tmp_path_factory.mktemp("analyse") / "other"
    assert main(["train", "digits-sdl", "--out", str(out), "--seed", "1", *SHORT]) == 0
    return out


def test_a_run_is_analysed_and_drawn(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    report_file, out = tmp_path / "report.json", tmp_path / "out"
    command = ["analyse", str(trained), "--json", str(report_file), "--out", str(out), "--samples", "100"]
    assert main(command) == 0
    text = capsys.readouterr().out
    for title in ("test split", "errors in data space", "largest |cosine|", "at equal L0", "amortisation gap"):
        assert title in text
    for picture in ("density", "equal_l0"):
        assert (out / f"{picture}.png").read_bytes().startswith(PNG)
    assert not (out / "matched.png").exists()
    report = from_json(report_file.read_bytes(), AnalysisReport)
    (actual,) = report.analyses
    stored = RunFolder(trained).evaluation()
    assert stored is not None
    assert actual.scores == stored.scores
    assert actual.samples == 100
    assert report.stability == ()
    for coder, gap in actual.gaps.items():
        assert gap.n == 100
        assert gap.gap == pytest.approx(gap.amplitude_gap + gap.support_gap)
        assert actual.references[coder][OWN].l0 == pytest.approx(gap.l0)
        assert actual.references[coder]["PCA"].l0 == pytest.approx(gap.l0, abs=0.01)
        assert f"{gap.gap:.4f}" in text
        assert np.mean(actual.density[coder]) == pytest.approx(actual.scores[coder].active_fraction)
    # a second time only by force, and with the same numbers
    assert main(command) == 3
    assert main([*command, "--force"]) == 0
    assert from_json(report_file.read_bytes(), AnalysisReport) == report


def test_runs_are_compared_with_each_other(trained: Path, other: Path, tmp_path: Path, capsys: Capture) -> None:
    report_file = tmp_path / "report.json"
    folders = [str(trained), str(other)]
    assert main(["analyse", *folders, "--samples", "20", "--json", str(report_file), "--out", str(tmp_path / "o")]) == 0
    assert "digits, encode" in capsys.readouterr().out
    pairs = {(p.first, p.second): p for p in from_json(report_file.read_bytes(), AnalysisReport).stability}
    assert set(pairs) == {("digits", "other")}
    assert 0.3 < pairs["digits", "other"].mcc < 0.95
    assert (tmp_path / "o" / "matched.png").read_bytes().startswith(PNG)
    assert (tmp_path / "o" / "other" / "density.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "0"], "--samples 0: expected at least 1"),
        (["--theta", "-1"], "--theta -1: expected at least 0"),
    ],
)
def test_wrong_numbers_are_refused(trained: Path, arguments: list[str], message: str, capsys: Capture) -> None:
    assert main(["analyse", str(trained), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_codes_above_no_theta_are_noted(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["analyse", str(trained), "--theta", "1e9", "--out", str(tmp_path)]) == 0
    assert "note: encode: no code is active (|z| > 1e+09)" in capsys.readouterr().out


def test_a_decoder_that_is_not_linear_is_noted_and_cannot_be_compared(trained: Path) -> None:
    from sparsecode.cli.analyse import _compared  # pyright: ignore[reportPrivateUsage]

    splits = RunFolder(trained).config().data.load()
    model = Iterative(n_code=20, weight=3.0, decoder=OneHidden(n_hidden=30)).build((8, 8), seed=0)
    done = analyse(model, splits, name="deep", samples=50)
    assert done.dictionary is None
    assert done.report.cosines is None
    assert done.report.gaps == {}
    assert set(done.report.references) <= {"encode", "amortised"}
    assert any("decoder is not linear" in note for note in done.report.notes)
    with pytest.raises(ValueError, match="deep: its decoder is not linear"):
        _compared({"deep": done, "other": done}, Console())


def test_the_truth_of_synthetic_data_is_used() -> None:
    source = Synthetic(n_atoms=20, n_features=10, firing=Firing(active=2), n_train=100, n_valid=10, n_test=400)
    model = Iterative(n_code=20, weight=0.1).build((10,), seed=0)
    with torch.no_grad():
        model.decoder.get_parameter("atoms").copy_(source.atoms().flip(0))
    done = analyse(model, source.load(), source=source, theta=0.05)
    actual = done.report.recovery["encode"]
    assert actual.mcc == pytest.approx(1, abs=1e-6)
    assert actual.found == 1
    assert actual.f1 > 0.8
    assert done.matched is not None
    use = CodeUse(20, 0.05)
    use.update(model.encode(source.load().test.x))
    assert done.report.density["encode"] == tuple(use.result().frequency.tolist())
    assert analyse(model, source.load()).report.recovery == {}


def test_pictures_hold_what_they_were_given() -> None:
    density = firing_density({"one": [0.0, 0.01, 0.5], "other": [0.2, 0.2, 1.0]}, 100, [0.1, 0.95])
    legend = density.axes[0].get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["one: 1 dead, 1 dense of 3", "other: 0 dead, 3 dense of 3"]
    assert "1 above 0.9" in density.axes[1].get_title()
    assert len(firing_density({"dead": [0.0]}, 10).axes) == 1
    bars = equal_l0({"a": {"coder": 0.25, "PCA": 1.5}, "b": {"coder": 0.1}})
    widths = [p.get_width() for p in bars.axes[0].patches]  # pyright: ignore[reportAttributeAccessIssue] - rectangles
    assert widths == [0.25, 1.5]
    lines = matched_cosines({"p": [0.2, 0.9, 0.4]}).axes[0].lines
    assert np.asarray(lines[0].get_ydata()).tolist() == [0.9, 0.4, 0.2]
    for draw in (lambda: firing_density({}, 10), lambda: equal_l0({}), lambda: matched_cosines({})):
        with pytest.raises(ValueError, match="is empty"):
            draw()
