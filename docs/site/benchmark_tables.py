"""The page of benchmarks: tables from benchmarks/results, and every comparison there in which another library is better."""

# ratios.py is in benchmarks/
# pyright: reportMissingImports=false

from __future__ import annotations

import ast
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import ratios

__all__ = ["BENCHMARKS", "Comparison", "Table", "benchmarks_page", "losses", "seeds_page"]


class Table(NamedTuple):
    """Cells as text; the first row is the head."""

    rows: Sequence[Sequence[str]]
    title: str = ""


class Comparison(NamedTuple):
    """One quantity of ours beside that of a peer, the lower one better unless `higher`."""

    what: str
    ours: float
    peer: str
    theirs: float
    higher: bool = False

    @property
    def lost(self) -> bool:
        return self.theirs > self.ours if self.higher else self.theirs < self.ours


Parts = tuple[list[Table], list[Comparison]]


class Benchmark(NamedTuple):
    """A script in benchmarks/, and what becomes of each of its files in benchmarks/results."""

    title: str
    script: str
    command: str
    files: dict[str, Callable[[Any], Parts]]


def number(value: float | None) -> str:
    """Four significant digits."""
    if value is None:
        return "-"
    return f"{value:.4g}" if abs(value) < 10000 else f"{value:.0f}"


def _lasso(result: Any) -> Parts:
    rows = result["results"]
    ours = next(iter(rows))
    quality = next(key for key in ("suboptimality", "mean_squared_residual") if key in rows[ours])
    table = Table(
        [("solver", "seconds", "times ours", quality.replace("_", " "))]
        + [(name, number(r["seconds"]), f"{r['times_ours']:.2f}", f"{r[quality]:.2g}") for name, r in rows.items()],
        result["problem"],
    )
    peers = {name: r for name, r in rows.items() if name.split(",")[0] != ours}
    what = f"seconds, {result['problem'].split(':')[0]} problem"
    return [table], [Comparison(what, rows[ours]["seconds"], name, r["seconds"]) for name, r in peers.items()]


def _dictionary(result: Any) -> Parts:
    seconds = result["seconds"]
    rows = [(name, "not reached" if s is None else number(s)) for name, s in seconds.items()]
    ours = seconds["sparsecode (tol .1)"]
    return [Table([("method", f"seconds to an objective of {result['target']:.4f}"), *rows])], [
        Comparison("seconds to the objective", ours, name, s)
        for name, s in seconds.items()
        if s is not None and not name.startswith("sparsecode")
    ]


def _training(result: Any) -> Parts:
    head = ("model", "training", "ms per iteration", "times faster", "solver steps", "PSNR, dB", "objective", "L0")
    rows = [
        (
            r["model"],
            r["training"],
            number(r["ms_per_iteration"]),
            f"{r['ratio']:.2f}",
            f"{r['steps']:.1f}",
            f"{r['psnr']:.2f}",
            f"{r['objective']:.1f}",
            f"{r['l0']:.1f}",
        )
        for r in result["rows"]
    ]
    by_training = {(r["model"], r["training"]): r for r in result["rows"]}
    comparisons = [
        Comparison(
            f"{model}, {words}",
            by_training[model, "ours"][key],
            "plain loop",
            by_training[model, "plain loop"][key],
            higher,
        )
        for model in dict.fromkeys(r["model"] for r in result["rows"])
        for key, words, higher in (("ms_per_iteration", "ms per iteration", False), ("psnr", "PSNR in dB", True))
    ]
    return [Table([head, *rows])], comparisons


def _autoencoders(result: Any) -> Parts:
    names = list(result["rows"][0]["cpu_seconds"])
    head = ("activation", "features x codes", "active", *names)
    rows: list[tuple[str, ...]] = [head]
    comparisons: list[Comparison] = []
    for r in result["rows"]:
        size, seconds = f"{r['size'][0]} x {r['size'][1]}", r["cpu_seconds"]
        rows.append((r["kind"], size, r["l0"], *(number(seconds.get(name)) for name in names)))
        comparisons += [
            Comparison(f"{r['kind']}, {size}, {r['l0']}, seconds of processor time", seconds["ours"], name, value)
            for name, value in seconds.items()
            if value is not None and not name.startswith("ours")
        ]
    return [Table(rows, "Seconds of processor time for a step of 4096 rows")], comparisons


