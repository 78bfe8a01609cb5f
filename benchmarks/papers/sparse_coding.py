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
import torch
from matplotlib.figure import Figure

from sparsecode.evaluate.reconstruction.denoising import add_noise
from sparsecode.models import Iterative
from sparsecode.ops.rng import generator
from sparsecode.plots import accuracy_curves
from sparsecode.plots.saving import save_figure
from sparsecode.plots.style import colour, mark
from sparsecode.plots.tiles import mosaic, peak_scaled, pictures, scaled
from sparsecode.recipes import RECIPES
from sparsecode.runs import RunFolder

sys.path.insert(0, str(Path(__file__).parent.parent))
from common import save

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
CODERS = {"encode": "codes that are solved for", "amortised": "codes of the LISTA encoder"}
SCORES = ("psnr", "explained_variance", "l0", "dead", "n_code", "n", "gap_mean")
KINDS = ("SDL", "SDL-NL", "VDL", "VDL-NL", "free", "free-NL")
SEED, SMALL = 31, 256  # of the curves and frontiers; hidden units of the models there
LEVELS = (6.0, 10.0, 15.0, 20.0)  # of mean L0, for a comparison at equal sparsity
STEPS = (220, 440, 660)  # for one at equal length, too
TICKS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
SAMPLES, ATOMS = 1000, 36  # for the amplitude of an atom; of a model in the picture


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
            coder: [{k: level[k] for k in ("sigma", "noisy_psnr", "psnr", "l0")} for level in found["levels"]]
            for coder, found in measures.get("denoising", {}).items()
            if found["levels"]
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


def collapse_figure(runs: Sequence[dict[str, Any]]) -> Figure:
    """Norm and standard deviation of codes, and norm of atoms, against the training step: a line per kind, a column per quantity."""
    rows = {"linear decoder": ("SDL", "VDL", "free"), "one hidden layer": ("SDL-NL", "VDL-NL", "free-NL")}
    quantities = {
        "encode/norm": "mean norm of codes",
        "encode/deviation": "mean standard deviation of codes",
        "encode/atom_norm": "mean norm of decoded unit codes",
    }
    words = {"SDL": "unit norms", "VDL": "variance term", "free": "neither"}
    figure = Figure(figsize=(12.5, 5.6), layout="constrained")
    grid = figure.subplots(len(rows), len(quantities) + 1, squeeze=False, width_ratios=(1, 1, 1, 0.7))
    for axes_row, (title, kinds) in zip(grid, rows.items(), strict=True):
        for axes, (quantity, label) in zip(axes_row, quantities.items(), strict=False):
            for i, kind in enumerate(kinds):
                for run in (r for r in runs if r["kind"] == kind):
                    steps = [record["step"] for record in run["over_training"]]
                    values = [record[quantity] for record in run["over_training"]]
                    name = f"{kind}: {words[kind.removesuffix('-NL')]}, weight {run['weight']:.3g}"
                    axes.plot(steps, values, color=colour(i), marker=mark(i), markersize=3, linewidth=1.2, label=name)
            axes.set_yscale("log")
            axes.grid(alpha=0.3)
            axes.set_xlabel("step", fontsize=9)
            axes.set_ylabel(label, fontsize=9)
            axes.set_title(title, fontsize=9)
            axes.tick_params(labelsize=8, which="both")
            low, high = axes.get_ylim()
            axes.set_yticks([t for t in TICKS if low <= t <= high])
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        axes_row[-1].set_axis_off()
        axes_row[-1].legend(*axes_row[0].get_legend_handles_labels(), fontsize=8, loc="center left", frameon=False)
    figure.suptitle("MNIST, 500 validation digits, codes that are solved for", fontsize=10)
    return figure


