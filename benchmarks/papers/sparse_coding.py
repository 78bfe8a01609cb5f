"""Tables and pictures of docs/papers/sparse-coding.md, from the sweeps and probes that the page names.

    python benchmarks/papers/sparse_coding.py runs/mnist-linear runs/mnist-nl ... --probe results/probe/probe.json

Writes benchmarks/results/papers-sparse-coding.json: for every run what was changed, the number of steps, scores of both coders,
PSNR after denoising, and sizes of the codes at every validation (measure `code_scale`); of the probe every accuracy. Draws
docs/pictures/sparse_coding_collapse.png, _frontier.png, _atoms.png, _denoising.png and _probe.png, and prints the tables in Markdown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sparsecode.models import Iterative
from sparsecode.plots.saving import save_figure
from sparsecode.recipes import RECIPES
from sparsecode.runs import RunFolder

sys.path.insert(0, str(Path(__file__).parent.parent))
from common import save
from sparse_coding_figures import (
    CODERS,
    KINDS,
    alike,
    atoms_figure,
    collapse_figure,
    denoising_figure,
    frontier_figure,
    probe_figure,
)

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SCORES = ("psnr", "explained_variance", "l0", "dead", "n_code", "n", "gap_mean")
SEED, SMALL = 31, 256  # of the curves and frontiers; hidden units of the models there
LEVELS = (6.0, 10.0, 15.0, 20.0)  # of mean L0, for a comparison at equal sparsity
PATCH_LEVELS, PATCH_STEPS = (10.0, 15.0, 20.0, 30.0), (480,)  # of patches
STEPS = (220, 660, 1320)  # for one at equal length, too


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
    model = config.model
    sizes = [
        {"step": record["step"]}
        | {k.removeprefix("code_scale/"): v for k, v in record.items() if k.startswith("code_scale/encode/")}
        | {k: v for k, v in record.items() if k.split("/")[-1] in ("psnr", "l0", "dead") and "/" in k}
        for record in metrics
        if record["kind"] == "evaluate"
    ]
    measures = dict((result or {}).get("measures", {}))
    apart = (
        path.parent / "denoising" / f"{path.name}.json"
    )  # by `sparsecode eval --json`, of runs trained without sigmas
    if apart.exists():
        measures["denoising"] = json.loads(apart.read_bytes())["spec"]["measures"]["denoising"]
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


def preset(run: dict[str, Any]) -> bool:
    """Whether the run has its recipe's penalty weight."""
    model = RECIPES[run["recipe"]]().model
    return isinstance(model, Iterative) and bool(np.isclose(run["weight"], model.weight))


def read_sweep(folder: Path) -> list[dict[str, Any]]:
    """The records of a sweep's runs; one that was interrupted has what its curves hold."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    results = {line["run"]: line for line in lines}
    runs = sorted(path.parent for path in folder.glob("*/metrics.jsonl"))
    return [read_run(path, results.get(path.name)) for path in runs if results.get(path.name) or len(runs) == 1]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def over_seeds(values: Sequence[float], form: str) -> str:
    """Mean and, of several runs, standard deviation (n - 1)."""
    mean = format(statistics.fmean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2g}"


def print_presets(runs: Sequence[dict[str, Any]]) -> None:
    """Scores of both coders, and PSNR after denoising, of runs with their recipe's weight; seeds together."""
    rows: list[list[str]] = []
    noisy: list[list[str]] = []
    sigmas: list[float] = []
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in sorted(runs, key=lambda r: (r["data"], KINDS.index(r["kind"]))):
        groups.setdefault((run["data"], run["kind"], run["n_hidden"] or "-", run["steps"]), []).append(run)
    for key, group in groups.items():
        cells = [*map(str, key), ", ".join(str(run["seed"]) for run in group)]
        for coder in CODERS:
            values = {k: [run["scores"][coder][k] for run in group] for k in ("psnr", "l0", "dead")}
            cells += [over_seeds(values[k], form) for k, form in (("psnr", ".2f"), ("l0", ".1f"), ("dead", ".3g"))]
        rows.append(cells)
        levels = [run["denoising"] for run in group if run["denoising"]]
        if not levels:
            continue
        if key[0] not in (row[0] for row in noisy):
            sigmas = [level["sigma"] for level in levels[0]["encode"]]
            noisy.append(
                [key[0], "noisy input", "", "", *(f"{level['noisy_psnr']:.2f}" for level in levels[0]["encode"])]
            )
        pairs = [
            [over_seeds([one[coder][i]["psnr"] for one in levels], ".2f") for coder in ("amortised", "encode")]
            for i in range(len(sigmas))
        ]
        noisy.append([*map(str, key), *(" / ".join(pair) for pair in pairs)])
    heads = ["data", "model", "hidden", "steps"]
    scores = [f"{coder}: {k}" for coder in CODERS for k in ("PSNR", "L0", "dead")]
    print("\n## Presets\n\n" + markdown([*heads, "seeds", *scores], rows))
    print("\n## Denoising\n\n" + markdown([*heads, *(f"sigma {sigma:g}" for sigma in sigmas)], noisy))