def _variational(result: Any) -> Parts:
    head = ("model", "training", "ms per step", "seconds per 60 000 samples", "times faster", "loss, nats")
    rows = [
        (
            r["model"],
            r["training"],
            number(r["ms_per_step"]),
            number(r["seconds_per_60000"]),
            f"{r['ratio']:.2f}",
            "-" if r["loss"] is None else f"{r['loss']:.1f}",
        )
        for r in result["rows"]
    ]
    by_training = {(r["model"], r["training"]): r for r in result["rows"]}
    comparisons = [
        Comparison(f"{model}, {words}", by_training[model, "ours"][key], training, r[key])
        for (model, training), r in by_training.items()
        if training.startswith("usual")
        for key, words in (("ms_per_step", "ms per step"), ("loss", "training loss in nats"))
    ]
    return [Table([head, *rows])], comparisons


def _sweep(result: Any) -> Parts:
    head = ("data", "backend", "arithmetic", "seconds", "processor seconds", "ms per step and run", "times faster")
    rows = [
        (
            r["data"],
            r["backend"],
            r["arithmetic"],
            number(r["seconds"]),
            number(r["cpu_seconds"]),
            number(r["ms"]),
            f"{r['times_faster']:.2f}",
        )
        for r in result["rows"]
    ]
    ours = next(r for r in result["rows"] if (r["backend"], r["arithmetic"]) == ("stacked", "exact"))
    return [Table([head, *rows])], [
        Comparison("seconds of a sweep", ours["seconds"], r["backend"], r["seconds"])
        for r in result["rows"]
        if r["backend"] != "stacked"
    ]


def _path(result: Any) -> Parts:
    head = ("problem", "50 separate calls, s", "one path, s", "ratio")
    rows: list[tuple[str, ...]] = [head]
    comparisons: list[Comparison] = []
    for name, r in result["results"].items():
        separate, path = statistics.median(r["separate_seconds"]), statistics.median(r["path_seconds"])
        rows.append((name, number(separate), number(path), f"{r['ratio']:.2f}"))
        comparisons.append(Comparison(f"{name}, seconds", path, "separate calls", separate))
    return [Table(rows)], comparisons


def _estimators(result: Any) -> Parts:
    head = ("data", "estimator", "objective", "processor seconds", "accuracy")
    rows = [
        (
            r["data"],
            r["estimator"],
            number(r["objective"]),
            number(r["seconds"]),
            f"{r['accuracy']:.3f} ± {r['accuracy_deviation']:.3f}",
        )
        for r in result["rows"]
    ]
    ours = {r["data"]: r for r in result["rows"] if r["estimator"] == "SparseDictionary"}
    comparisons = [
        Comparison(f"{r['data']}, {key}", ours[r["data"]][key], r["estimator"], r[key], higher)
        for r in result["rows"]
        if not r["estimator"].startswith("Sparse") and r["data"] in ours
        for key, higher in (("objective", False), ("seconds", False), ("accuracy", True))
        if r[key] is not None
    ]
    return [Table([head, *rows])], comparisons


def _denoising(result: Any) -> Parts:
    methods = list(result["rows"][0]["psnr"])
    rows = [
        (
            r["set"],
            str(r["sigma"]),
            *(f"{r['psnr'][m]:.2f}" for m in methods),
            f"{r['seconds_per_image']['sparsecode']:.2f}",
        )
        for r in result["rows"]
    ]
    comparisons = [
        Comparison(f"{r['set']}, sigma {r['sigma']}, {words}", r[key]["sparsecode"], method, r[key][method], higher)
        for r in result["rows"]
        for key, words, higher in (("psnr", "PSNR in dB", True), ("seconds_per_image", "seconds per image", False))
        for method in methods
        if method not in ("noisy", "sparsecode")
    ]
    return [Table([("images", "sigma", *methods, "seconds per image (sparsecode)"), *rows], "PSNR in dB")], comparisons


