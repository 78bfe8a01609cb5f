"""Means and standard deviations over the seeds of a sweep, for the tables of the docs.

    sparsecode sweep mnist-vae --over seed=1,2,3 --out runs/vae
    python benchmarks/over_seeds.py runs/vae measures.elbo.exact.elbo measures.scores.encode.psnr --json benchmarks/results/seeds-mnist-vae.json

prints a line for each group of runs that differ in their seed alone, with the numbers at these dotted places of `results.jsonl`
as mean ± standard deviation of a sample (n - 1), and writes them with the value of every seed. Several folders may be given.

    sparsecode latents runs/shapes/shapes-* --json results/latents.json
    python benchmarks/over_seeds.py runs/shapes latents.use.active --report results/latents.json

also reads what `sparsecode latents --json` wrote of these runs, at places that start with `latents`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any


def number_at(result: dict[str, Any], place: str) -> float | None:
    """The number at a dotted place, None where null stands there or above it. Raises KeyError naming the place if it is not there."""
    actual: Any = result
    for step in place.split("."):
        if actual is None:
            return None
        if isinstance(actual, list):
            actual = actual[int(step)]
        elif isinstance(actual, dict) and step in actual:
            actual = actual[step]
        else:
            raise KeyError(f"{result['run']}: no {step!r} of {place!r}; choose from {', '.join(actual or ())}")
    return None if actual is None else float(actual)


def reports_of(files: list[Path]) -> dict[str, dict[str, Any]]:
    """The measurements in files by `sparsecode latents --json`, by the names of the runs' folders."""
    reports: dict[str, dict[str, Any]] = {}
    for file in files:
        report = json.loads(file.read_text())
        for name, path in report["runs"].items():
            reports[Path(path).name] = {"latents": report["latents"][name]}
    return reports


def rows_of(folders: list[Path], places: list[str], files: list[Path]) -> list[dict[str, Any]]:
    """A row for each group of runs of the same recipe with the same changes, in the order of the files."""
    reports = reports_of(files)
    groups: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for line in (folder / "results.jsonl").read_text().splitlines():
            result = json.loads(line)
            changes = {k: v for k, v in {**result["fixed"], **result["overrides"]}.items() if k != "seed"}
            key = json.dumps([result["recipe"], changes], sort_keys=True)
            row = groups.setdefault(key, {"recipe": result["recipe"], "changes": changes, "seeds": [], "values": {}})
            row["seeds"].append(result["overrides"].get("seed"))
            for place in places:
                row["values"].setdefault(place, []).append(number_at(result | reports.get(result["run"], {}), place))
    for row in groups.values():
        row["values"] = {p: v for p, v in row["values"].items() if None not in v}
        row["mean"] = {place: statistics.fmean(values) for place, values in row["values"].items()}
        row["deviation"] = {p: statistics.stdev(v) if len(v) > 1 else None for p, v in row["values"].items()}
    return list(groups.values())


def main() -> None:
    """Read the command line, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arguments", nargs="+", metavar="FOLDER or PLACE", help="folders of sweeps, then dotted places")
    parser.add_argument(
        "--report", type=Path, action="append", default=[], help="file by `sparsecode latents --json`; repeat for more"
    )
    parser.add_argument("--json", type=Path, help="file to write")
    asked = parser.parse_args()
    folders = [Path(word) for word in asked.arguments if (Path(word) / "results.jsonl").is_file()]
    rows = rows_of(folders, asked.arguments[len(folders) :], asked.report)
    for row in rows:
        changes = " ".join(f"{path}={json.dumps(value)}" for path, value in row["changes"].items())
        print(f"{row['recipe']} {changes}, seeds {', '.join(map(str, row['seeds']))}")
        for place, mean in row["mean"].items():
            deviation = row["deviation"][place]
            print(f"  {place:40} {mean:.5g}" + ("" if deviation is None else f" ± {deviation:.2g}"))
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