def print_denoising_of_all(runs: Sequence[dict[str, Any]]) -> None:
    """The best PSNR that any weight of a model reaches, with that weight, by sigma and coder."""
    rows: list[list[str]] = []
    sigmas: list[float] = []
    for kind in KINDS[:4]:
        for coder, words in (("amortised", "encoder"), ("encode", "solved")):
            own = [r for r in runs if r["kind"] == kind and r["denoising"]]
            if len(own) > 1:
                sigmas = [level["sigma"] for level in own[0]["denoising"][coder]]
                best = [max((r["denoising"][coder][i]["psnr"], r["weight"]) for r in own) for i in range(len(sigmas))]
                rows.append([kind, words, *(f"{psnr:.2f} ({weight:.3g})" for psnr, weight in best)])
    print("\n## Best denoising\n\n" + markdown(["model", "codes", *(f"sigma {s:g}" for s in sigmas)], rows))


def print_collapse(runs: Sequence[dict[str, Any]]) -> None:
    """First and last validation of the curves."""
    rows: list[list[str]] = []
    for run in runs:
        first, last = run["over_training"][0], run["over_training"][-1]
        changes = [
            f"{first[f'encode/{k}']:.3g} to {last[f'encode/{k}']:.3g}"
            for k in ("norm", "deviation", "atom_norm", "dead", "psnr")
        ]
        encoder = f"{last['amortised/l0']:.3g}, {last['amortised/dead']:.0f}"
        held = "-" if run["train_deviation"] is None else f"{run['train_deviation']:.3g}"
        rows.append(
            [run["kind"], f"{run['weight']:.3g}", f"{first['step']} to {last['step']}", *changes, held, encoder]
        )
    heads = ["model", "weight", "steps", "norm", "standard deviation", "norm of atoms", "dead of 128", "PSNR"]
    heads += ["deviation in training", "encoder: L0, dead"]
    print("\n## Collapse\n\n" + markdown(heads, rows))


def at_equal(scores: Sequence[dict[str, dict[str, float]]], levels: Sequence[float]) -> list[str]:
    """PSNR of each coder at these levels of mean L0, interpolated in log L0; "-" where the line does not reach."""
    cells: list[str] = []
    for coder in CODERS:
        across, up = np.array(sorted((s[coder]["l0"], s[coder]["psnr"]) for s in scores)).T
        values = np.interp(np.log(levels), np.log(np.maximum(across, 1e-9)), up)
        inside = [across[0] <= level <= across[-1] for level in levels]
        cells += [f"{value:.2f}" if there else "-" for value, there in zip(values, inside, strict=True)]
    return cells


