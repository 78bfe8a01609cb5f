"""Tables of docs/papers/sparse-coding.md in Markdown, from the records in benchmarks/results/papers-sparse-coding.json."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from sparsecode.models import Iterative
from sparsecode.recipes import RECIPES

KINDS = ("SDL", "SDL-NL", "VDL", "VDL-NL", "free", "free-NL")
CODERS = {"encode": "codes that are solved for", "amortised": "codes of the LISTA encoder"}
SEED = 31  # of the curves and frontiers
LEVELS = (6.0, 10.0, 15.0, 20.0)  # of mean L0, for a comparison at equal sparsity
PATCH_LEVELS, PATCH_STEPS = (10.0, 15.0, 20.0, 30.0), (480,)  # of patches
STEPS = (220, 660, 1320)  # for one at equal length, too


def preset(run: dict[str, Any]) -> bool:
    """Whether the run has its recipe's penalty weight."""
    model = RECIPES[run["recipe"]]().model
    return (
        isinstance(model, Iterative)
        and isinstance(model.weight, float)
        and bool(np.isclose(run["weight"], model.weight))
    )


def tables(record: dict[str, Any]) -> dict[str, str]:
    """Every table by its title."""
    runs: list[dict[str, Any]] = record["runs"]
    result = presets_table([r for r in runs if r["finished"] and preset(r)])
    digits = [r for r in runs if r["data"] == "MNIST" and r["seed"] == SEED]
    if curves := curves_of(runs):
        result |= collapse_table(curves)
    if ended := [r for r in digits if r["finished"]]:
        result |= frontier_table("Frontier", ended, LEVELS, STEPS)
        result |= denoising_of_all_table(ended)
    if patches := [r for r in runs if r["data"] == "Patches" and r["finished"]]:
        result |= frontier_table("Frontier of patches", patches, PATCH_LEVELS, PATCH_STEPS)
    if record["probe"]:
        result |= probe_table(record["probe"])
    result |= probe_points_table("Few labels by weight", record["probe_weights"])
    return result | probe_points_table("Few labels over trainings", record["probe_seeds"])


def curves_of(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of every kind the longest run on digits with the recipe's weight whose codes were followed, with most hidden units."""
    digits = [r for r in runs if r["data"] == "MNIST" and r["seed"] == SEED and preset(r) and r["over_training"]]
    by_kind = {kind: [r for r in digits if r["kind"] == kind] for kind in KINDS}
    return [max(group, key=lambda r: (r["steps"], r["n_hidden"] or 0)) for group in by_kind.values() if group]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def over_seeds(values: Sequence[float], form: str) -> str:
    """Mean and, of several runs, standard deviation (n - 1)."""
    mean = format(statistics.fmean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2g}"


def alike(runs: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Runs of one model and length by rising weight, under a name for these, in the order of `KINDS`."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in sorted(runs, key=lambda r: (KINDS.index(r["kind"]), r["n_hidden"] or 0, r["steps"], r["weight"])):
        hidden = f" {run['n_hidden']}" if run["n_hidden"] else ""
        groups.setdefault(f"{run['kind']}{hidden}, {run['steps']} steps", []).append(run)
    return groups


def presets_table(runs: Sequence[dict[str, Any]]) -> dict[str, str]:
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
    return {
        "Presets": markdown([*heads, "seeds", *scores], rows),
        "Denoising": markdown([*heads, *(f"sigma {sigma:g}" for sigma in sigmas)], noisy),
    }


def denoising_of_all_table(runs: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The best PSNR that any weight of a model reaches, with that weight, by sigma and coder."""
    rows: list[list[str]] = []
    sigmas: list[float] = []
    for name, group in alike([r for r in runs if r["kind"] in KINDS[:4] and r["denoising"]]).items():
        for coder, words in (("amortised", "encoder"), ("encode", "solved")):
            if len(group) > 1:
                sigmas = [level["sigma"] for level in group[0]["denoising"][coder]]
                values = [[(r["denoising"][coder][i]["psnr"], r["weight"]) for r in group] for i in range(len(sigmas))]
                best = [max(pairs) for pairs in values]
                rows.append([name, words, *(f"{psnr:.2f} ({weight:.3g})" for psnr, weight in best)])
    return {"Best denoising": markdown(["model", "codes", *(f"sigma {s:g}" for s in sigmas)], rows)}


def collapse_table(runs: Sequence[dict[str, Any]]) -> dict[str, str]:
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
            [
                f"{run['kind']} {run['n_hidden'] or ''}".strip(),
                f"{run['weight']:.3g}",
                f"{first['step']} to {last['step']}",
                *changes,
                held,
                encoder,
            ]
        )
    heads = ["model", "weight", "steps", "norm", "standard deviation", "norm of atoms", "dead of 128", "PSNR"]
    heads += ["deviation in training", "encoder: L0, dead"]
    return {"Collapse": markdown(heads, rows)}


def at_equal(scores: Sequence[dict[str, dict[str, float]]], levels: Sequence[float]) -> list[str]:
    """PSNR of each coder at these levels of mean L0, interpolated in log L0; "-" where the line does not reach."""
    cells: list[str] = []
    for coder in CODERS:
        across, up = np.array(sorted((s[coder]["l0"], s[coder]["psnr"]) for s in scores)).T
        values = np.interp(np.log(levels), np.log(np.maximum(across, 1e-9)), up)
        inside = [across[0] <= level <= across[-1] for level in levels]
        cells += [f"{value:.2f}" if there else "-" for value, there in zip(values, inside, strict=True)]
    return cells


def frontier_table(
    title: str, runs: Sequence[dict[str, Any]], levels: Sequence[float], steps: Sequence[int]
) -> dict[str, str]:
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
    result = {title: markdown(["model", "weight", *heads], rows)}
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
    columns = ["scored", "model", *(f"{c}, L0 {at:g}" for c in CODERS for at in levels)]
    return result | {f"{title}, at equal L0": markdown(columns, equal)}


def probe_table(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """A row per kind of features, a column per number of labels."""
    counts = list(dict.fromkeys(r["labels_per_class"] for r in results))
    cells: dict[str, dict[int, str]] = {}
    for r in results:
        cells.setdefault(r["features"], {})[r["labels_per_class"]] = f"{100 * r['mean']:.1f} ± {100 * r['sd']:.1f}"
    rows = [[name, *(actual.get(count, "-") for count in counts)] for name, actual in cells.items()]
    return {"Few labels": markdown(["features", *map(str, counts)], rows)}


def probe_points_table(title: str, points: Sequence[dict[str, Any]]) -> dict[str, str]:
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
    return {title: markdown(["features", "weight", *map(str, counts)], rows)}
