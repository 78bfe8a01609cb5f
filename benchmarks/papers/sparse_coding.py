"""Tables and pictures of docs/papers/sparse-coding.md, from the sweeps and probes that the page names.

    python benchmarks/papers/sparse_coding.py runs/mnist-linear runs/mnist-nl ... --probe results/probe/probe.json

Writes benchmarks/results/papers-sparse-coding.json: for every run what was changed, the number of steps, scores of both coders,
PSNR after denoising, and sizes of the codes at every validation (measure `code_scale`); of the probe every accuracy. Draws
docs/pictures/sparse_coding_collapse.png, _frontier.png, _atoms.png, _atoms_patches.png, _denoising.png and _probe.png, and prints the
tables in Markdown; without arguments those of the file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sparsecode.plots.saving import save_figure
from sparsecode.runs import RunFolder

sys.path.insert(0, str(Path(__file__).parent.parent))
from common import RESULTS, save
from sparse_coding_figures import atoms_figure, collapse_figure, denoising_figure, frontier_figure, probe_figure
from sparse_coding_tables import KINDS, SEED, curves_of, preset, tables

NAME = "papers-sparse-coding"
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SCORES = ("psnr", "explained_variance", "l0", "dead", "n_code", "n", "gap_mean")


def kind_of(config: Any) -> str:
    """SDL, SDL-NL, VDL or VDL-NL; `free` with neither the variance term nor unit norms."""
    decoder = config.model.decoder
    constrained = type(decoder.constraint).__name__ != "Free"
    name = "VDL" if config.model.variance else "SDL" if constrained else "free"
    return f"{name}-NL" if hasattr(decoder, "n_hidden") else name


def read_run(path: Path, result: dict[str, Any] | None) -> dict[str, Any]:
    """A run's record for the JSON file; `result` is its line of results.jsonl, None if it has not ended."""
    folder = RunFolder(path)
    config, metrics = folder.config(), folder.metrics()
    model: Any = config.model
    sizes = [
        {"step": record["step"]}
        | {k.removeprefix("code_scale/"): v for k, v in record.items() if k.startswith("code_scale/encode/")}
        | {k: v for k, v in record.items() if k.split("/")[-1] in ("psnr", "l0", "dead") and "/" in k}
        for record in metrics
        if record["kind"] == "evaluate"
    ]
    measures = (result or {}).get("measures", {})
    return {
        "sweep": path.parent.name,
        "run": path.name,
        "recipe": (result or {}).get("recipe", path.name.split("_")[0]),
        "kind": kind_of(config),
        "data": type(config.data).__name__,
        "weight": model.weight,
        "n_hidden": getattr(model.decoder, "n_hidden", None),
        "seed": config.seed,
        "changes": {k: Path(v).name if k == "data.images" else v for k, v in (result or {}).get("fixed", {}).items()},
        "finished": result is not None,
        "epochs": config.train.epochs,
        "steps": metrics[-1]["step"],
        "seconds": next((r["seconds"] for r in reversed(metrics) if r["kind"] == "train"), None),
        "solver_steps": statistics.fmean(r["solver_steps"] for r in metrics if r["kind"] == "train"),
        "train_deviation": next((r["deviation"] for r in reversed(metrics) if "deviation" in r), None),
        "scores": {c: {k: s[k] for k in SCORES} for c, s in measures.get("scores", {}).items()},
        "denoising": {
            coder: [{k: level[k] for k in ("sigma", "noisy_psnr", "psnr", "l0")} for level in actual["levels"]]
            for coder, actual in measures.get("denoising", {}).items()
            if actual["levels"]
        },
        "over_training": sizes,
    }


def read_sweep(folder: Path) -> list[dict[str, Any]]:
    """The records of a sweep's runs; one that was interrupted has what its curves hold."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    results = {line["run"]: line for line in lines}
    runs = sorted(path.parent for path in folder.glob("*/metrics.jsonl"))
    return [read_run(path, results.get(path.name)) for path in runs if results.get(path.name) or len(runs) == 1]


def read_probe(path: Path, kinds: dict[str, str]) -> list[dict[str, Any]]:
    """Accuracies of a probe.json by features and number of labels, models named by their kind."""
    results = json.loads(path.read_text())["spec"]["results"]
    for result in results:
        run, _, coder = result["features"].rpartition(", ")
        result["features"] = f"{kinds[run]}, {coder}" if run in kinds else result["features"]
    return results


def rounded(value: Any) -> Any:
    """The same with six digits of every float."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def main() -> None:
    """Read the command line; write, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="*", type=Path, help="folders of sweeps; none prints the tables of the file")
    parser.add_argument(
        "--keep",
        nargs="*",
        default=(),
        help="sweeps whose records in the file stay, with points of lines that are not given",
    )
    parser.add_argument("--probe", nargs="+", default=(), type=Path, help="probe.json of runs")
    parser.add_argument("--probe-weights", nargs="+", default=(), type=Path, help="probe.json of sweeps over weights")
    parser.add_argument("--probe-seeds", nargs="+", default=(), type=Path, help="probe.json of sweeps over seeds")
    given = parser.parse_args()
    if given.sweeps:
        before: dict[str, Any] = json.loads((RESULTS / f"{NAME}.json").read_text()) if given.keep else {}
        runs = [run for folder in given.sweeps for run in read_sweep(folder)]
        runs += [run for run in before.get("runs", ()) if run["sweep"] in given.keep]
        by_weight, over_trainings = (
            [point for path in paths for point in json.loads(path.read_text())["spec"]["points"]]
            for paths in (given.probe_weights, given.probe_seeds)
        )
        lines = {point["line"] for point in by_weight}
        by_weight += [p for p in before.get("probe_weights", ()) if p["line"] not in lines]
        kinds = {run["run"]: run["kind"] for run in runs}
        probes = [result for path in given.probe for result in read_probe(path, kinds)]
        record = {"runs": runs, "probe": probes, "probe_weights": by_weight, "probe_seeds": over_trainings}
        save(NAME, rounded(record))
        for name, figure in figures_of(record, {folder.name: folder for folder in given.sweeps}).items():
            save_figure(PICTURES / f"sparse_coding_{name}.png", figure)
    for title, table in tables(json.loads((RESULTS / f"{NAME}.json").read_text())).items():
        print(f"\n## {title}\n\n{table}")


def figures_of(record: dict[str, Any], folders: dict[str, Path]) -> dict[str, Figure]:
    """Every picture by name: lines from the records, atoms and digits from runs in these folders of sweeps."""
    runs = record["runs"]
    figures: dict[str, Figure] = {}
    if curves := curves_of(runs):
        figures["collapse"] = collapse_figure(curves)
    if ended := [r for r in runs if r["data"] == "MNIST" and r["seed"] == SEED and r["finished"]]:
        figures["frontier"] = frontier_figure(ended)
    for data in ("MNIST", "Patches"):
        blocks: dict[str, Path] = {}
        for kind in KINDS:
            for run in runs:
                there = run["sweep"] in folders and run["finished"] and preset(run)
                if there and (run["kind"], run["seed"], run["data"]) == (kind, SEED, data):
                    blocks[kind] = folders[run["sweep"]] / run["run"]
        if blocks:
            figures["atoms" if data == "MNIST" else "atoms_patches"] = atoms_figure({data: blocks})
        if blocks and data == "MNIST":
            figures["denoising"] = denoising_figure(blocks)
    if record["probe"]:
        figures["probe"] = probe_figure(record["probe"])
    return figures


if __name__ == "__main__":
    main()
