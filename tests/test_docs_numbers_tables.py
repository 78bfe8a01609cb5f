"""Every cell of the tables in the pages is the number that its file in benchmarks/results has for that row and column."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?![\w.])")
Cell = float | list[float] | tuple[float, ...] | None  # a number, values over seeds, several numbers, nothing
Rows = Iterator[list[Cell]]


def result_of(name: str) -> Any:
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())


def rows_of(page: str, head: str) -> list[str]:
    """The rows of the table whose first line starts with `head`."""
    lines = [line.strip() for line in (ROOT / f"docs/{page}.md").read_text().split("\n")]
    (start,) = [i for i, line in enumerate(lines) if line.startswith(head)]
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    return lines[start + 2 : end]


def agrees(text: str, cell: Cell) -> bool:
    """Whether a cell shows exactly these numbers, each rounded to the digits that it shows; mean ± deviation of a list, or its mean if all are equal."""
    shown = NUMBER.findall(text)
    if isinstance(cell, list):
        spread = "±" in text or statistics.stdev(cell) > 0
        expected = (statistics.mean(cell), *([statistics.stdev(cell)] if spread else []))
    else:
        expected = () if cell is None else cell if isinstance(cell, tuple) else (cell,)
    return len(shown) == len(expected) and all(
        abs(float(number) - value) <= 0.5001 * 10 ** -len(number.partition(".")[2])
        for number, value in zip(shown, expected, strict=True)
    )


def minus(values: list[float]) -> list[float]:
    return [-value for value in values]


def photos() -> Rows:
    with_noise, of_training = (run["values"] for run in result_of("seeds-photos"))
    for i in range(3):
        at = f"denoising.solver.{i}"
        encoder = with_noise[f"denoising.encoder.{i}.psnr"]
        yield [with_noise[f"{at}.noisy_psnr"], with_noise[f"{at}.psnr"], of_training[f"{at}.psnr"], encoder]


def gaps() -> Rows:
    columns = ("l0", "coder_error", "lasso", "lasso_refitted", "pursuit", "gap", "amplitude_gap", "support_gap")
    for coder in result_of("gaps")["coders"].values():
        yield [coder[column] for column in columns]


def units() -> Rows:
    for run in result_of("seeds-noise-digits")[2:]:
        value = {key.removeprefix("measures.activity.model."): v for key, v in run["values"].items()}
        named = ("active_noisy", "active_clean", "dead_share_noisy", "dead_share_clean", "margin", "norm_cv")
        terms = (f"terms.{name}" for name in ("residual", "mean_shift", "variance", "covariance"))
        yield [run["changes"]["model.corruption.sigma"], *(value[name] for name in (*named, *terms))]


def denoising() -> Rows:
    for row in result_of("denoising")["rows"]:
        yield [row["sigma"], *(row["psnr"][name] for name in ("noisy", "wavelet", "nl_means", "sparsecode"))]


def denoising_alone() -> Rows:
    for row in result_of("denoising-alone")["denoised"]:
        names = ("nl_means", "run", "learned", "alone", "bm3d_published")
        yield [row["sigma"], *(row["psnr"].get(name) for name in names)]


def estimated_sigma() -> Rows:
    rows = result_of("denoising-alone")["sigma"]
    for sigma in dict.fromkeys(row["sigma"] for row in rows):
        each = [row[by] for row in rows if row["sigma"] == sigma for by in ("sparsecode", "wavelet_mad")]
        yield [sigma, *((one["rms"], one["worst"]) for one in each)]


def noise() -> Rows:
    for run in result_of("seeds-noise"):
        value = {key.removeprefix("activity."): v for key, v in run["values"].items()}
        named = ("active_noisy", "active_clean", "dead_noisy", "dead_clean")
        bias = (statistics.mean(value["bias_mean"]), statistics.mean(value["bias_sd"]))
        yield [run["changes"]["model.corruption.sigma"], *(value[name] for name in named), bias]


def annealed() -> Rows:
    key = "measures.activity.model.active_clean"
    constant = {run["changes"]["model.corruption.sigma"]: run["values"][key] for run in result_of("seeds-noise-digits")}
    ended = {run["changes"]["model.corruption.sigma.start"]: run["values"][key] for run in result_of("seeds-anneal")}
    for sigma in (0, 0.3, 0.8):
        yield [sigma, constant[sigma], ended.get(sigma)]


def target_l0() -> Rows:
    for run in result_of("seeds-target-l0"):
        yield [run["values"][f"measures.scores.encode.{key}"] for key in ("l0", "explained_variance", "dead")]


def corrected() -> Rows:
    yield []
    for run in result_of("seeds-corrected"):
        value = run["values"]
        yield [minus(value["bounds.relaxed.elbo"]), minus(value["bounds.hard.elbo"]), value["scores.hard.l0"]]
    yield []


def fashion() -> Rows:
    vae = result_of("seeds-fashion-vae")[0]["values"]
    yield [minus(vae["bounds.exact.elbo"]), None, None, vae["scores.mean.psnr"]]
    new = ("measures.elbo.relaxed.elbo", "measures.elbo.hard.elbo", "measures.scores.encode.l0")
    old = ("bounds.relaxed.elbo", "bounds.hard.elbo", "scores.hard.l0")
    for name, keys, psnr in (
        ("seeds-fashion-original", new, "measures.scores.encode.psnr"),
        ("seeds-fashion", old, "scores.hard.psnr"),
    ):
        for run in result_of(name):
            relaxed, hard, l0 = (run["values"][key] for key in keys)
            yield [minus(relaxed), minus(hard), l0, run["values"][psnr]]


def three_ways() -> Rows:
    for recipe in ("mnist-vsc-1", "fashion-vsc-1"):
        runs = [run for run in result_of("seeds-three-ways") if run["recipe"] == recipe]
        cells: list[Cell] = []
        for change in ({}, {"model.fused": False}, {"plain loop": True}):
            (run,) = [run for run in runs if run["changes"] == {"train.epochs": 4, **change}]
            values = minus(run["values"]["measures.elbo.relaxed.elbo"])
            cells.append((statistics.mean(values), statistics.stdev(values), len(values)))
        yield cells


def speed() -> Rows:
    result = {(row["model"], row["training"]): row for row in result_of("variational")["rows"]}
    models = list(dict.fromkeys(model for model, _ in result))
    for training in dict.fromkeys(training for _, training in result):
        rows = [result[model, training] for model in models]
        yield [(r["ms_per_step"], *([r["ratio"]] if training == "ours" else [])) for r in rows]


def estimators() -> Rows:
    for row in result_of("estimators")["rows"]:
        yield [row["objective"], row["seconds"], (row["accuracy"], row["accuracy_deviation"])]


def sweep() -> Rows:
    for row in result_of("sweep")["rows"]:
        cells = ((row["seconds"], row["times_faster"]), (row["cpu_seconds"], row["times_less_cpu"]))
        steps = (row["ms"], row["times_faster_steady"])
        yield [*cells, steps] if row["backend"] == "stacked" else [first for first, _ in (*cells, steps)]


def compiled() -> Rows:
    for row in result_of("compiled")["rows"]:
        eager, compiled, sparse = (row["cpu_seconds"][way] for way in ("eager", "compiled", "sparse"))
        yield [eager, compiled, row["ratio"], sparse, row["compilation"]]


def many_k() -> Rows:
    for row in result_of("many-k-digits-topk")["explained_variance"].values():
        if "l0" not in row:
            yield list(row.values())


def host() -> Rows:
    first, shared = result_of("host")["rows"]
    share = shared["cpu_seconds"] / first["cpu_seconds"]
    for row, seconds in ((first, first["cpu_seconds"]), (shared, (shared["cpu_seconds"], share))):
        yield [seconds, row["host_rows"], tuple(row["explained_variance"])]


# Page, start of the head of the table, cells before the first compared, what the cells are.
TABLES: list[tuple[str, str, int, Callable[[], Rows]]] = [
    ("training", "| activation | eager, s |", 1, compiled),
    ("evaluation", "| sigma | noisy |", 1, photos),
    ("evaluation", "| codes by | L0 |", 1, gaps),
    ("evaluation", "| sigma | active | dead |", 0, units),
    ("evaluation", "| | sigma | noisy |", 1, denoising),
    ("evaluation", "| sigma | non-local means |", 0, denoising_alone),
    ("evaluation", "| sigma | Set12: ours |", 0, estimated_sigma),
    ("noise", "| sigma | active, noise on |", 0, noise),
    ("noise", "| sigma | noise to the end |", 0, annealed),
    ("sparse-autoencoders", "| recipe | steps | L0 |", 2, target_l0),
    ("sparse-autoencoders", "| trained at | k = 2 |", 1, many_k),
    ("variational", "| alpha, codes | replication |", 4, corrected),
    ("variational", "| | gates as in training |", 1, fashion),
    ("variational", "| | whole steps |", 1, three_ways),
    ("variational", "| ms per step |", 1, speed),
    ("estimators", "| data | estimator |", 2, estimators),
    ("sweeps", "| | wall | processor seconds |", 1, sweep),
    ("host", "| | processor seconds | rows that the host computed |", 1, host),
]


@pytest.mark.parametrize(("page", "head", "labels", "cells"), TABLES)
def test_every_cell_is_that_of_its_result(page: str, head: str, labels: int, cells: Callable[[], Rows]) -> None:
    lines, expected = rows_of(page, head), list(cells())
    assert len(lines) == len(expected) > 1
    for line, row in zip(lines, expected, strict=True):
        parts = [part for cell in line.strip("|").split("|")[labels:] for part in re.split(r" / (?!255)", cell)]
        assert not row or len(parts) == len(row), line
        for part, cell in zip(parts, row, strict=False):
            assert agrees(part, cell), f"{line}: {part.strip()} is not {cell}"


@pytest.mark.parametrize(("page", "head", "labels", "cells"), TABLES)
def test_the_section_of_a_table_names_its_files_or_their_scripts(
    page: str, head: str, labels: int, cells: Callable[[], Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[str] = set()
    monkeypatch.setitem(globals(), "result_of", lambda name, before=result_of: read.add(name) or before(name))
    assert list(cells())
    sections = re.split(r"^(?=##+ )", (ROOT / f"docs/{page}.md").read_text(), flags=re.MULTILINE)
    (section,) = [part for part in sections if f"\n{head}" in part or f"\n  {head}" in part]
    assert read
    assert not [
        name for name in read if name not in section and f"benchmarks/{name.replace('-', '_')}.py" not in section
    ]


@pytest.mark.parametrize(
    ("text", "cell", "same"),
    [
        ("1.50 ± 0.71", [1.0, 2.0], True),
        ("1.50 ± 0.72", [1.0, 2.0], False),
        ("1.50", [1.0, 2.0], False),
        ("0", [0.0, 0.0], True),
        ("64 s, 1.7 times", (64.2, 1.74), True),
        ("64 s, 1.7 times", (1.74, 64.2), False),
        ("", None, True),
        ("3", None, False),
    ],
)
def test_a_cell_shows_its_own_numbers_and_no_others(text: str, cell: Cell, same: bool) -> None:
    assert agrees(text, cell) is same