def print_frontier(title: str, runs: Sequence[dict[str, Any]], levels: Sequence[float], steps: Sequence[int]) -> None:
    """L0 and PSNR by weight, and PSNR at equal L0, by interpolation in log L0 where a line reaches it."""
    rows: list[list[str]] = []
    equal: list[list[str]] = []
    for name, points in alike([run for run in runs if run["kind"] in KINDS[:4]]).items():
        for run in points:
            cells = [f"{run['scores'][coder][k]:.4g}" for coder in CODERS for k in ("l0", "psnr")]
            rows.append([name, f"{run['weight']:.3g}", *cells])
        if len(points) > 1:
            equal.append(["test, end", name, *at_equal([r["scores"] for r in points], levels)])
    heads = [f"{c}: {q}" for c in CODERS for q in ("L0", "PSNR")]
    print(f"\n## {title}\n\n" + markdown(["model", "weight", *heads], rows))
    for step in steps:
        curves: dict[str, dict[float, dict[str, dict[str, float]]]] = {}
        for run in sorted(runs, key=lambda r: (KINDS.index(r["kind"]), r["n_hidden"] or 0)):
            name = f"{run['kind']} {run['n_hidden'] or ''}".strip()
            for record in run["over_training"]:
                if record["step"] == step and run["kind"] in KINDS[:4]:
                    scores = {coder: {k: record[f"{coder}/{k}"] for k in ("l0", "psnr")} for coder in CODERS}
                    curves.setdefault(name, {})[run["weight"]] = scores
        for name, by_weight in curves.items():
            if len(by_weight) > 1:
                equal.append([f"validation, step {step}", name, *at_equal([*by_weight.values()], levels)])
    print("\n" + markdown(["scored", "model", *(f"{c}, L0 {at:g}" for c in CODERS for at in levels)], equal))


