"""Measures: results by measure and coder, whoever defines them; results of earlier versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from sparsecode.cli.console import Console
from sparsecode.cli.tables import print_evaluation
from sparsecode.coders import coders_today
from sparsecode.data import Digits
from sparsecode.data.splits import Split, Splits
from sparsecode.evaluate import base
from sparsecode.evaluate.base import MeasureSettings, OtherResult, Result
from sparsecode.evaluate.dictionary.geometry import dictionary_of
from sparsecode.evaluate.evaluation import Evaluate, Evaluation, Measured, evaluate_model, validation
from sparsecode.evaluate.measures import DURING_TRAINING, STANDARD
from sparsecode.evaluate.reconstruction.anomaly import anomaly_scores
from sparsecode.evaluate.reconstruction.calibration import l0_and_variance
from sparsecode.evaluate.reconstruction.denoising import DenoisedLevels
from sparsecode.evaluate.reconstruction.restoration import Restored
from sparsecode.evaluate.units.activity import Activity
from sparsecode.evaluate.units.code_scale import CodeScale
from sparsecode.evaluate.units.codes import Codes
from sparsecode.evaluate.units.feature_collection import features_of
from sparsecode.evaluate.units.thresholding import thresholding
from sparsecode.evaluate.variational.elbo import Bound
from sparsecode.models.amortised import Amortised
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.storage import build_model
from sparsecode.nn.activations import TopK
from sparsecode.nn.corruptions import MaskPixels
from sparsecode.recipes import RECIPES
from sparsecode.runner import run
from sparsecode.runs import RunFolder
from sparsecode.specs import from_json, to_json
from sparsecode.sweeps.results import read_results

FROZEN = Path(__file__).parent / "frozen/format-1"
RUNS = sorted(folder.name for folder in (FROZEN / "runs").iterdir())


def same_results(actual: Measured, before: dict[str, Any]) -> None:
    def plain(results: Mapping[str, Result]) -> dict[str, dict[str, Any]]:
        return {part: msgspec.to_builtins(r) for part, r in results.items()}

    def within(old: object, new: object) -> None:
        assert isinstance(old, dict)
        assert isinstance(new, dict)
        assert old.keys() <= new.keys()
        assert {**new, **old} == new

    for field, results in (("restored", plain(actual.of(Restored))), ("activity", plain(actual.of(Activity)))):
        assert bool(results) == (before.get(field) is not None)
        for one in results.values():
            within(before[field], one)
    assert plain(actual.of(Bound)) == (before.get("bounds") or {})
    for field, results in (("scores", plain(actual.scores)), ("denoising", plain(actual.of(DenoisedLevels)))):
        old = before[field]
        assert isinstance(old, dict)
        names = coders_today(old)
        for coder, values in old.items():
            if field == "scores":
                within(values, results[names[coder]])
            for level, new in (
                zip(values, results[names[coder]]["levels"], strict=True) if field != "scores" and values else ()
            ):
                within(level, new)


@pytest.mark.parametrize("name", RUNS)
def test_evaluations_of_format_1_have_the_results_they_had(name: str) -> None:
    folder = RunFolder(FROZEN / "runs" / name)
    actual = folder.evaluation()
    assert actual is not None
    before = json.loads(folder.eval_file.read_bytes())["spec"]
    same_results(actual, before)
    assert list(actual.warnings) == before["warnings"]
    assert from_json(to_json(actual), Evaluation, "again") == actual


def test_lines_of_sweeps_of_format_1_have_the_results_they_had() -> None:
    lines = (FROZEN / "sweep/results.jsonl").read_bytes().splitlines()
    for result, line in zip(read_results(FROZEN / "sweep"), lines, strict=True):
        same_results(result, json.loads(line))


class Spread(Result, tag="spread"):
    """Standard deviation of all codes."""

    sd: float


class CodeSpread:
    """A measure from outside: no part of the library names it."""

    name = "code_spread"

    def applies(self, model: AbstractSparseModel) -> bool:
        return model.n_classes is None

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, Spread]:
        return {
            coder: Spread(float(encode(split.x).std() + settings.theta + seed))
            for coder, encode in model.coders().items()
        }


def test_a_measure_from_outside_is_stored_tracked_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    model, splits = RunFolder(FROZEN / "runs/digits-topk").best_model(), Digits().load()
    actual = evaluate_model(model, splits, Evaluate(sigmas=()), 0, measures=[CodeSpread()])
    expected = float(model.encode(splits.test.x).detach().std())
    assert actual.of(Spread) == {"encode": Spread(expected)}
    tracked = validation(model, splits.valid, splits.data_range, Evaluate(), measures=[CodeSpread()])
    assert tracked["code_spread/encode/sd"] == pytest.approx(float(model.encode(splits.valid.x).detach().std()))
    print_evaluation(Console(), actual)
    assert f"{expected:.5g}" in capsys.readouterr().out
    stored = from_json(to_json(actual.stored()), Evaluation, "a file")  # as by somebody who does not have the class
    (kept,) = stored.of(OtherResult).values()
    assert kept.means() == {"sd": expected}
    assert stored.scores == actual.scores


@dataclass(frozen=True)
class Share:
    """A measure with a field, as a config records it."""

    level: float = 0.5

    @property
    def name(self) -> str:
        return "share"

    def applies(self, model: AbstractSparseModel) -> bool:
        return model.n_classes is None

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, Spread]:
        return {
            c: Spread(float((encode(split.x) > self.level + settings.theta + seed * 0).double().mean()))
            for c, encode in model.coders().items()
        }


def test_a_run_names_a_measure_from_outside(tmp_path: Path) -> None:
    config = RunFolder(FROZEN / "runs/digits-topk").config()
    how = Evaluate(sigmas=(), measures=(*STANDARD, Share(0.1)), validation=(*DURING_TRAINING, Share(0.2)))
    done = run(msgspec.structs.replace(config, evaluate=how), tmp_path / "run", accelerator="cpu", figures=False)
    assert done.evaluation is not None
    assert done.evaluation.of(Spread).keys() == {"encode"}
    assert any("share/encode/sd" in record for record in done.folder.metrics())
    assert [m.name for m in RunFolder(tmp_path / "run", [Share]).config().evaluate.measures][-1] == "share"
    stored = RunFolder(tmp_path / "run").evaluation()
    assert stored is not None
    assert stored.scores == done.evaluation.scores
    assert stored.of(OtherResult).keys() == {"encode"}
    with pytest.raises(ValueError, match="Share"):
        RunFolder(tmp_path / "run").config()


def test_sizes_of_codes_are_those_of_the_codes() -> None:
    folder, x = RunFolder(FROZEN / "runs/digits-topk"), Digits().load().valid.x
    model = folder.best_model()
    sizes = CodeScale().measure(model, Digits().load().valid, MeasureSettings(), 0)["encode"]
    z = model.encode(x).detach().double().numpy()
    assert sizes.norm == pytest.approx(np.sqrt((z**2).sum(1)).mean())
    assert sizes.l1 == pytest.approx(np.abs(z).sum(1).mean())
    assert sizes.deviation == pytest.approx(z.std(0, ddof=1).mean())
    assert sizes.least_deviation == pytest.approx(z.std(0, ddof=1).min())
    assert sizes.atom_norm == pytest.approx(float(dictionary_of(model).atoms.norm(dim=1).mean()), rel=1e-5)
    values = validation(model, Split(x[:1]), 1.0, Evaluate(validation=(*DURING_TRAINING, CodeScale())))
    assert values["code_scale/encode/deviation"] == 0.0  # of one sample


def test_what_was_trained_to_restore_is_validated_on_that() -> None:
    splits = Digits().load()
    values = {
        name: validation(RunFolder(FROZEN / "runs" / name).best_model(), splits.valid, 1.0, Evaluate())
        for name in ("noise-digits", "digits-topk")
    }
    assert values["noise-digits"]["restoration/psnr"] != values["noise-digits"]["encode/psnr"]
    assert not [name for name in values["digits-topk"] if name.startswith("restoration")]


@pytest.mark.parametrize("name", RUNS)
def test_validation_reports_by_the_names_it_had(name: str) -> None:
    folder, splits = RunFolder(FROZEN / "runs" / name), Digits().load()
    before = [record for record in folder.metrics() if record["kind"] == "evaluate"][-1]
    model, config = folder.best_model(), folder.config()
    values = validation(model, splits.valid, splits.data_range, config.evaluate)
    assert before.keys() - {"kind", "step"} <= values.keys()
    state = folder.state()
    assert state is not None
    if state.best is not None and state.best.step == before["step"] and name != "jumprelu":  # the model of that step
        for quantity, value in before.items():
            if quantity in values:
                assert values[quantity] == pytest.approx(value, rel=5e-3, abs=1e-2), quantity


def test_every_measure_once_and_scores_among_them() -> None:
    with pytest.raises(ValueError, match=r"measures is denoising; expected scores"):
        Evaluate(measures=(STANDARD[1],))
    with pytest.raises(ValueError, match="each measure once"):
        Evaluate(validation=(STANDARD[0], STANDARD[0]))


def test_recipes_follow_what_their_papers_follow() -> None:
    splits = Digits().load()
    for name, wanted in (
        ("digits-satlin", {"codes/encode/mean_activation", "codes/encode/kl"}),
        ("noise-digits", {"activity/active_noisy", "activity/dead_clean", "activity/key_value_cosine"}),
        ("digits-vsc", {"gates/active_units", "gates/hoyer"}),
    ):
        config = RECIPES[name]()
        model = build_model(config.model, splits.shape, 0).eval()
        assert wanted <= validation(model, splits.valid, splits.data_range, config.evaluate).keys()


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, int | float):
        return [float(value)]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [number for part in parts for number in numbers_in(part)]


def test_few_samples_are_coded_together_where_codes_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everywhere by one rule, and results do not depend on it."""
    monkeypatch.setattr(base, "CHUNK", 8)  # fewer samples than one draw of noise is for
    samples = Split(torch.rand(20, 8, 8, generator=torch.Generator().manual_seed(0)))
    splits = Splits(samples, samples, samples, 0.0, 1.0)
    model = Amortised(n_code=70, activation=TopK(k=4), corruption=MaskPixels()).build(splits.shape, seed=0).eval()
    most = 0
    original = model._encode

    def counted(rows: torch.Tensor) -> torch.Tensor:
        nonlocal most
        most = max(most, len(rows))
        return original(rows)

    monkeypatch.setattr(model, "_encode", counted)

    def measured() -> list[Any]:
        settings = Evaluate(measures=(*STANDARD, Codes(), CodeScale()))
        features = features_of(model, splits.test)
        return [
            {
                k: {n: r.means() for n, r in v.items()}
                for k, v in evaluate_model(model, splits, settings, 0).measures.items()
            },
            msgspec.to_builtins(thresholding(model, splits.test, splits.train)),
            l0_and_variance(model, splits.test),
            [values.tolist() for values in anomaly_scores(model, splits.test).values()],
            features.n_active.tolist(),
        ]

    together = measured()
    assert most == 8
    monkeypatch.setattr(base, "NUMBERS", 3 * 70)
    most = 0
    alone = measured()
    assert most == 3
    assert numbers_in(together) == pytest.approx(numbers_in(alone), rel=1e-5, abs=1e-7, nan_ok=True)
