"""Tables and figures of a finished sweep."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich import box
from rich.table import Table

from sparsecode.cli.console import Console
from sparsecode.cli.tables import with_deviation
from sparsecode.evaluate.reconstruction.references import ReferencePoint
from sparsecode.files import write_atomic
from sparsecode.frontiers import Frontier, FrontierRow, frontier_of, reference_curves
from sparsecode.named_sweeps import Experiment
from sparsecode.plots import FrontierPoint, sparsity_frontier
from sparsecode.plots.saving import save_figure
from sparsecode.plots.sweep import SweepPoint, sweep_panels
from sparsecode.runs import RunFolder
from sparsecode.specs import to_json
from sparsecode.sweeps import RESULTS, SweepResult, by_meaning, curves_of

__all__ = ["PICTURE", "TABLE", "report", "report_experiment"]

PICTURE, TABLE = "frontier.png", "frontier.json"
WORDS = {
    "active_noisy": "mean share of units active, noise on",
    "active_clean": "mean share of units active, noise off",
    "active_fraction": "mean share of codes active",
    "elbo": "bound on log p(x), nats per sample",
    "explained_variance": "explained variance",
}


def report_experiment(
    experiment: Experiment, name: str, results: Sequence[SweepResult], out: Path, console: Console
) -> None:
    """The quantity that the experiment is about: a picture of it along its axis, a table and a panel per meaning that it has."""
    configs = {result.run: RunFolder(out / result.run).config() for result in results}
    groups = by_meaning(results, configs, experiment.x, experiment.y)
    across, quantity = experiment.x.rpartition(".")[2], experiment.y.rpartition(".")[2]
    quantity = WORDS.get(quantity, quantity)
    panels: dict[str, dict[str, list[SweepPoint]]] = {}
    for meaning, group in groups.items():
        lines = curves_of(group, experiment.x, experiment.y)
        what = f"{quantity} ({meaning})" if meaning else quantity
        console.print(f"{what}: mean over seeds, and least to greatest", highlight=False, markup=False, soft_wrap=True)
        table = Table(across, box=box.SIMPLE)
        for line in lines:
            table.add_column(line, justify="right", overflow="fold")
        for at in dict.fromkeys(at for line in lines.values() for at in line):
            table.add_row(str(at), *(_band(line.get(at, [])) for line in lines.values()))
        console.print(table)
        panels[meaning] = {
            line: [SweepPoint(at, values) for at, values in by_x.items()] for line, by_x in lines.items()
        }
    figure = sweep_panels(panels, across, quantity, experiment.title)
    picture = out / f"{name}.png"
    save_figure(picture, figure)
    console.print(f"{'picture':8} {picture}", highlight=False, soft_wrap=True)


def _band(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.4g}"
    return mean if len(values) == 1 else f"{mean}\n{min(values):.4g} to {max(values):.4g}"


def report(results: list[SweepResult], out: Path, with_references: bool, console: Console) -> None:
    """The frontier of all results: table and picture, and where they are."""
    frontier = frontier_of(results)
    if with_references:
        try:
            with console.status("references at equal L0"):
                frontier = msgspec.structs.replace(frontier, references=reference_curves(frontier, out))
        except ValueError as problem:
            console.print(f"no references: {problem}", highlight=False, markup=False, soft_wrap=True)
    _print_table(frontier, console)
    write_atomic(out / TABLE, to_json(frontier))
    written = {"results": out / RESULTS, "table": out / TABLE}
    lines = {line: [row for row in rows if row.mean["psnr"] is not None] for line, rows in frontier.lines().items()}
    points = {line: [_point(row) for row in rows] for line, rows in lines.items() if rows}
    if points:  # models that classify reconstruct nothing
        curves = {name: [_reference_point(p) for p in curve] for name, curve in frontier.references.items()}
        figure = sparsity_frontier(points, _varied(frontier), out.name, curves)
        save_figure(out / PICTURE, figure)
        written["picture"] = out / PICTURE
    for what, path in written.items():
        console.print(f"{what:8} {path}", highlight=False, soft_wrap=True)


def _varied(frontier: Frontier) -> str:
    return ", ".join(dict.fromkeys(path.rpartition(".")[2] for path in frontier.along.values() if path))


def _print_table(frontier: Frontier, console: Console) -> None:
    several = any(len(row.runs) > 1 for row in frontier.rows)
    title = "test split; mean over seeds" + (", and standard deviation" if several else "")
    table = Table(box=box.SIMPLE, title=title, title_justify="left")
    table.add_column("runs, codes by", overflow="fold")
    for column in (_varied(frontier) or "-", "seeds", "L0", "PSNR dB", "EV", "dead"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in frontier.rows:
        cells = [
            _cell(row, name, digits)
            for name, digits in (("l0", 2), ("psnr", 2), ("explained_variance", 4), ("dead", 1))
        ]
        table.add_row(row.line, row.value, str(len(row.runs)), *cells)
    console.print(table)


def _cell(row: FrontierRow, name: str, digits: int) -> str:
    mean, sd = row.mean[name], row.sd[name]
    if mean is None or sd is None:
        return "-"
    return with_deviation(mean, sd, len(row.runs), digits)


def _point(row: FrontierRow) -> FrontierPoint:
    def values(name: str) -> list[float]:
        return [math.nan if value is None else value for value in row.scores[name]]

    return FrontierPoint(row.value, values("l0"), values("psnr"), values("explained_variance"))


def _reference_point(point: ReferencePoint) -> FrontierPoint:
    explained = math.nan if point.explained_variance is None else point.explained_variance
    return FrontierPoint("", [point.l0], [point.psnr], [explained])