def frontier_figure(runs: Sequence[dict[str, Any]]) -> Figure:
    """PSNR on test digits against mean L0, a line per kind through its weights, a panel per coder."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    for axes, (coder, words) in zip(figure.subplots(1, 2), CODERS.items(), strict=True):
        for i, kind in enumerate(KINDS[:4]):
            points = sorted((r["weight"], r["scores"][coder]) for r in runs if r["kind"] == kind)
            if not points:
                continue
            steps = max(r["steps"] for r in runs if r["kind"] == kind)
            l0, psnr = ([score[k] for _, score in points] for k in ("l0", "psnr"))
            axes.plot(
                l0, psnr, color=colour(i), marker=mark(i), markersize=4, linewidth=1.2, label=f"{kind}, {steps} steps"
            )
            for weight, score in points:
                at = (score["l0"], score["psnr"])
                if score["l0"] > 1.2:
                    axes.annotate(f"{weight:.3g}", at, (3, 3), textcoords="offset points", fontsize=7, color=colour(i))
        axes.set_xscale("log")
        axes.set_xlim(1.2, 60)
        axes.set_ylim(11.5, None)
        axes.set_xticks([t for t in TICKS if t > 1])
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.grid(alpha=0.3)
        axes.set_xlabel("mean L0 of 128 codes", fontsize=9)
        axes.set_ylabel("PSNR, dB", fontsize=9)
        axes.set_title(words, fontsize=9)
        axes.legend(fontsize=8)
    figure.suptitle("MNIST, 2 000 test digits; numbers are penalty weights", fontsize=10)
    return figure


@torch.no_grad()
def atoms_of(path: Path) -> np.ndarray:
    """The `ATOMS` most used atoms as pictures: decode(a_j e_j) - decode(0), a_j the largest z_j of 1000 validation samples."""
    folder = RunFolder(path)
    model, x = folder.best_model(), folder.splits().valid.x[:SAMPLES]
    z = model.encode(x)
    size = z.amax(dim=0)
    single = model.decode(torch.diag(size)) - model.decode(torch.zeros_like(z[:1]))
    energy = z.square().mean(dim=0) * (single.square().sum(dim=1) / size.square().clamp(min=1e-12))
    order = energy.argsort(descending=True)[:ATOMS]
    return pictures(single[order].double().numpy(), model.shape, "atoms")


@torch.no_grad()
def denoising_figure(paths: dict[str, Path], sigma: float = 1.0, n: int = 14) -> Figure:
    """Rows: test digits, the same with noise of standard deviation sigma in model space, what each model's encoder makes of them."""
    first = RunFolder(next(iter(paths.values())))
    clean, model = first.splits().test.take(slice(n)), first.best_model()
    noisy = add_noise(model, clean, sigma, "input", 1.0, generator(0, "denoise", 0))
    rows = {"clean": clean.x, f"sigma {sigma:g}": noisy}
    for kind, path in paths.items():
        model = RunFolder(path).best_model()
        rows[kind] = model.denormalise(model.decode(model.coders()["amortised"](noisy)))
    tiles = np.concatenate([pictures(x.double().numpy(), model.shape, "digits") for x in rows.values()])
    figure = Figure(figsize=(0.62 * n, 0.6 * len(rows) + 0.1), layout="constrained")
    axes = figure.add_subplot()
    height = model.shape[-2] + 1
    axes.imshow(mosaic(scaled(tiles, 0.0, 1.0), n), interpolation="nearest")
    axes.set_yticks([height * (i + 0.5) for i in range(len(rows))], list(rows), fontsize=8)
    axes.set_xticks([])
    return figure


