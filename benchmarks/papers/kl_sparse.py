"""Tables of docs/papers/kl-sparse.md, from runs and reports by the commands that the page states.

    python benchmarks/papers/kl_sparse.py runs --threshold results/threshold.json --noise results/restored.json --half results/half.json

Reads the runs mnist-kl-256, mnist-kl-noise and mnist-kl-half in that folder, writes benchmarks/results/papers-kl-sparse.json (every
validation, errors by threshold, errors beside classical methods) and prints the tables in Markdown; without arguments those of the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from common import RESULTS, save
from sparse_coding_tables import markdown

NAME = "papers-kl-sparse"
MODELS = {"mnist-kl-256": "clean", "mnist-kl-noise": "noise", "mnist-kl-half": "half"}
THEIRS = {  # epoch: errors of the source's three models with 256 units, as its notebook prints them
    1: (0.1813, 0.1954, 0.2157),
    2: (0.1271, 0.1463, 0.1604),
    5: (0.0708, 0.0970, 0.1087),
    10: (0.0446, 0.0740, 0.0845),
    20: (0.0300, 0.0620, 0.0713),
    30: (0.0245, 0.0572, 0.0664),
    40: (0.0211, 0.0545, 0.0637),
    50: (0.0190, 0.0528, 0.0621),
}
PLACES = {
    "error": "codes/encode/error_per_feature",
    "kl": "codes/encode/kl",
    "share": "codes/encode/kl_share",
    "mean": "codes/encode/mean_activation",
    "l0": "encode/l0",
}


def validations(folder: Path) -> list[dict[str, float]]:
    """What the page has of every validation of a run, by epoch."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {"epoch": record["step"] // 1000} | {k: float(f"{record[place]:.6g}") for k, place in PLACES.items()}
        for record in records
        if record["kind"] == "evaluate"
    ]  # an epoch is 50 000 digits in batches of 50


def tables(record: dict[str, Any]) -> dict[str, str]:
    """Every table by its title."""
    courses: dict[str, dict[int, dict[str, float]]] = {
        name: {row["epoch"]: row for row in record["validations"][run]} for run, name in MODELS.items()
    }
    errors: list[list[str]] = []
    for epoch, theirs in THEIRS.items():
        actual = [courses[name].get(epoch) for name in MODELS.values()]
        pairs = zip(actual, theirs, strict=True)
        errors.append([str(epoch), *(f"{row['error']:.4f} / {t:.4f}" if row else f"- / {t:.4f}" for row, t in pairs)])
    last = {name: max(course) for name, course in courses.items()}
    means: list[list[str]] = []
    for name, course in courses.items():
        for epoch in (1, 5, last[name]):
            row = course[epoch]
            cells = [f"{row['kl']:.2f}", f"{row['share']:.3f}", f"{row['mean']:.3f}", f"{row['l0']:.1f}"]
            means.append([name, str(epoch), *cells])
    result = {
        "Errors": markdown(["epoch", *MODELS.values()], errors),
        "Means": markdown(["", "epoch", "KL", "share of the loss", "mean activation", "units above 0.5"], means),
    }
    kept: list[list[str]] = []
    for run, name in MODELS.items():
        thresholds, counts = ({row["at"]: row for row in record["thresholds"][run][k]} for k in ("threshold", "count"))
        everything, some, few = (thresholds[at] for at in (0.0, 0.1, 0.5))
        cells = [f"{everything['mse']:.4f}", *(f"{row['mse']:.4f} ({row['l0']:.1f})" for row in (some, few))]
        cells += [f"{few['mse_filled']:.4f}", *(f"{counts[16.0][k]:.4f}" for k in ("mse", "mse_filled"))]
        kept.append([name, *cells])
    filled = "others at means"
    heads = ["", "all codes", "> 0.1 (L0)", "> 0.5 (L0)", f"> 0.5, {filled}", "16 largest", f"16 largest, {filled}"]
    result["Thresholds"] = markdown(heads, kept)
    for title, rows in record["restored"].items():
        lines = [[row["name"], *_errors(row), row["parameters"]] for row in rows]
        result[f"Restored, {title}"] = markdown(["", "PSNR, dB", "squared error", "WAPE", "SSIM", "parameters"], lines)
    return result


def _errors(row: dict[str, Any]) -> list[str]:
    return [f"{row['psnr']:.2f}", f"{row['mse']:.4f}", f"{100 * row['wape']:.0f} %", f"{row['ssim']:.3f}"]


def _kept(report: Path) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Errors by threshold and by number of codes of every run, from `sparsecode threshold --json`."""
    actual: dict[str, Any] = json.loads(report.read_text())["spec"]["thresholding"]
    fields = ("at", "l0", "mse", "mse_filled")
    return {
        run: {
            kind: [{k: float(f"{row[k]:.6g}") for k in fields} for row in result[f"by_{kind}"]]
            for kind in ("threshold", "count")
        }
        for run, result in actual.items()
    }


def _restored(report: Path) -> list[dict[str, Any]]:
    """Errors by method, from `sparsecode restore --json`."""
    actual: dict[str, Any] = json.loads(report.read_text())["spec"]["by"]
    fields = ("psnr", "mse", "wape", "ssim")
    return [
        {"name": name, "parameters": row["method"]} | {k: float(f"{row[k]:.6g}") for k in fields}
        for name, row in actual.items()
    ]


def main() -> None:
    """Read the command line; write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", type=Path, help="folder of the three runs; none prints the file's tables")
    parser.add_argument("--threshold", type=Path, help="by `sparsecode threshold --json`, of the three runs")
    parser.add_argument("--noise", type=Path, help="by `sparsecode restore --json`, of mnist-kl-noise")
    parser.add_argument("--half", type=Path, help="by `sparsecode restore --json`, of mnist-kl-half")
    given = parser.parse_args()
    if given.runs:
        record = {
            "validations": {run: validations(given.runs / run) for run in MODELS},
            "thresholds": _kept(given.threshold),
            "restored": {"noise": _restored(given.noise), "half": _restored(given.half)},
        }
        save(NAME, record)
    for title, table in tables(json.loads((RESULTS / f"{NAME}.json").read_text())).items():
        print(f"\n## {title}\n\n{table}")


if __name__ == "__main__":
    main()
