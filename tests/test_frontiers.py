"""Runs of sweeps become points over seeds, with references at their L0."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from sparsecode.cli import main
from sparsecode.evaluate.reconstruction.score import Score
from sparsecode.frontiers import Frontier, frontier_of, reference_curves
from sparsecode.plots import FrontierPoint, sparsity_frontier
from sparsecode.specs import from_json, to_json
from sparsecode.sweeps import SweepResult

PNG = b"\x89PNG"


def result(recipe: str, l0: float, explained: float | None = 0.5, **overrides: object) -> SweepResult:
    score = Score(
        n=10, psnr=10 * l0, data_range=1.0, explained_variance=explained, objective=1.0, gap_mean=None, gap_max=None,
        l0=l0, theta=0.0, active_fraction=0.1, dead=0, always_on=0, n_code=20,
    )  # fmt: skip
    name = "_".join([recipe, *(f"{path}={value}" for path, value in overrides.items())])
    return SweepResult({"scores": {"encode": score}}, name, recipe, dict(overrides))


def test_seeds_come_together_and_values_rise_along_a_line() -> None:
    actual = frontier_of(
        [
            result("a", 3.0, weight=2.0, seed=0),
            result("a", 5.0, weight=2.0, seed=1),
            result("a", 9.0, weight=0.5, seed=0),
            result("b", 4.0, 0.25, k=4, seed=0),
        ]
    )
    assert actual.along == {"a": "weight", "b": "k"}
    assert {line: [row.value for row in rows] for line, rows in actual.lines().items()} == {
        "a, encode": ["0.5", "2"],
        "b, encode": ["4"],
    }
    _, second, third = actual.rows
    assert second.scores["l0"] == (3.0, 5.0)
    assert (second.mean["l0"], second.sd["l0"]) == (4.0, pytest.approx(2**0.5))
    assert (third.mean["explained_variance"], third.sd["explained_variance"]) == (0.25, 0.0)
    assert third.mean["dense"] is None  # scores of an older version do not have it
    assert second.runs == ("a_weight=2.0_seed=0", "a_weight=2.0_seed=1")
    assert from_json(to_json(actual), Frontier) == actual


def test_further_overrides_are_lines_of_their_own_and_undefined_scores_stay_so() -> None:
    actual = frontier_of([result("a", 3.0, None, weight=2.0, n=1), result("a", 4.0, weight=2.0, n=2)])
    assert list(actual.lines()) == ["a, n=1, encode", "a, n=2, encode"]
    assert actual.rows[0].mean["explained_variance"] is None
    with pytest.raises(ValueError, match="results is empty"):
        frontier_of([])


def test_a_sweep_has_references_at_its_l0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s"
    short = [
        "--set",
        "train.epochs=1",
        "--set",
        "evaluate.sigmas=[]",
        "--out",
        str(out),
        "--accelerator",
        "cpu",
        "--no-figures",
    ]
    command = ["sweep", "digits-sdl", *short, "--over", "seed=0,1", "--references"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "±" in text
    actual = from_json((out / "frontier.json").read_bytes(), Frontier)
    assert (out / "frontier.png").read_bytes().startswith(PNG)
    learned = [name for name in actual.references if name.startswith("dictionary of digits-sdl_seed=")]
    assert len(learned) == 1
    assert {"PCA", "random directions, OMP"} <= set(actual.references)
    counts = [count for row in actual.rows for count in row.scores["l0"] if count is not None]
    for name, curve in actual.references.items():
        l0s = [point.l0 for point in curve]
        assert len(l0s) == 8
        assert (l0s[0], l0s[-1]) == (pytest.approx(min(counts), abs=0.01), pytest.approx(max(counts), abs=0.01))
        explained = [point.explained_variance for point in curve]
        assert explained == sorted(explained, key=lambda e: e or 0.0), name
    assert main(["sweep", "digits-sdl", *short, "--set", "data.seed=1", "--over", "seed=5", "--references"]) == 0
    assert "no references: runs have different data" in capsys.readouterr().out


def test_references_need_an_l0_that_they_can_have(trained: Path) -> None:
    row = frontier_of([msgspec.structs.replace(result("a", 0.0), run=trained.name)])
    with pytest.raises(ValueError, match="no run has a mean L0 between 0 and 64"):
        reference_curves(row, trained.parent)


def test_deviations_are_bands_and_references_stay_in_the_frame() -> None:
    points = [FrontierPoint("1", [4, 6], [20, 22], [0.5, 0.7]), FrontierPoint("2", [10, 10], [25, 25], [0.8, 0.8])]
    grey = [FrontierPoint("", [4], [1], [-7]), FrontierPoint("", [10], [99], [1])]
    figure = sparsity_frontier({"line": points}, references={"PCA": grey})
    left, right = figure.axes
    band = np.asarray(left.collections[1].get_paths()[0].vertices)  # the first collection is the bars
    sd = float(torch.tensor([20.0, 22.0]).std())
    assert band[:, 1].min() == pytest.approx(21 - sd)
    assert left.get_ylim() == (pytest.approx(18 - 0.5), pytest.approx(28 + 0.5))  # three quarters of 4, and a margin
    assert right.get_ylim()[0] > 0
    assert right.get_ylim()[1] == pytest.approx(1, abs=0.05)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["line", "PCA"]
