"""Values over training steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

__all__ = ["training_curves"]

_NOT_CURVES = ("kind", "step", "seconds")


def training_curves(records: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """A panel per quantity of `metrics.jsonl`: training values and, with the same last name, validation ones.

    `records` have "kind" ("train" or "evaluate"), "step" and values, None for those undefined; validation names are
    `coder/quantity`.
    A steep start may leave a panel's frame, so that the rest can be read. Where some quantities have several values, those
    with one alone are left out: a dot is no curve.
    """
    series: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for record in records:
        for name, value in record.items():
            if name in _NOT_CURVES:
                continue
            coder, _, quantity = name.rpartition("/")
            line = "train" if record["kind"] == "train" else f"valid, {coder}" if coder else "valid"
            steps, values = series.setdefault(quantity, {}).setdefault(line, ([], []))
            steps.append(record["step"])
            values.append(math.nan if value is None else value)
    if not series:
        raise ValueError("records hold no values; expected the lines of a metrics.jsonl")
    curved = {q: lines for q, lines in series.items() if any(len(values) > 1 for _, values in lines.values())}
    series = curved or series
    columns = min(3, len(series))
    rows = -(-len(series) // columns)
    height = 2.5 * rows
    figure = Figure(figsize=(3.6 * columns, height))
    # by hand: a layout that is solved for takes seconds with as many panels
    figure.subplots_adjust(0.06, 0.55 / height, 0.99, 1 - 0.65 / height, wspace=0.25, hspace=0.45)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(series) :]:
        axes.set_axis_off()
    for axes, (quantity, lines) in zip(grid, series.items(), strict=False):
        for line, (steps, values) in lines.items():
            axes.plot(steps, values, label=line, linewidth=1, marker="." if len(values) < 20 else "")
        axes.set_ylim(*_frame([value for _, values in lines.values() for value in values]))
        axes.set_title(quantity.replace("_", " "), fontsize=10, y=1)  # to find a free place takes a third of the time
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=7)
    figure.suptitle(title, fontsize=10, y=1 - 0.1 / height)
    figure.supxlabel("optimiser step", fontsize=9, y=0.1 / height)
    return figure


def _frame(values: list[float]) -> tuple[float, float]:
    low, high = np.percentile([v for v in values if np.isfinite(v)] or [0.0], [1, 97])
    margin = 0.1 * (high - low) or 0.05 * abs(high) or 1.0
    return float(low - margin), float(high + margin)
