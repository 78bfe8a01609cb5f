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


def test_claims_of_the_readme() -> None:
    page = " ".join((ROOT / "README.md").read_text().split())
    codes = {name: row["seconds"] for name, row in result_of("lasso-easy")["results"].items()}
    ours = codes.pop("sparse_encode")
    peers = {name: seconds for name, seconds in codes.items() if not name.startswith("sparse_encode")}
    fastest = min(peers, key=lambda name: peers[name])
    sklearn = min(seconds for name, seconds in peers.items() if name.startswith("scikit-learn"))
    assert fastest.startswith("SPAMS")
    assert f"take {ours:.2f} s; SPAMS, the fastest peer, {peers[fastest]:.2f} s, scikit-learn {sklearn:.2f} s" in page
    seconds = result_of("dictionary")["seconds"]
    spams = next(value for name, value in seconds.items() if name.startswith("SPAMS"))
    assert f"in {seconds['sparsecode (tol .1)']:.2f} s the objective that SPAMS has after {spams:.1f} s" in page
    assert all(value is None for name, value in seconds.items() if name.startswith("scikit-learn"))
    row = next(r for r in result_of("autoencoders")["rows"] if r["kind"] == "topk" and r["size"] == [384, 12288])
    others = [value for name, value in row["cpu_seconds"].items() if not name.startswith("ours") and value is not None]
    assert f"{row['cpu_seconds']['ours']:.2f} s of processor time, of the fastest peer {min(others):.2f} s" in page