def _denoising_alone(result: Any) -> Parts:
    methods = list(dict.fromkeys(m for r in result["denoised"] for m in r["psnr"]))
    rows = [
        (str(r["sigma"]), *(f"{r['psnr'][m]:.2f}" if m in r["psnr"] else "-" for m in methods))
        for r in result["denoised"]
    ]
    estimates = [
        (
            r["set"],
            str(r["sigma"]),
            *(f"{r[m][key]:.2f}" for m in ("sparsecode", "wavelet_mad") for key in ("bias", "rms")),
        )
        for r in result["sigma"]
    ]
    head = ("images", "sigma", "bias", "rms error", "bias, wavelets", "rms error, wavelets")
    comparisons = [
        Comparison(f"sigma {r['sigma']}, PSNR in dB of `alone`", r["psnr"]["alone"], m, r["psnr"][m], higher=True)
        for r in result["denoised"]
        for m in ("nl_means", "bm3d_published")
        if m in r["psnr"]
    ] + [
        Comparison(
            f"{r['set']}, rms error of the estimated sigma {r['sigma']}",
            r["sparsecode"]["rms"],
            "wavelets",
            r["wavelet_mad"]["rms"],
        )
        for r in result["sigma"]
    ]
    return [
        Table([("sigma", *methods), *rows], "PSNR in dB"),
        Table([head, *estimates], "Estimated sigma"),
    ], comparisons


def _inpainting(result: Any) -> Parts:
    rows = [(r["method"], f"{r['psnr']:.2f}", number(r["cpu_seconds"])) for r in result["rows"]]
    ours = result["rows"][0]
    comparisons = [
        Comparison(words, ours[key], r["method"], r[key], higher)
        for r in result["rows"][1:]
        for key, words, higher in (("psnr", "PSNR in dB", True), ("cpu_seconds", "processor seconds", False))
    ]
    return [Table([("method", "PSNR, dB", "processor seconds"), *rows])], comparisons


def _convolutional(result: Any) -> Parts:
    rows = [
        (r["library"], r["setting"], number(r["seconds"]), f"{r['objective']:.3f}", f"{r['gap']:.2g}")
        for r in result["rows"]
    ]
    reached = {
        library: min(r["seconds"] for r in result["rows"] if r["library"] == library and r["gap"] < 0.004)
        for library in ("sparsecode", "sporco")
    }
    return [Table([("library", "setting", "seconds", "objective", "relative gap"), *rows])], [
        Comparison("seconds to a relative gap below 0.004", reached["sparsecode"], "sporco", reached["sporco"])
    ]


def _quality(result: Any) -> Parts:
    digits = {"l0": 1, "explained_variance": 3, "loss_recovered": 4, "dead": 0}
    rows: list[tuple[str, ...]] = [("model", "L0", "explained variance", "loss recovered", "dead codes")]
    comparisons: list[Comparison] = []
    for kind in dict.fromkeys(r["kind"] for r in result["rows"]):
        means: dict[str, dict[str, float]] = {}
        for library, name in (("ours", "sparsecode"), ("saelens", "SAELens")):
            runs = [r[library] for r in result["rows"] if r["kind"] == kind]
            means[library] = {key: statistics.mean(run[key] for run in runs) for key in digits}
            cells = [
                f"{means[library][key]:.{n}f} ± {statistics.stdev(run[key] for run in runs):.{n}f}"
                for key, n in digits.items()
            ]
            rows.append((f"{kind}, {name}", *cells))
        comparisons += [
            Comparison(f"{kind}, {words}", means["ours"][key], "SAELens", means["saelens"][key], higher=True)
            for key, words in (("explained_variance", "explained variance"), ("loss_recovered", "loss recovered"))
        ]
    return [Table(rows)], comparisons


