"""Amortisation gaps over the seeds of a sweep, from what `sparsecode analyse` wrote of its runs.

    sparsecode sweep digits-sdl --over seed=0,1,2 --out runs/seeds
    sparsecode analyse runs/seeds/digits-sdl* --json results/analysis.json
    python benchmarks/gaps.py results/analysis.json

Prints mean ± standard deviation of a sample (n - 1) for each coder, and saves results/gaps.json, with the value of every run.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from common import save, show

QUANTITIES = ("l0", "coder_error", "lasso", "lasso_refitted", "pursuit", "gap", "amplitude_gap", "support_gap")


def main() -> None:
    """Read, print, save."""
    analyses: list[dict[str, Any]] = json.loads(Path(sys.argv[1]).read_text())["spec"]["analyses"]
    gaps = {
        coder: {q: [each["gaps"][coder][q] for each in analyses] for q in QUANTITIES} for coder in analyses[0]["gaps"]
    }
    lines = [
        (coder, *(f"{statistics.mean(v):.3f} ± {statistics.stdev(v):.3f}" for v in values.values()))
        for coder, values in gaps.items()
    ]
    show("amortisation gaps", ("codes by", *QUANTITIES), lines)
    save("gaps", {"runs": [each["run"] for each in analyses], "samples": analyses[0]["samples"], "coders": gaps})


if __name__ == "__main__":
    main()
