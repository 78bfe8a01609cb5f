"""`sparsecode sweep`: a grid of changes over recipes."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from sparsecode.cli.arguments import UsageError, sweep_extract
from sparsecode.cli.console import Console
from sparsecode.cli.signals import Terminated, terminable
from sparsecode.cli.sweep_report import PICTURE, TABLE, report, report_experiment
from sparsecode.files import require_own
from sparsecode.named_sweeps import EXPERIMENTS, Experiment
from sparsecode.recipes import RECIPES
from sparsecode.sweeps import (
    PREVIOUS,
    Axis,
    Backend,
    Job,
    Outcome,
    Start,
    jobs_of,
    processes,
    read_results,
    serial,
    shared,
    stacked,
    sweep,
)
from sparsecode.train.observers import Observer, ProgressBar

__all__ = ["sweep_command"]


def sweep_command(args: sweep_extract.SweepArguments) -> int:
    """Train every combination of values for every recipe, or an experiment; the same command resumes an interrupted sweep."""
    (
        names,
        over,
        set,
        epochs,
        out,
        backend,
        processes,
        references,
        accelerator,
        list,
        ray_address,
        ray_cpus,
        ray_gpus,
        figures,
        start_from,
        start_over,
        start_set,
    ) = args
    console = Console()
    if list:
        _list(console)
        return 0
    if not names:
        raise UsageError("which recipes, or which experiment? sparsecode recipes lists them")
    if processes < 1:
        raise UsageError(f"--processes {processes}: expected at least 1")
    experiment = _experiment(names)
    axes = _axes(experiment.over if experiment else (), over)
    start = _start(experiment, start_from, start_over, start_set)
    fixed = (
        *(experiment.fixed if experiment else ()),
        *set,
        *(() if epochs is None else (f"train.epochs={epochs:g}",)),
    )
    root = out or Path("runs") / (names[0] if experiment else "sweep")
    jobs = jobs_of(experiment.recipes if experiment else names, axes, fixed, root, figures, start)
    if experiment:
        varied = " and ".join(
            [*(f"start.{axis.path}" for axis in (start.axes if start else ())), *(a.path for a in axes)]
        )
        console.print(f"experiment {names[0]}: {len(jobs)} runs, over {varied}", highlight=False, soft_wrap=True)
    require_own(*(root / name for name in (TABLE, PICTURE, *([f"{names[0]}.png"] if experiment else []))))
    backend_used = _backend(jobs, backend, processes, accelerator, console, (ray_address, ray_cpus, ray_gpus))
    failed: dict[str, Outcome] = {}
    stopped: int | None = None
    try:
        with terminable():
            for number, outcome in enumerate(sweep(jobs, root, backend_used), start=1):
                _tell(outcome, number, len(jobs), console)
                failed |= {outcome.job.folder.name: outcome} if outcome.problem else {}
                if outcome.evaluation is None and not outcome.problem:
                    stopped = 128 + signal.SIGINT
    except Terminated as stop:
        stopped = stop.code
    if results := read_results(root):
        report(results, root, references, console)
        swept = {job.folder.name for job in jobs if not experiment or experiment.x in job.overrides}
        if experiment and (chosen := [result for result in results if result.run in swept]):
            try:
                report_experiment(experiment, names[0], chosen, root, console)
            except ValueError as problem:  # runs whose models do not have the quantity
                console.print(f"no picture of {names[0]}: {problem}", highlight=False, markup=False, soft_wrap=True)
    for outcome in failed.values():
        console.print(
            f"failed   {outcome.job.folder}: {outcome.problem}", highlight=False, markup=False, soft_wrap=True
        )
    if stopped is not None:
        if console.quiet:  # standard output was closed
            console, stopped = Console(stderr=True), 128 + 13
        console.print("stopped; finished work is saved. Run the same command to resume.", highlight=False)
        return stopped
    return 1 if failed else 0


def _list(console: Console) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    for name, experiment in EXPERIMENTS.items():
        table.add_row(Text(name, "bold"), f"{experiment.title}: {', '.join(experiment.recipes)}")
        table.add_row("", Text(experiment.about, "dim"))
    console.print(table)


def _experiment(names: Sequence[str]) -> Experiment | None:
    if len(names) > 1 and all(name in RECIPES for name in names):
        return None  # some experiments are named after the one recipe that they vary
    chosen = [name for name in names if name in EXPERIMENTS]
    if chosen and len(names) > 1:
        raise UsageError(
            f"{chosen[0]} is an experiment, and other names are given with it; expected one experiment, or recipes"
        )
    if unknown := [name for name in names if name not in RECIPES and name not in EXPERIMENTS]:
        raise UsageError(
            f"no recipe {unknown[0]!r}; choose from {', '.join(RECIPES)}; or experiments: {', '.join(EXPERIMENTS)}"
        )
    return EXPERIMENTS[chosen[0]] if chosen else None


def _axes(presets: Sequence[str], over: Sequence[str]) -> list[Axis]:
    """The `usual` axes, with those of `over` replacing axes of the same path or appended."""
    axes = {axis.path: axis for axis in map(Axis.parse, presets)}
    given = [Axis.parse(text) for text in over]
    return [*(axes | {axis.path: axis for axis in given}).values()] if presets else given


def _start(
    experiment: Experiment | None, recipe: str | None, over: Sequence[str], set: tuple[str, ...]
) -> Start | None:
    """What runs start from: as asked for, or as the experiment says."""
    presets = experiment.start if experiment else None
    recipe = recipe or (presets and presets.recipe)
    if recipe is None or recipe == PREVIOUS:
        if over or set:
            raise UsageError(
                f"--start-over and --start-set are of runs that are trained first, and --start-from is {recipe}; expected a recipe there"
            )
        return recipe and Start(recipe)
    if recipe not in RECIPES:
        raise UsageError(
            f"--start-from {recipe}: expected {PREVIOUS} or a recipe, one of {', '.join(RECIPES)}; to start from a run that is "
            'there: --set init_from=\'{"run":"FOLDER"}\''
        )
    return Start(recipe, _axes(presets.over if presets else (), over), (*(presets.fixed if presets else ()), *set))


def _backend(
    jobs: Sequence[Job],
    name: sweep_extract.BackendName,
    n: int,
    accelerator: str,
    console: Console,
    ray: tuple[str | None, float, float],
) -> Backend:
    def tell(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    def watch(job: Job) -> list[Observer]:
        console.print(job.folder.name, style="bold", highlight=False)
        return [ProgressBar(console)]

    def watch_stack(stack: Sequence[Job]) -> list[Observer]:
        tell(f"{len(stack)} runs in one stack; the validations shown are of {stack[0].folder.name}")
        return [ProgressBar(console)]

    def watch_group(group: Sequence[Job]) -> list[Observer]:
        tell(f"{len(group)} runs on one stream of batches; the validations shown are of {group[0].folder.name}")
        return [ProgressBar(console)]

    if name == "ray":
        from sparsecode.sweeps.ray import on_ray

        address, cpus, gpus = ray
        return on_ray(address, cpus, gpus, accelerator)
    if name == "stacked":
        return stacked(processes(n, accelerator), accelerator, watch_stack, tell)
    if name == "shared":
        return shared(accelerator, watch_group)
    if name == "processes" or (name == "auto" and n > 1):
        tell(f"{len(jobs)} runs, {n} at a time")
        return processes(n, accelerator)
    return serial(watch, accelerator)


def _tell(outcome: Outcome, number: int, total: int, console: Console) -> None:
    words = "stopped"
    if outcome.problem:
        words = f"failed: {outcome.problem.splitlines()[0]}"
    elif outcome.evaluation is not None:
        name, first = next(iter(outcome.evaluation.scores.items()))
        reached = f"accuracy {first.accuracy:.4f}" if first.psnr is None else f"PSNR {first.psnr:.2f} dB"
        words = f"{name}: {reached}, L0 {first.l0:.2f}"
    console.print(
        f"{number} of {total}  {outcome.job.folder.name}  {words}", highlight=False, markup=False, soft_wrap=True
    )
