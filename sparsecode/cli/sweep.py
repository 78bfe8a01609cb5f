"""`sparsecode sweep`: a grid of changes over recipes."""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from sparsecode.cli.options import UsageError
from sparsecode.cli.processes import Terminated, terminable
from sparsecode.files import save_atomic
from sparsecode.plots import FrontierPoint, sparsity_frontier
from sparsecode.sweeps import RESULTS, Axis, Job, Outcome, SweepResult, jobs_of, processes, read_results, serial, sweep
from sparsecode.train.observers import Observer, ProgressBar

__all__ = ["sweep_command"]

PICTURE = "frontier.png"
SEED = "seed"

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
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
) -> int:
    """Train every combination of values for every recipe; the same command goes on where it was.

    Writes a run folder each, results.jsonl (a line per finished run) and frontier.png (sparsity against reconstruction).

    Args:
        recipes: names of recipes
        over: what varies; 2x stands for twice the recipe's own value; give it again for another path
        set: a change in all runs, such as train.epochs=5; give it again for another one
        out: folder of the run folders
        processes: how many runs at a time
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
        _report(results, out, console)
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


def _report(results: list[SweepResult], out: Path, console: Console) -> None:
    along = next((path for path in results[0].overrides if path != SEED), "")
    lines = _lines(results, along)
    table = Table(box=box.SIMPLE, title="test split; mean over seeds", title_justify="left")
    table.add_column("runs, codes by", overflow="fold")
    for column in (along.rpartition(".")[2] or "-", "seeds", "L0", "PSNR dB", "EV", "dead"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, points in lines.items():
        for point, dead in points:
            cells = [f"{np.mean(values):.{digits}f}" for values, digits in zip(point[1:], (2, 2, 4), strict=True)]
            table.add_row(name, point.label, str(len(dead)), *cells, f"{np.mean(dead):.1f}")
    console.print(table)
    figure = sparsity_frontier({n: [p for p, _ in points] for n, points in lines.items()}, along, out.name)
    save_atomic(out / PICTURE, lambda file: figure.savefig(file, dpi=120))
    for what, path in (("results", out / RESULTS), ("picture", out / PICTURE)):
        console.print(f"{what:8} {path}", highlight=False, soft_wrap=True)


def _lines(results: list[SweepResult], along: str) -> dict[str, list[tuple[FrontierPoint, list[int]]]]:
    """Points by line: a line per recipe, coder and further override, a point per value of `along`, seeds together."""
    grouped: dict[str, dict[str, tuple[Any, list[Any]]]] = {}
    for result in results:
        further = [f"{path}={value}" for path, value in result.overrides.items() if path not in (along, SEED)]
        value = result.overrides.get(along, "")
        label = f"{value:.4g}" if isinstance(value, float) else str(value)
        for coder, score in result.scores.items():
            line = grouped.setdefault(", ".join([result.recipe, *further, coder]), {})
            line.setdefault(label, (value, []))[1].append(score)
    found: dict[str, list[tuple[FrontierPoint, list[int]]]] = {}
    for name, points in grouped.items():
        ordered = sorted(
            points.items(), key=lambda item: item[1][0] if isinstance(item[1][0], int | float) else math.inf
        )
        found[name] = [
            (
                FrontierPoint(
                    label,
                    [s.l0 for s in scores],
                    [s.psnr for s in scores],
                    [math.nan if s.explained_variance is None else s.explained_variance for s in scores],
                ),
                [s.dead for s in scores],
            )
            for label, (_, scores) in ordered
        ]
    return found