def print_single(runs: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> None:
    """Validations of runs with one weight, beside what SDL and VDL have at the same step and, by interpolation, the same L0."""
    rows: list[list[str]] = []
    for run in runs:
        for record in run["over_training"]:
            cells = [f"{run['kind']} {run['n_hidden']}", f"{run['weight']:.3g}", str(record["step"])]
            for coder in CODERS:
                cells += [f"{record[f'{coder}/l0']:.1f}", f"{record[f'{coder}/psnr']:.2f}"]
                for kind in ("SDL", "VDL"):
                    line = [r for other in others if other["kind"] == kind for r in other["over_training"]]
                    scores = [
                        {c: {k: r[f"{c}/{k}"] for k in ("l0", "psnr")} for c in CODERS}
                        for r in line
                        if r["step"] == record["step"]
                    ]
                    at = at_equal(scores, [record[f"{coder}/l0"]]) if len(scores) > 1 else ["-"] * len(CODERS)
                    cells.append(at[list(CODERS).index(coder)])
            rows.append(cells)
    heads = [f"{c}: {q}" for c in CODERS for q in ("L0", "PSNR", "SDL's", "VDL's")]
    print("\n## Single runs\n\n" + markdown(["model", "weight", "step", *heads], rows))


def read_probe(path: Path, kinds: dict[str, str]) -> list[dict[str, Any]]:
    """Accuracies of a probe.json by features and number of labels, models named by their kind."""
    results = json.loads(path.read_text())["spec"]["results"]
    for result in results:
        run, _, coder = result["features"].rpartition(", ")
        result["features"] = f"{kinds[run]}, {coder}" if run in kinds else result["features"]
    return results


def print_probe(results: Sequence[dict[str, Any]]) -> None:
    """A row per kind of features, a column per number of labels."""
    counts = list(dict.fromkeys(r["labels_per_class"] for r in results))
    cells: dict[str, dict[int, str]] = {}
    for r in results:
        cells.setdefault(r["features"], {})[r["labels_per_class"]] = f"{100 * r['mean']:.1f} ± {100 * r['sd']:.1f}"
    rows = [[name, *(actual.get(count, "-") for count in counts)] for name, actual in cells.items()]
    print("\n## Few labels\n\n" + markdown(["features", *map(str, counts)], rows))


def print_probe_points(title: str, points: Sequence[dict[str, Any]]) -> None:
    """A row per model and penalty weight, a column per number of labels."""
    points = [p for p in points if p["line"] != "pixels"]  # which stand in the other table
    counts = sorted({p["labels_per_class"] for p in points})
    cells: dict[tuple[str, float], dict[int, str]] = {}
    for p in points:
        cells.setdefault((p["line"], p["at"]), {})[p["labels_per_class"]] = (
            f"{100 * p['mean']:.1f} ± {100 * p['sd']:.1f}"
        )
    rows = [
        [line, f"{at:.3g}", *(actual.get(count, "-") for count in counts)]
        for (line, at), actual in sorted(cells.items())
    ]
    print(f"\n## {title}\n\n" + markdown(["features", "weight", *map(str, counts)], rows))


def rounded(value: Any) -> Any:
    """The same with five digits of every float."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    """Read the command line; write, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="+", type=Path, help="folders of sweeps")
    parser.add_argument("--probe", type=Path, help="probe.json of runs")
    parser.add_argument(
        "--probe-weights", nargs="+", default=(), type=Path, help="probe.json of sweeps over the weight"
    )
    parser.add_argument("--probe-seeds", nargs="+", default=(), type=Path, help="probe.json of sweeps over the seed")
    asked = parser.parse_args()
    runs = [run for folder in asked.sweeps for run in read_sweep(folder)]
    paths = {run["run"]: folder / run["run"] for folder in asked.sweeps for run in read_sweep(folder)}
    probes = read_probe(asked.probe, {run["run"]: run["kind"] for run in runs}) if asked.probe else []
    by_weight, over_trainings = (
        [point for path in paths for point in json.loads(path.read_text())["spec"]["points"]]
        for paths in (asked.probe_weights, asked.probe_seeds)
    )
    save(
        "papers-sparse-coding",
        rounded({"runs": runs, "probe": probes, "probe_weights": by_weight, "probe_seeds": over_trainings}),
    )
    print_presets([r for r in runs if r["finished"] and preset(r)])
    figures: dict[str, Figure] = {}
    digits = [r for r in runs if r["data"] == "MNIST" and r["seed"] == SEED]
    small = [r for r in digits if r["n_hidden"] in (None, SMALL) and "long" not in r["sweep"]]
    if curves := [r for r in small if preset(r) and r["over_training"]]:
        figures["collapse"] = collapse_figure(curves)
        print_collapse(curves)
    if ended := [r for r in digits if r["finished"]]:
        figures["frontier"] = frontier_figure(ended)
        print_frontier("Frontier", ended, LEVELS, STEPS)
        print_denoising_of_all(ended)
        print_single(
            [r for r in digits if "long" in r["sweep"] and r["over_training"]], [r for r in small if not r["n_hidden"]]
        )
    if patches := [r for r in runs if r["data"] == "Patches" and r["finished"]]:
        print_frontier("Frontier of patches", patches, PATCH_LEVELS, PATCH_STEPS)
    blocks: dict[str, dict[str, Path]] = {}
    for kind in KINDS:
        for run in runs:
            if (run["kind"], run["seed"]) == (kind, SEED) and run["finished"] and preset(run):
                blocks.setdefault(run["data"], {})[kind] = paths[run["run"]]
    if blocks:
        figures["atoms"] = atoms_figure(blocks)
    if digits_of := blocks.get("MNIST"):
        figures["denoising"] = denoising_figure(digits_of)
    if probes:
        figures["probe"] = probe_figure(probes)
        print_probe(probes)
    print_probe_points("Few labels by weight", by_weight)
    print_probe_points("Few labels over trainings", over_trainings)
    for name, figure in figures.items():
        save_figure(PICTURES / f"sparse_coding_{name}.png", figure)


if __name__ == "__main__":
    main()
