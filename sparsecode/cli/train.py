"""`sparsecode train`."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from sparsecode.cli.options import UsageError, assign, options_of, with_options
from sparsecode.cli.tables import denoising_table, scores_table
from sparsecode.recipes import RECIPES
from sparsecode.runner import Result, RunConflictError, run
from sparsecode.runs import Run, RunFolder
from sparsecode.train.observers import Observer, ProgressBar, TensorBoard

__all__ = ["train_command"]

WATCHED = ("/objective", "/psnr", "/l0")


@dataclasses.dataclass
class Place:
    """Where and on what to train; none of it changes the experiment."""

    out: Annotated[Path | None, tyro.conf.arg(help="run folder; default runs/RECIPE")] = None
    set: Annotated[
        tuple[str, ...],
        tyro.conf.arg(help="PATH=JSON: any part of the config, whole variants too", metavar="PATH=JSON"),
    ] = ()
    accelerator: Annotated[str, tyro.conf.arg(help="auto, cpu, cuda or mps")] = "auto"
    devices: Annotated[str, tyro.conf.arg(help="how many, or auto; several train as one (DDP)")] = "auto"
    tensorboard: Annotated[bool, tyro.conf.arg(help="also write TensorBoard files (extra [tensorboard])")] = False


@dataclasses.dataclass
class Resume(Place):
    """Go on with an interrupted run, with the config stored in it."""

    resume: Annotated[Path, tyro.conf.arg(help="the run folder")] = Path()


def train_command(argv: list[str]) -> int:
    """Train a recipe into a folder, or go on there."""
    console = Console()
    if any(a == "--resume" or a.startswith("--resume=") for a in argv):
        place = tyro.cli(Resume, args=argv, prog="sparsecode train", description=Resume.__doc__)
        if place.set or place.out:
            raise UsageError("--resume takes the stored config: --set and --out do not go with it")
        return _train(RunFolder(place.resume).config(), place.resume, place, console)
    if not argv or argv[0] in ("-h", "--help"):
        console.print(
            "usage: sparsecode train RECIPE [--out FOLDER] [OPTIONS]\n"
            "       sparsecode train --resume FOLDER\n\n"
            f"recipes: {', '.join(RECIPES)}\n"
            "Each has its own options, one per number in its config: sparsecode train RECIPE --help",
            highlight=False,
            markup=False,
        )
        return 0
    name, *rest = argv
    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}; there is {', '.join(RECIPES)}")
    config = assign(RECIPES[name](), _assignments(rest))
    options: Any = dataclasses.make_dataclass("Options", [], bases=(options_of(config), Place))
    options.__doc__ = (RECIPES[name].__doc__ or "").split("\n")[0]
    chosen = tyro.cli(options, args=rest, prog=f"sparsecode train {name}", config=(tyro.conf.FlagConversionOff,))
    config = with_options(config, _only_config(chosen, config))
    return _train(config, chosen.out or Path("runs") / name, chosen, console)


def _assignments(argv: list[str]) -> tuple[str, ...]:
    """What follows --set in argv: read first, because it can change which options there are."""
    found: list[str] = []
    taking = False
    for word in argv:
        if word.startswith("--"):
            taking = word == "--set"
        elif taking:
            found.append(word)
    return tuple(found)


def _only_config(chosen: Any, config: Run) -> Any:
    fields = [f for f in dataclasses.fields(chosen) if f.name in config.__struct_fields__]
    made = dataclasses.make_dataclass("Chosen", [(f.name, Any) for f in fields])
    return made(**{f.name: getattr(chosen, f.name) for f in fields})


def _train(config: Run, out: Path, place: Place, console: Console) -> int:
    folder = RunFolder(out)
    before = folder.state() if folder.exists else None
    if before is not None and before.step < before.total_steps:
        console.print(f"going on with {out} at step {before.step} of {before.total_steps}", highlight=False)
    observers: list[Observer] = [ProgressBar(console, WATCHED)]
    if place.tensorboard:
        observers.append(TensorBoard(out / "tensorboard"))
    devices = int(place.devices) if place.devices.isdigit() else place.devices
    done = before is not None and before.step >= before.total_steps and folder.evaluation() is not None
    try:
        result = run(config, out, observers=observers, accelerator=place.accelerator, devices=devices)
    except RunConflictError as conflict:
        raise RunConflictError(
            f"{conflict}\nNothing was changed. Choose another folder with --out {_free_name(out)}"
            + (f", or go on with the run as it is: sparsecode train --resume {out}" if folder.exists else "")
        ) from None
    if int(os.environ.get("LOCAL_RANK", 0)) > 0:
        return 0
    if result.state.stopped_by:
        console.print(
            f"stopped by {result.state.stopped_by} at step {result.state.step} of {result.state.total_steps}; all is "
            f"saved. To go on: sparsecode train --resume {out}",
            highlight=False,
            soft_wrap=True,
        )
        return 128 + (signal.SIGTERM if result.state.stopped_by == "SIGTERM" else signal.SIGINT)
    if done:
        console.print(f"{out} had already finished; to train anew: --out {_free_name(out)}", highlight=False)
    _report(result, console)
    return 0


def _free_name(out: Path) -> Path:
    number = 2
    while (candidate := out.with_name(f"{out.name}-{number}")).exists():
        number += 1
    return candidate


def _report(result: Result, console: Console) -> None:
    evaluation, state = result.evaluation, result.state
    if evaluation is None:
        return
    best = f" (best of {state.total_steps} steps: step {state.best.step})" if state.best else ""
    console.print(scores_table(evaluation, f"{result.folder.path.name}{best}:"))
    if any(evaluation.denoising.values()):
        console.print(denoising_table(evaluation))
    for what, path in (("model", result.folder.model), ("scores", result.folder.eval_file)):
        console.print(f"{what:8} {path}", highlight=False, soft_wrap=True)
    for path in result.figures:
        console.print(f"picture  {path}", highlight=False, soft_wrap=True)