def _agreement(result: Any) -> Parts:
    rows = [(name, f"{r['difference']:.1e}", f"{r['objective_above_ours']:.1e}") for name, r in result["peers"].items()]
    return [Table([("peer", "largest difference of a code", "largest objective above ours, relative"), *rows])], []


def _start(result: Any) -> Parts:
    before, now = (result[label]["medians"] for label in ("before", "now"))
    rows = [
        (
            name,
            *(f"{each[name]['processor']:.2f}" for each in (before, now)),
            f"{before[name]['processor'] / r['processor']:.1f}",
        )
        for name, r in now.items()
    ]
    return [Table([("process", "processor seconds before", "now", "times less"), *rows], result["before"]["note"])], []


def _scale(result: Any) -> Parts:
    tables: list[Table] = []
    for axis, part in result["axes"].items():
        rows = [
            (str(size), number(point["seconds"]), number(point["peak_mib"]), number(point.get("l0")))
            for size, point in zip(part["sizes"], part["points"], strict=True)
        ]
        power = "" if part["slope"] is None else f", time as the power {part['slope']:.2f} over the larger half"
        tables.append(Table([(axis, "processor seconds", "peak memory, MiB", "L0"), *rows], f"Against {axis}{power}"))
    return tables, []


BENCHMARKS = (
    Benchmark(
        "Sparse codes", "lasso.py", "make bench-lasso", {"lasso-easy": _lasso, "lasso-omp": _lasso}
    ),
    Benchmark("Codes at many alphas", "path.py", "python benchmarks/path.py", {"path": _path}),
    Benchmark("Agreement with other libraries", "coming_from.py", "python benchmarks/coming_from.py", {"coming-from": _agreement}),
    Benchmark("Dictionary learning", "dictionary.py", "make bench-dictionary", {"dictionary": _dictionary}),
    Benchmark("Estimators: SparseDictionary", "estimators.py", "python benchmarks/estimators.py", {"estimators": _estimators}),
    Benchmark("Convolutional sparse coding", "convolutional.py", "python benchmarks/convolutional.py", {"convolutional": _convolutional}),
    Benchmark("Training of sparse coding models", "training.py", "make bench-training", {"training": _training}),
    Benchmark("Training of sparse autoencoders", "autoencoders.py", "make bench-autoencoders", {"autoencoders": _autoencoders}),
    Benchmark("Quality of sparse autoencoders", "quality.py", "python benchmarks/quality.py FOLDER TEXT", {"quality": _quality}),
    Benchmark("Training of variational models", "variational.py", "make bench-variational", {"variational": _variational}),
    Benchmark("Sweeps", "sweep.py", "make bench-sweep", {"sweep": _sweep}),
    Benchmark("Denoising with a learned dictionary", "denoising.py", "python benchmarks/denoising.py", {"denoising": _denoising}),
    Benchmark("Denoising with nothing given", "denoising_alone.py", "python benchmarks/denoising_alone.py", {"denoising-alone": _denoising_alone}),
    Benchmark("Missing pixels", "inpainting.py", "python benchmarks/inpainting.py", {"inpainting": _inpainting}),
    Benchmark("Time to the first result", "start.py", "python benchmarks/start.py", {"start": _start}),
    Benchmark("Scale", "scale.py", "python benchmarks/scale.py", {"scale": _scale}),
)  # fmt: skip


def _result(root: Path, name: str) -> Any:
    return json.loads((root / f"benchmarks/results/{name}.json").read_text())


def losses(root: Path) -> list[tuple[str, Comparison]]:
    """Every comparison in which another is better, with the title of its benchmark."""
    return [
        (benchmark.title, comparison)
        for benchmark in BENCHMARKS
        for name, build in benchmark.files.items()
        for comparison in build(_result(root, name))[1]
        if comparison.lost
    ]


