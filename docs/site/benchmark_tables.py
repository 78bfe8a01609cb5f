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

import quality_tables
import ratios
import speed_tables
from comparisons import Comparison, Parts, Table, number

__all__ = ["BENCHMARKS", "benchmarks_page", "losses", "seeds_page"]


class Benchmark(NamedTuple):
    """A script in benchmarks/, and what becomes of each of its files in benchmarks/results."""

    title: str
    script: str
    command: str
    files: dict[str, Callable[[Any], Parts]]


BENCHMARKS = (
    Benchmark(
        "Sparse codes", "lasso.py", "make bench-lasso", {"lasso-easy": speed_tables.lasso, "lasso-hard": speed_tables.lasso, "lasso-omp": speed_tables.lasso}
    ),
    Benchmark("Correlated atoms", "correlated.py", "python benchmarks/correlated.py", {"correlated": speed_tables.correlated}),
    Benchmark("Codes at many alphas", "path.py", "python benchmarks/path.py", {"path": speed_tables.path}),
    Benchmark("Agreement with other libraries", "coming_from.py", "python benchmarks/coming_from.py", {"coming-from": quality_tables.agreement}),
    Benchmark("Dictionary learning", "dictionary.py", "make bench-dictionary", {"dictionary": speed_tables.dictionary}),
    Benchmark("Estimators: SparseDictionary", "estimators.py", "python benchmarks/estimators.py", {"estimators": quality_tables.estimators}),
    Benchmark("Convolutional sparse coding", "convolutional.py", "python benchmarks/convolutional.py", {"convolutional": quality_tables.convolutional}),
    Benchmark("Training of sparse coding models", "training.py", "make bench-training", {"training": speed_tables.training}),
    Benchmark("Training of sparse autoencoders", "autoencoders.py", "make bench-autoencoders", dict.fromkeys(("autoencoders", "autoencoders-avx2", "autoencoders-avx512"), speed_tables.autoencoders)),
    Benchmark("Compiled steps", "compiled.py", "python benchmarks/compiled.py", {"compiled": speed_tables.compiled}),
    Benchmark("Quality of sparse autoencoders", "quality.py", "python benchmarks/quality.py FOLDER TEXT", {"quality": quality_tables.quality}),
    Benchmark("Training of variational models", "variational.py", "make bench-variational", {"variational": speed_tables.variational}),
    Benchmark("Sweeps", "sweep.py", "make bench-sweep", {"sweep": speed_tables.sweep}),
    Benchmark("Denoising with a learned dictionary", "denoising.py", "python benchmarks/denoising.py", {"denoising": quality_tables.denoising}),
    Benchmark("Denoising with nothing given", "denoising_alone.py", "python benchmarks/denoising_alone.py", {"denoising-alone": quality_tables.denoising_alone}),
    Benchmark("Missing pixels", "inpainting.py", "python benchmarks/inpainting.py", {"inpainting": quality_tables.inpainting}),
    Benchmark("Time to the first result", "start.py", "python benchmarks/start.py", {"start": speed_tables.start, "start-avx512": speed_tables.start}),
    Benchmark("Gradients of several processes", "fired_rows.py", "python benchmarks/fired_rows.py", {"fired-rows": speed_tables.fired_rows}),
    Benchmark("Scale", "scale.py", "python benchmarks/scale.py", {"scale": speed_tables.scale}),
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
    yield (
        "Short measurements, `benchmarks/results/ratios.json`: times faster, by the vector width of the processor; in parentheses the ratio"
        " below which `make test-speed` fails.\n"
    )
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