def atoms_figure(rows: dict[str, dict[str, Path]]) -> Figure:
    """A block of atoms per kind (columns) and data (rows), each atom over its largest magnitude: grey is 0."""
    columns = max(len(row) for row in rows.values())
    figure = Figure(figsize=(2.6 * columns, 2.95 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, (data, paths) in zip(grid, rows.items(), strict=True):
        for axes in axes_row:
            axes.set_axis_off()
        for axes, (kind, path) in zip(axes_row, paths.items(), strict=False):
            axes.imshow(mosaic(peak_scaled(atoms_of(path)), 6), interpolation="nearest")
            axes.set_title(f"{kind}, {data}", fontsize=9)
    return figure


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


def at_equal(scores: Sequence[dict[str, dict[str, float]]]) -> list[str]:
    """PSNR of each coder at the `LEVELS` of mean L0, interpolated in log L0; "-" where the line does not reach."""
    cells: list[str] = []
    for coder in CODERS:
        across, up = np.array(sorted((s[coder]["l0"], s[coder]["psnr"]) for s in scores)).T
        values = np.interp(np.log(LEVELS), np.log(np.maximum(across, 1e-9)), up)
        inside = [across[0] <= level <= across[-1] for level in LEVELS]
        cells += [f"{value:.2f}" if there else "-" for value, there in zip(values, inside, strict=True)]
    return cells


def print_frontier(runs: Sequence[dict[str, Any]]) -> None:
    """L0 and PSNR by weight, and PSNR at equal L0, by interpolation in log L0 where a line reaches it."""
    rows: list[list[str]] = []
    equal: list[list[str]] = []
    for kind in KINDS[:4]:
        points = sorted((r for r in runs if r["kind"] == kind), key=lambda r: r["weight"])
        if not points:
            continue
        for run in points:
            scores = [run["scores"][coder] for coder in CODERS]
            cells = [f"{score[k]:.4g}" for score in scores for k in ("l0", "psnr")]
            rows.append([kind, str(run["steps"]), f"{run['weight']:.3g}", *cells])
        equal.append(["test, end", kind, *at_equal([r["scores"] for r in points])])
    heads = [f"{c}: {q}" for c in CODERS for q in ("L0", "PSNR")]
    print("\n## Frontier\n\n" + markdown(["model", "steps", "weight", *heads], rows))
    for step in STEPS:
        for kind in KINDS[:4]:
            records = [
                record for r in runs if r["kind"] == kind for record in r["over_training"] if record["step"] == step
            ]
            keys = {coder: {k: f"{coder}/{k}" for k in ("l0", "psnr")} for coder in CODERS}
            scores = [
                {c: {k: record[key] for k, key in found.items()} for c, found in keys.items()} for record in records
            ]
            if len(scores) > 1:
                equal.append([f"validation, step {step}", kind, *at_equal(scores)])
    print("\n" + markdown(["scored", "model", *(f"{c}, L0 {at:g}" for c in CODERS for at in LEVELS)], equal))


def read_probe(path: Path, kinds: dict[str, str]) -> list[dict[str, Any]]:
    """Accuracies of a probe.json by features and number of labels, models named by their kind."""
    results = json.loads(path.read_text())["spec"]["results"]
    for result in results:
        run, _, coder = result["features"].rpartition(", ")
        result["features"] = f"{kinds[run]}, {coder}" if run in kinds else result["features"]
    return results


def probe_figure(results: Sequence[dict[str, Any]]) -> Figure:
    """Test accuracy against labels per class, a line per kind of features."""
    lines = {
        name: tuple([r[k] for r in results if r["features"] == name] for k in ("labels_per_class", "mean", "sd"))
        for name in dict.fromkeys(r["features"] for r in results)
    }
    return accuracy_curves(lines, "mean and standard deviation over subsets of labels")


def print_probe(results: Sequence[dict[str, Any]]) -> None:
    """A row per kind of features, a column per number of labels."""
    counts = list(dict.fromkeys(r["labels_per_class"] for r in results))
    cells: dict[str, dict[int, str]] = {}
    for r in results:
        cells.setdefault(r["features"], {})[r["labels_per_class"]] = f"{100 * r['mean']:.1f} ± {100 * r['sd']:.1f}"
    rows = [[name, *(found.get(count, "-") for count in counts)] for name, found in cells.items()]
    print("\n## Few labels\n\n" + markdown(["features", *map(str, counts)], rows))


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
    parser.add_argument("--probe", type=Path, help="probe.json")
    asked = parser.parse_args()
    runs = [run for folder in asked.sweeps for run in read_sweep(folder)]
    paths = {run["run"]: folder / run["run"] for folder in asked.sweeps for run in read_sweep(folder)}
    probes = read_probe(asked.probe, {run["run"]: run["kind"] for run in runs}) if asked.probe else []
    save("papers-sparse-coding", rounded({"runs": runs, "probe": probes}))
    print_presets([r for r in runs if r["finished"] and preset(r)])
    figures: dict[str, Figure] = {}
    digits = [r for r in runs if r["data"] == "MNIST" and r["seed"] == SEED and r["n_hidden"] in (None, SMALL)]
    if curves := [r for r in digits if preset(r) and r["over_training"]]:
        figures["collapse"] = collapse_figure(curves)
        print_collapse(curves)
    if points := [r for r in digits if r["finished"]]:
        figures["frontier"] = frontier_figure(points)
        print_frontier(points)
    blocks: dict[str, dict[str, Path]] = {}
    for kind in KINDS:
        for run in runs:
            if run["kind"] == kind and run["finished"] and preset(run):
                blocks.setdefault(run["data"], {})[kind] = paths[run["run"]]
    if blocks:
        figures["atoms"] = atoms_figure(blocks)
    if digits_of := blocks.get("MNIST"):
        figures["denoising"] = denoising_figure(digits_of)
    if probes:
        figures["probe"] = probe_figure(probes)
        print_probe(probes)
    for name, figure in figures.items():
        save_figure(PICTURES / f"sparse_coding_{name}.png", figure)


if __name__ == "__main__":
    main()
