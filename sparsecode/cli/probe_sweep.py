"""`sparsecode probe --sweep`: accuracies of the runs of a sweep, along one of its axes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from sparsecode.cli.options import UsageError
from sparsecode.cli.tables import with_deviation
from sparsecode.evaluate.probes.probe import ProbePoint, ProbeResult
from sparsecode.plots.probe import AccuracyPoint, accuracy_over
from sparsecode.runs import RunFolder
from sparsecode.sweeps import read_results

__all__ = ["FigurePlace", "Swept", "points_of", "read_sweep", "swept_figure", "swept_table"]


class Swept(NamedTuple):
    """A finished run of a sweep: its folder, the label of its line, and its value on the axis."""

    path: Path
    line: str
    at: float


class FigurePlace(NamedTuple):
    """Where features stand in the picture: on a line, at one value or, for those that are the same for all, at several."""

    line: str
    at: tuple[float, ...]


def read_sweep(folder: Path, over: str) -> list[Swept]:
    """The finished runs. Raises UsageError if there are none, or if `over` is no number in a config."""
    results: list[Swept] = []
    for result in read_results(folder):
        path = folder / result.run
        value: Any = msgspec.to_builtins(RunFolder(path).config())
        for part in over.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"--over {over}: {path} has {value!r} there; expected a number, such as model.n_code")
        rest = [f"{key}={given}" for key, given in result.overrides.items() if key not in (over, "seed")]
        results.append(Swept(path, ", ".join([result.recipe, *rest]), float(value)))
    if not results:
        raise UsageError(f"--sweep {folder}: no finished runs there; expected the folder of `sparsecode sweep --out`")
    return results


def points_of(results: Iterable[ProbeResult], places: Mapping[str, FigurePlace]) -> tuple[ProbePoint, ...]:
    """Accuracies by line, value and number of labels, of all subsets of all runs there; the standard deviation is over all of them."""
    grouped: dict[tuple[str, float, int], list[float]] = {}
    for result in results:
        if (place := places.get(result.features)) is not None:
            for at in place.at:
                grouped.setdefault((place.line, at, result.labels_per_class), []).extend(result.test)
    return tuple(
        ProbePoint(
            line,
            at,
            labels,
            tuple(values),
            statistics.fmean(values),
            statistics.stdev(values) if len(values) > 1 else 0.0,
        )
        for (line, at, labels), values in sorted(grouped.items(), key=lambda item: item[0][1:])
    )


def swept_figure(points: Iterable[ProbePoint], over: str) -> Figure:
    """A panel per number of labels."""
    panels: dict[int, dict[str, list[AccuracyPoint]]] = {}
    for p in points:
        panels.setdefault(p.labels_per_class, {}).setdefault(p.line, []).append(AccuracyPoint(p.at, p.mean, p.sd))
    titled = {f"{labels} labels per class": lines for labels, lines in panels.items()}
    return accuracy_over(titled, over)


def swept_table(points: Iterable[ProbePoint], over: str) -> Table:
    """A row per line and number of labels, a column per value."""
    results = {(p.line, p.labels_per_class, p.at): p for p in points}
    table = Table(box=box.SIMPLE, title=f"test accuracy in per cent, by {over}", title_justify="left")
    table.add_column("features", overflow="fold")
    table.add_column("labels", justify="right")
    values = sorted({at for _, _, at in results})
    for at in values:
        table.add_column(f"{at:g}", justify="right", no_wrap=True)
    for line, labels in dict.fromkeys((line, labels) for line, labels, _ in results):
        cells = [results.get((line, labels, at)) for at in values]
        table.add_row(
            line,
            str(labels),
            *("" if p is None else with_deviation(100 * p.mean, 100 * p.sd, len(p.values), 1) for p in cells),
        )
    return table
