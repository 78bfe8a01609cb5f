"""A run's value among those of references at equal L0."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sparsecode.reports.document import FrontierPlot, FrontierSeries, RunReport
from sparsecode.reports.html.geometry import number

__all__ = ["RankedValue", "Ranking", "rankings"]


class RankedValue(NamedTuple):
    """A run or a reference: its name, its value, and whether it is the run."""

    label: str
    value: float
    run: bool


class Ranking(NamedTuple):
    """How many references a run's coder surpasses, in words, by which quantity, and all of them from best to worst.

    `ranks` is empty where L0 is so large that references reconstruct almost everything: then no rank says anything.
    """

    result: str
    quantity: str
    ranks: list[RankedValue]


def rankings(run: RunReport) -> list[Ranking]:
    """For each frontier of a run and each of its coders there, how it compares with the references at equal L0."""
    frontiers = run.measures.frontiers if run.measures is not None else ()
    return [
        ranking
        for frontier in frontiers
        for ranking in _rankings(frontier, math.prod(run.head.shape or (0,)), run.name)
    ]


def _rankings(frontier: FrontierPlot, features: int, name: str) -> list[Ranking]:
    references = [series for series in frontier.series if series.kind == "reference"]
    higher = frontier.better == "higher"
    result: list[Ranking] = []
    for series in frontier.series:
        if series.kind != "run" or not series.l0 or series.values[0] is None:
            continue
        l0, value = series.l0[0], series.values[0]
        beside = [RankedValue(other.label, at, False) for other in references if (at := _at(other, l0)) is not None]
        if not beside:
            continue
        unit = f" {frontier.unit}" if frontier.unit not in ("", "share") else ""
        quantity = f"{frontier.label} {number(value)}{unit} at L0 {number(l0)} (coder: {series.label})"
        if features and l0 >= features:
            words = f"with as many active codes as features ({features:,}) or more, references reconstruct almost everything"
            result.append(Ranking(f"No rank: {words}", quantity, []))
            continue
        surpassed = sum((value > other.value) == higher and value != other.value for other in beside)
        count = "no reference" if surpassed == 0 else f"{surpassed} of {len(beside)} references"
        if surpassed == len(beside):
            count = "the only reference" if surpassed == 1 else f"all {surpassed} references"
        ranks = sorted([RankedValue(name, value, True), *beside], key=lambda rank: rank.value, reverse=higher)
        result.append(Ranking(f"Better than {count}", quantity, ranks))
    return result


def _at(series: FrontierSeries, l0: float) -> float | None:
    """The value of a reference at this L0, between its points; None outside them."""
    points = sorted((a, b) for a, b in zip(series.l0, series.values, strict=True) if b is not None)
    if not points:
        return None
    x, y = np.array(points).T
    slack = 0.01 * max(l0, 1.0)
    return float(np.interp(l0, x, y)) if x[0] - slack <= l0 <= x[-1] + slack else None
