"""Numbers of docs/papers/noise.md, from runs by the commands that the page names.

    python benchmarks/papers/noise.py rows 'sparsecode train noise-latents-default' runs/noise-latents-default
    python benchmarks/papers/noise.py robustness runs/robustness runs/adversarial --pgd results/pgd.json --apgd results/apgd.json

`rows` takes a command and the run or the folder of the sweep that it wrote, and puts what the page has of each run in the place of what
benchmarks/results/noise-rows.json has of this command; of a single run also the shares of active units at every validation. `robustness` writes
benchmarks/results/noise-robustness.json, from the sweeps noise-mnist-robustness and noise-mnist-adversarial and from
`sparsecode attack --json` of their runs. A run that has not ended is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from common import RESULTS

ACTIVITY = ("active_noisy", "active_clean", "dead_noisy", "dead_clean", "bias_mean", "bias_sd", "norm_mean", "norm_cv")
SCORES = ("explained_variance", "active_fraction")
SIGMA, EPS = "model.corruption.sigma", "model.corruption.eps"


def row(overrides: dict[str, Any], measures: dict[str, Any]) -> dict[str, Any]:
    """What the page has of one run; floats with four decimals."""

    def kept(values: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
        return {key: round(v, 4) if isinstance(v := values[key], float) else v for key in keys}

    activity = measures.get("activity", {}).get("model")
    scores = {coder: kept(score, SCORES) for coder, score in measures["scores"].items()}
    return {
        "overrides": overrides,
        "activity": kept(activity, (*ACTIVITY, "key_value_cosine")) if activity else None,
        "scores": scores,
    }


def results(sweep: Path) -> list[dict[str, Any]]:
    """Lines of a sweep, one for each run that has ended. Raises SystemExit if there are other runs in the folder."""
    lines = [json.loads(line) for line in (sweep / "results.jsonl").read_text().splitlines()]
    names = {line["run"] for line in lines}
    if rest := sorted(p.parent.name for p in sweep.glob("*/metrics.jsonl") if p.parent.name not in names):
        raise SystemExit(f"{sweep}: {', '.join(rest)} have not ended, so that nothing is saved")
    return lines


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Of a run, with the course of its activity, or of every run of a sweep."""
    if (folder / "results.jsonl").is_file():
        return [row(line["overrides"], line["measures"]) for line in results(folder)]
    if not (folder / "eval.json").is_file():
        raise SystemExit(f"{folder} has not ended, so that nothing is saved")
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    course = [
        {"step": r["step"], **{key: round(r[f"activity/{key}"], 4) for key in ACTIVITY[:2]}}
        for r in records
        if "activity/active_noisy" in r
    ]
    measures = json.loads((folder / "eval.json").read_text())["spec"]["measures"]
    return [row({}, measures) | {"steps": records[-1]["step"], "over_training": course}]


def attacked(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Accuracies by the name of the run, from `sparsecode attack --json`."""
    runs = json.loads(file.read_text())["spec"]["runs"]
    fields = ("clean", "random", "attacked")
    return {
        name: [
            {"eps": one["attack"]["eps"], "draws": one["attack"]["draws"], **{key: one[key] for key in fields}}
            for one in each
        ]
        for name, each in runs.items()
    }


def robustness(noise: Path, adversarial: Path, pgd: Path, apgd: Path) -> dict[str, Any]:
    """Values of each seed by level of noise and by size of the changes in training, and those of APGD."""
    small = {name: one["attacked"] for name, rows in attacked(pgd).items() for one in rows if not one["draws"]}
    groups: dict[str, dict[str, dict[str, list[Any]]]] = {"by_sigma": {}, "by_eps": {}}
    for folder, group, axis in ((noise, "by_sigma", SIGMA), (adversarial, "by_eps", EPS)):
        for line in results(folder):
            measures, overrides = line["measures"], line["overrides"]
            score = measures["scores"]["encode"]
            activity = measures.get("activity", {}).get("model", {})
            values = {"seeds": overrides["seed"], "accuracy": score["accuracy"]}
            values |= {"active_fraction": score["active_fraction"]}
            values |= {key: activity[key] for key in ACTIVITY[:2] if key in activity}
            values |= {
                "pgd_0.1": measures["under_attack"]["model"]["attacked_accuracy"],
                "pgd_0.03": small[line["run"]],
            }
            place = groups[group].setdefault(str(float(overrides[axis])), {})
            for key, value in values.items():
                place.setdefault(key, []).append(value)
    rows = [{"run": name, **one} for name, each in attacked(apgd).items() for one in each]
    return {
        "noise": {"by_sigma": groups["by_sigma"]},
        "adversarial": {"by_eps": groups["by_eps"]},
        "apgd": {"rows": rows},
    }


def main() -> None:
    """Read the command line; write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    rows = parts.add_parser("rows")
    rows.add_argument("command", help="what trained it")
    rows.add_argument("folder", type=Path, help="run or sweep")
    attacks = parts.add_parser("robustness")
    attacks.add_argument("noise", type=Path, help="the sweep noise-mnist-robustness")
    attacks.add_argument("adversarial", type=Path, help="the sweep noise-mnist-adversarial")
    attacks.add_argument("--pgd", type=Path, required=True, help="attack of all runs at eps 0.03")
    attacks.add_argument("--apgd", type=Path, required=True, help="attack by APGD")
    given = parser.parse_args()
    if given.part == "rows":
        path = RESULTS / "noise-rows.json"
        records: list[dict[str, Any]] = json.loads(path.read_text())
        new = {"command": given.command, "rows": rows_of(given.folder)}
        at = next((i for i, r in enumerate(records) if r["command"] == given.command), len(records))
        records[at : at + 1] = [new]
        content: Any = records
    else:
        path = RESULTS / "noise-robustness.json"
        content = robustness(given.noise, given.adversarial, given.pgd, given.apgd)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"saved to {path}")


if __name__ == "__main__":
    main()