def _lines(table: Table) -> Iterator[str]:
    if table.title:
        yield f"{table.title}:\n"
    head, *rows = ([cell.replace("|", "\\|") for cell in row] for row in table.rows)
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if name != "sparsecode")
    cores = f"{machine['cores']} cores, {machine['threads']} thread{'s' if machine['threads'] > 1 else ''} in use"
    return f"*{machine['cpu']}, {cores}; {versions}.*\n"


def benchmarks_page(root: Path, markdown: Callable[[str | None], str]) -> Iterator[str]:
    """The page: method, what others do better, and for each benchmark what it does, its machine and its tables."""
    yield INTRODUCTION
    compared = sum(len(build(_result(root, name))[1]) for b in BENCHMARKS for name, build in b.files.items())
    lost = losses(root)
    yield f"## Where others are better\n\nOf {compared} comparisons on this page these {len(lost)} are won by the other side:\n"
    rows = [(title, c.what, number(c.ours), c.peer, number(c.theirs)) for title, c in lost]
    yield from _lines(Table([("benchmark", "quantity", "sparsecode", "the other", "its value"), *rows]))
    yield f"## All ratios\n\n{RATIOS}"
    rows, machines = ratios.table(root)
    yield from _lines(Table(rows))
    yield "".join(f"{i}. {words}\n" for i, words in enumerate(machines, 1))
    yield "Short measurements, `benchmarks/results/ratios.json`:\n"
    yield from _lines(Table(ratios.kept_table(root)))
    for benchmark in BENCHMARKS:
        tree = ast.parse((root / "benchmarks" / benchmark.script).read_text())
        yield f"## {benchmark.title}\n\n{markdown(ast.get_docstring(tree))}\n\n```sh\n{benchmark.command}\n```\n"
        for name, build in benchmark.files.items():
            result = _result(root, name)
            machine = result.get("machine")
            yield f"`benchmarks/results/{name}.json`\n"
            if machine:
                yield _machine(machine)
            for table in build(result)[0]:
                yield from _lines(table)


def seeds_page(root: Path) -> Iterator[str]:
    """Results over seeds: a table for each benchmarks/results/seeds-*.json."""
    yield "# Results over seeds\n\nMean ± sample standard deviation, written by `python benchmarks/over_seeds.py` from runs of a sweep.\n"
    for path in sorted((root / "benchmarks/results").glob("seeds-*.json")):
        yield f"## {path.stem}\n"
        runs = json.loads(path.read_text())
        names = [run["recipe"] + "".join(f", {k}={v}" for k, v in run["changes"].items()) for run in runs]
        quantities = dict.fromkeys(q for run in runs for q in run["values"])
        rows = [("quantity", *(f"{name} ({len(run['seeds'])} seeds)" for name, run in zip(names, runs, strict=True)))]
        rows += [(f"`{q}`", *(_spread(run["values"].get(q)) for run in runs)) for q in quantities]
        yield from _lines(Table(rows))


def _spread(values: Sequence[float | None] | None) -> str:
    numbers = [value for value in values or () if value is not None]
    if not numbers:
        return "-"
    deviation = f" ± {statistics.stdev(numbers):.2g}" if len(numbers) > 1 else ""
    return f"{statistics.mean(numbers):.4g}{deviation}"


RATIOS = """How many times faster than each other side, and what is wanted where an aim was set; `make bench` ends in this table. `make test-speed`
compares the main ratios, measured at small sizes with one thread in processor time, with those of the table after it.

```sh
python benchmarks/ratios.py
```
"""

INTRODUCTION = """# Benchmarks

All tables of this page are made from the files in `benchmarks/results` when the site is built; no number is typed. Each file is written by
one script and describes the machine on which it was written.

**Method.** All sides get the same problem, the same start and the same stopping quality, checked by one function for all. Timings take
turns (each contender once, then each again), so that a busy machine disturbs all alike, and give medians; compilation and first
allocations come before. Where a peer has settings, several are tried and its best is shown. A quality is a mean over seeds with its sample
standard deviation. Peers live in an environment of their own (`benchmarks/requirements.txt`), with the same NumPy and torch. Machines
are small and shared: compare the columns of one table, not the tables.
"""
