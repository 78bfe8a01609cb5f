"""`sparsecode sweep`: a grid of changes over recipes."""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from sparsecode.cli.options import UsageError
from sparsecode.cli.processes import Terminated, terminable
from sparsecode.evaluate.references import ReferencePoint
from sparsecode.files import save_atomic, write_atomic
from sparsecode.frontiers import Frontier, FrontierRow, frontier_of, reference_curves
from sparsecode.plots import FrontierPoint, sparsity_frontier
from sparsecode.specs import to_json
from sparsecode.sweeps import RESULTS, Axis, Job, Outcome, SweepResult, jobs_of, processes, read_results, serial, sweep
from sparsecode.train.observers import Observer, ProgressBar

__all__ = ["sweep_command"]

PICTURE, TABLE = "frontier.png", "frontier.json"

Assignments = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


def sweep_command(argv: list[str]) -> int:
    return tyro.cli(_sweep, args=argv, prog="sparsecode sweep")


def _sweep(
    recipes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")],
    /,
    over: Annotated[Assignments, tyro.conf.arg(metavar="PATH=V,V,...")] = (),
    set: Annotated[Assignments, tyro.conf.arg(metavar="PATH=JSON")] = (),
    out: Path = Path("runs/sweep"),
    processes: int = 1,
    references: bool = False,
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
) -> int:
    """Train every combination of values for every recipe; the same command goes on where it was.

    Writes a run folder each, results.jsonl (a line per finished run), frontier.json (means and deviations over seeds) and
    frontier.png (sparsity against reconstruction).

    Args:
        recipes: names of recipes
        over: what varies; 2x stands for twice the recipe's own value; give it again for another path
        set: a change in all runs, such as train.epochs=5; give it again for another one
        out: folder of the run folders
        processes: how many runs at a time
        references: also draw what PCA, random dictionaries and pursuit with a learned one reach at the same L0
        accelerator: auto: cuda where there is one, else cpu
    """
    if not recipes:
        raise UsageError("which recipes? sparsecode recipes lists them")
    if processes < 1:
        raise UsageError(f"--processes {processes}: expected at least 1")
    jobs = jobs_of(recipes, [Axis.parse(text) for text in over], set, out)
    console = Console()
    failed: list[Outcome] = []
    stopped: int | None = None
    try:
        with terminable():
            for number, outcome in enumerate(
                sweep(jobs, out, _backend(jobs, processes, accelerator, console)), start=1
            ):
                _tell(outcome, number, len(jobs), console)
                failed += [outcome] if outcome.problem else []
                if outcome.evaluation is None and not outcome.problem:
                    stopped = 128 + signal.SIGINT
    except Terminated as stop:
        stopped = stop.code
    if results := read_results(out):
        _report(results, out, references, console)
    for outcome in failed:
        console.print(
            f"failed   {outcome.job.folder}: {outcome.problem}", highlight=False, markup=False, soft_wrap=True
        )
    if stopped is not None:
        console.print("stopped; what was done is saved. The same command goes on.", highlight=False)
        return stopped
    return 1 if failed else 0


def _backend(jobs: Sequence[Job], n: int, accelerator: str, console: Console) -> Any:
    if n > 1:
        console.print(f"{len(jobs)} runs, {n} at a time", highlight=False)
        return processes(n, accelerator)

    def watch(job: Job) -> list[Observer]:
        console.print(f"[bold]{job.folder.name}[/bold]", highlight=False)
        return [ProgressBar(console, ())]

    return serial(watch, accelerator)


def _tell(outcome: Outcome, number: int, total: int, console: Console) -> None:
    words = "stopped"
    if outcome.problem:
        words = f"failed: {outcome.problem.splitlines()[0]}"
    elif outcome.evaluation is not None:
        name, first = next(iter(outcome.evaluation.scores.items()))
        words = f"{name}: PSNR {first.psnr:.2f} dB, L0 {first.l0:.2f}"
    console.print(
        f"{number} of {total}  {outcome.job.folder.name}  {words}", highlight=False, markup=False, soft_wrap=True
    )


def _report(results: list[SweepResult], out: Path, with_references: bool, console: Console) -> None:
    frontier = frontier_of(results)
    if with_references:
        try:
            with console.status("references at equal L0"):
                frontier = msgspec.structs.replace(frontier, references=reference_curves(frontier, out))
        except ValueError as problem:
            console.print(f"no references: {problem}", highlight=False, markup=False, soft_wrap=True)
    _print_table(frontier, console)
    points = {line: [_point(row) for row in rows] for line, rows in frontier.lines().items()}
    curves = {name: [_reference_point(p) for p in curve] for name, curve in frontier.references.items()}
    figure = sparsity_frontier(points, _varied(frontier), out.name, curves)
    write_atomic(out / TABLE, to_json(frontier))
    save_atomic(out / PICTURE, lambda file: figure.savefig(file, dpi=120))
    for what, path in (("results", out / RESULTS), ("table", out / TABLE), ("picture", out / PICTURE)):
        console.print(f"{what:8} {path}", highlight=False, soft_wrap=True)


def _varied(frontier: Frontier) -> str:
    return ", ".join(dict.fromkeys(path.rpartition(".")[2] for path in frontier.along.values() if path))


def _print_table(frontier: Frontier, console: Console) -> None:
    several = any(len(row.runs) > 1 for row in frontier.rows)
    title = "test split; mean over seeds" + (", and deviation" if several else "")
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
    return f"{mean:.{digits}f}" + (f"\n±{sd:.{digits}f}" if len(row.runs) > 1 else "")


def _point(row: FrontierRow) -> FrontierPoint:
    def values(name: str) -> list[float]:
        return [math.nan if value is None else value for value in row.scores[name]]

    return FrontierPoint(row.value, values("l0"), values("psnr"), values("explained_variance"))


def _reference_point(point: ReferencePoint) -> FrontierPoint:
    explained = math.nan if point.explained_variance is None else point.explained_variance
    return FrontierPoint("", [point.l0], [point.psnr], [explained])
