"""Numbers in the pages are those of the files that named commands write."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def result_of(name: str) -> Any:
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())


def test_quality_beside_saelens() -> None:
    page = (ROOT / "docs/sparse-autoencoders.md").read_text()
    result = result_of("quality")
    digits = {"l0": 1, "explained_variance": 3, "loss_recovered": 4, "dead": 0}
    for kind in ("topk", "l1", "jumprelu"):
        for key, name in (("ours", "sparsecode"), ("saelens", "SAELens")):
            rows = [row[key] for row in result["rows"] if row["kind"] == kind]
            assert len(rows) == 3
            cells = [
                f"{statistics.mean(row[q] for row in rows):.{n}f} ± {statistics.stdev(row[q] for row in rows):.{n}f}"
                for q, n in digits.items()
            ]
            assert f"| {kind}, {name} | {' | '.join(cells)} |" in page


def test_agreement_with_other_libraries() -> None:
    page = (ROOT / "docs/coming-from.md").read_text()
    result = result_of("coming-from")
    assert result["largest_gap"] < 1e-12
    for name, row in result["peers"].items():
        cell = f"| {row['difference']:.1e} |"
        assert any(cell in line and line.replace("`", "").startswith(f"| {name}") for line in page.split("\n")), (
            f"{name}: {cell}"
        )
