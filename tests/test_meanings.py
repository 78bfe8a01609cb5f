"""Numbers that mean different things do not share an axis or, unnamed, a line: likelihoods, gates, objectives, data ranges."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sparsecode.cli.console import Console
from sparsecode.cli.sweep_report import report_experiment
from sparsecode.evaluate.reconstruction.score import Score
from sparsecode.evaluate.variational.elbo import Bound
from sparsecode.frontiers import frontier_of
from sparsecode.named_sweeps import EXPERIMENTS
from sparsecode.overrides import assign
from sparsecode.recipes import RECIPES
from sparsecode.runs import Run, RunFolder
from sparsecode.sweeps import SweepResult, by_meaning

Capture = pytest.CaptureFixture[str]
PART = {"recon": 1.0, "kl_slab": 0.0}
GATED = {"hard": Bound(n=1, elbo=-3.0, **PART), "relaxed": Bound(n=1, elbo=-2.0, **PART)}
EXACT = {"exact": Bound(n=1, elbo=-1.0, **PART)}


@pytest.fixture(scope="module")
def score(trained: Path) -> Score:
    evaluation = RunFolder(trained).evaluation()
    assert evaluation is not None
    return evaluation.scores["encode"]


def results_of(*recipes: str) -> tuple[list[SweepResult], dict[str, Run]]:
    results = [
        SweepResult({"elbo": EXACT if name.endswith("vae") else GATED}, f"{name}-{n}", name, {"model.n_code": n})
        for name in recipes
        for n in (2, 4)
    ]
    return results, {
        r.run: assign(RECIPES[r.recipe](), (f"model.n_code={r.overrides['model.n_code']}",)) for r in results
    }


def meanings(y: str, *recipes: str) -> dict[str, list[str]]:
    results, configs = results_of(*recipes)
    return {key: [r.run for r in group] for key, group in by_meaning(results, configs, "model.n_code", y).items()}


def test_a_probability_and_a_density_are_two_panels(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, configs = results_of("digits-vae", "digits-vsc")
    for result in results:
        RunFolder(tmp_path / result.run).write_config(configs[result.run])
    titles: list[list[str]] = []
    monkeypatch.setattr(
        "sparsecode.cli.sweep_report.save_figure", lambda _, figure: titles.append([a.get_title() for a in figure.axes])
    )
    report_experiment(EXPERIMENTS["digits-latents"], "digits-latents", results, tmp_path, Console())
    text = capsys.readouterr().out
    assert " ".join(text.split()).count("bound on log p(x), nats per sample (") == 2
    assert len(titles[0]) == 2
    assert {title.split(" likelihood of digits")[0] for title in titles[0]} == {"bernoulli", "normal"}


def test_bounds_of_one_likelihood_are_one_panel() -> None:
    assert len(meanings("elbo.hard|exact.elbo", "mnist-vae", "mnist-vsc-50", "mnist-vsc-1")) == 1


def test_relaxed_gates_are_not_called_a_bound_and_stand_apart() -> None:
    actual = meanings("elbo.relaxed|exact.elbo", "mnist-vae", "mnist-vsc-1")
    assert [key.startswith("relaxed gates, which give no bound") for key in actual] == [False, True]
    for name in ("digits-latents", "mnist-latents", "fashion-latents"):
        assert "relaxed" not in EXPERIMENTS[name].y


def test_other_data_are_another_panel() -> None:
    assert len(meanings("elbo.hard|exact.elbo", "mnist-vae", "fashion-vae")) == 2


def swept_weights(score: Score, y: str) -> dict[str, list[SweepResult]]:
    weights = (0.1, 0.2)
    results = [SweepResult({"scores": {"encode": score}}, f"w{w}", "digits-sdl", {"model.weight": w}) for w in weights]
    configs = {f"w{w}": assign(RECIPES["digits-sdl"](), (f"model.weight={w}",)) for w in weights}
    return by_meaning(results, configs, "model.weight", y)


def test_objectives_of_different_weights_make_no_line(score: Score) -> None:
    with pytest.raises(ValueError, match=r"scores\.encode\.objective means something else at each model\.weight"):
        swept_weights(score, "scores.encode.objective")
    assert len(swept_weights(score, "scores.encode.psnr")) == 1
    assert list(swept_weights(score, "scores.encode.explained_variance")) == [""]


def test_a_frontier_names_data_ranges_that_differ(score: Score) -> None:
    other = msgspec.structs.replace(score, data_range=16.0 * score.data_range)
    results = [
        SweepResult({"scores": {"encode": actual}}, name, name, {})
        for name, actual in (("digits-sdl", score), ("photos-sdl", other))
    ]
    assert all("data range" in row.line for row in frontier_of(results).rows)
    assert all("data range" not in row.line for row in frontier_of(results[:1]).rows)
