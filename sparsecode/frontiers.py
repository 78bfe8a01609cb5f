"""Sparsity-reconstruction frontier: runs of a sweep by mean L0, over seeds, beside references at the same L0."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from sparsecode.evaluate.dictionary.geometry import dictionary_of
from sparsecode.evaluate.reconstruction.references import ReferencePoint, by_pursuit, reference_scores, references
from sparsecode.evaluate.reconstruction.score import Score
from sparsecode.runs import RunFolder
from sparsecode.specs import Spec, plain
from sparsecode.sweeps import SEED, SweepResult, named

__all__ = ["SEED", "Frontier", "FrontierRow", "frontier_of", "reference_curves"]

QUANTITIES = ("l0", "psnr", "explained_variance", "normalised_mse", "mse", "dead", "dense")
SAMPLES = 2000  # of the test split, for references
POINTS = 8  # of a reference's curve


class FrontierRow(Spec, tag="frontier_row"):
    """Runs that differ in nothing but the seed, scored on the test split: every value, their mean and standard deviation.

    `line` is recipe, further overrides and coder, `value` that of what varies along the line. Means are None where a score is
    undefined; standard deviations are those of a sample (n - 1), 0 for a single run.
    """

    line: str
    value: str
    runs: tuple[str, ...]
    scores: dict[str, tuple[float | None, ...]]
    mean: dict[str, float | None]
    sd: dict[str, float | None]


class Frontier(Spec, tag="frontier"):
    """What `frontier.json` holds: what varies along the lines of each recipe, rows by line and rising value, and references."""

    along: dict[str, str]
    rows: tuple[FrontierRow, ...]
    references: dict[str, tuple[ReferencePoint, ...]]

    def lines(self) -> dict[str, list[FrontierRow]]:
        """The rows of each line."""
        results: dict[str, list[FrontierRow]] = {}
        for row in self.rows:
            results.setdefault(row.line, []).append(row)
        return results


def frontier_of(results: Sequence[SweepResult]) -> Frontier:
    """A row per recipe, coder and overrides, seeds together; points of a line differ in their recipe's first override, of numbers
    if there is one.

    Raises ValueError without results.
    """
    if not results:
        raise ValueError("results is empty; expected at least one finished run")
    along: dict[str, str] = {}
    for result in results:
        paths = [path for path in result.overrides if path != SEED]
        first = next((path for path in paths if _is_number(result.overrides[path])), paths[0] if paths else "")
        along[result.recipe] = along.get(result.recipe) or first
    differ = {recipe: _differing([r.fixed for r in results if r.recipe == recipe]) for recipe in along}
    ranges = {
        f"{score.data_range:.3g}" for result in results for score in result.scores.values() if score.psnr is not None
    }
    grouped: dict[str, dict[str, tuple[Any, list[tuple[str, Score]]]]] = {}
    for result in results:
        axis = along[result.recipe]
        changed = {**{path: result.fixed.get(path) for path in differ[result.recipe]}, **result.overrides}
        further = [_further(path, value, changed) for path, value in changed.items() if path not in (axis, SEED)]
        value = result.overrides.get(axis, "")
        label = f"{value:.4g}" if isinstance(value, float) else str(value)
        label = named(axis, value, changed) if isinstance(value, dict) else label
        for coder, score in result.scores.items():
            spans = [f"data range {score.data_range:.3g}"] if len(ranges) > 1 else []  # what PSNR is measured by
            line = grouped.setdefault(", ".join([result.recipe, *further, *spans, coder]), {})
            line.setdefault(label, (value, []))[1].append((result.run, score))
    rows: list[FrontierRow] = []
    for name, points in grouped.items():
        ordered = sorted(
            points.items(), key=lambda item: item[1][0] if isinstance(item[1][0], int | float) else math.inf
        )
        rows += [_row(name, label, scored) for label, (_, scored) in ordered]
    return Frontier(along, tuple(rows), {})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _further(path: str, value: Any, changed: dict[str, Any]) -> str:
    return named(path, value, changed) if isinstance(value, dict) else f"{path}={value}"


def _differing(changes: Sequence[dict[str, Any]]) -> list[str]:
    """The paths that were not given the same value in all of them: runs of different sweeps in one folder."""
    paths = dict.fromkeys(path for change in changes for path in change)
    return [path for path in paths if any(change.get(path) != changes[0].get(path) for change in changes)]


def _row(line: str, value: str, scored: Sequence[tuple[str, Score]]) -> FrontierRow:
    scores: dict[str, tuple[float | None, ...]] = {
        name: tuple(getattr(score, name) for _, score in scored) for name in QUANTITIES
    }
    moments = {name: _moments(values) for name, values in scores.items()}
    return FrontierRow(
        line=line,
        value=value,
        runs=tuple(run for run, _ in scored),
        scores=scores,
        mean={name: mean for name, (mean, _) in moments.items()},
        sd={name: sd for name, (_, sd) in moments.items()},
    )


def _moments(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None, None
    return statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else 0.0


@torch.no_grad()
def reference_curves(frontier: Frontier, root: Path, seed: int = 0) -> dict[str, tuple[ReferencePoint, ...]]:
    """PCA, random dictionaries of as many atoms as the largest model, and pursuit with a learned dictionary.

    At eight numbers of active codes from the least to the largest mean L0 of the rows, on at most 2 000 test samples. The
    learned dictionary is that of the run of median L0 among those with a linear decoder, its codes >= 0 if the run's are.
    Raises ValueError for runs on different data, or if no run has a mean L0 between 0 and the number of features.
    """
    names = list(dict.fromkeys(run for row in frontier.rows for run in row.runs))
    configs = [RunFolder(root / name).config() for name in names]
    if len({msgspec.json.encode(plain(config.data)) for config in configs}) > 1:
        raise ValueError(
            "runs have different data, so that no reference stands for all; sweep one data source at a time"
        )
    splits = configs[0].data.load()
    RunFolder(root / names[0]).check_data(splits)
    width = math.prod(splits.shape)
    counts = [count for row in frontier.rows for count in row.scores["l0"] if count is not None and 0 < count < width]
    if not counts:
        raise ValueError(
            f"no run has a mean L0 between 0 and {width}, the number of features; no reference has one either"
        )
    l0s = sorted({float(k) for k in np.geomspace(min(counts), max(counts), POINTS)})
    test = (
        splits.test
        if splits.test.n <= SAMPLES
        else splits.test.take(torch.linspace(0, splits.test.n - 1, SAMPLES).long())
    )
    n_code = max(config.model.n_code for config in configs)
    result = references(splits.train.x, n_code, seed)
    for name in _by_l0(frontier):
        model = RunFolder(root / name).best_model()
        try:
            atoms, bias = dictionary_of(model, data_space=True)
        except ValueError:  # not linear
            continue
        positive = bool((model.encode(test.x[:100].to(atoms)) >= 0).all())
        result[f"dictionary of {name}, OMP"] = by_pursuit(atoms, bias, positive)
        break
    return {
        name: tuple(reference_scores(approximate, test, splits.data_range, l0s)) for name, approximate in result.items()
    }


def _by_l0(frontier: Frontier) -> list[str]:
    """Runs, the one of median L0 first, then by distance from it."""
    counts = {
        run: count
        for row in reversed(frontier.rows)
        for run, count in zip(row.runs, row.scores["l0"], strict=True)
        if count is not None
    }
    middle = sorted(counts.values())[len(counts) // 2]
    return sorted(counts, key=lambda run: abs(counts[run] - middle))
