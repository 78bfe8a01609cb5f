"""Benchmarks save nothing of trainings that were stopped."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import sparsecode as sc
from sparsecode.records import Event

ROOT = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "papers"))


def test_a_stopped_training_ends_the_benchmark() -> None:
    common: Any = import_module("common")

    def stop(event: Event) -> str | None:
        return "a test" if event.step < 200 else None

    x = sc.data.Digits().load().train.x[:500]
    spec = sc.models.Amortised(n_code=16, activation=sc.nn.TopK(k=2))
    whole = sc.fit(spec, x, epochs=10, progress=False)
    common.ended(whole.state)
    part = sc.fit(spec, x, epochs=10, progress=False, observers=[stop])
    assert part.state.step < whole.state.step == 200
    with pytest.raises(SystemExit, match=f"stopped at step {part.state.step}"):
        common.ended(part.state)


def test_rows_of_a_sweep_with_a_run_that_has_not_ended_are_refused(tmp_path: Path) -> None:
    noise: Any = import_module("noise")
    score = {"explained_variance": 0.51239, "active_fraction": 0.25}
    line = {"run": "a", "overrides": {"seed": 0}, "measures": {"scores": {"encode": score}}}
    (tmp_path / "results.jsonl").write_text(json.dumps(line) + "\n")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/metrics.jsonl").write_text("")
    (row,) = noise.rows_of(tmp_path)
    assert row["scores"] == {"encode": {"explained_variance": 0.5124, "active_fraction": 0.25}}
    (tmp_path / "b/metrics.jsonl").write_text("")
    with pytest.raises(SystemExit, match="b have not ended"):
        noise.rows_of(tmp_path)
    with pytest.raises(SystemExit, match="b has not ended"):
        noise.rows_of(tmp_path / "b")
