"""`sparsecode train`."""

from __future__ import annotations

import dataclasses
import shlex
import signal
from pathlib import Path
from typing import Any

from sparsecode.cli.arguments import parsed
from sparsecode.cli.arguments.train import Resume, TrainPlace, arguments_of, keep
from sparsecode.cli.console import Console
from sparsecode.cli.options import UsageError, named_variants, table_of, with_options
from sparsecode.cli.signals import Terminated, is_first_process, terminable
from sparsecode.cli.tables import print_evaluation
from sparsecode.hub import refuse_hub
from sparsecode.overrides import assign
from sparsecode.recipes import RECIPES, Recipe
from sparsecode.runner import RunConflictError, RunResult, run
from sparsecode.runs import Run, RunFolder
from sparsecode.train.observers import Observer, ProgressBar
from sparsecode.train.plan import UNREAD
from sparsecode.train.trackers import TRACKERS

__all__ = ["config_of", "train_command"]

PIPE = 13  # SIGPIPE, which Windows does not name


def train_command(argv: list[str]) -> int:
    """Train a recipe into a folder, or go on there."""
    console = Console()
    if argv and argv[0].partition("=")[0] == "--resume":
        place = parsed(Resume, argv, "sparsecode train")
        if place.set or place.out:
            raise UsageError("--resume takes the stored config: --set and --out do not go with it")
        return _train(RunFolder(place.resume).config(), place.resume, place, console, place.data_path)
    name, *rest = argv
    if name not in RECIPES:
        first = "the recipe comes first" if name.startswith("-") else f"no recipe {name!r}"
        raise UsageError(f"{first}; choose from {', '.join(RECIPES)}")
    if any(word.partition("=")[0] == "--resume" for word in rest):
        raise UsageError("--resume takes the stored config, not a recipe: sparsecode train --resume FOLDER")
    config, place = config_of(name, rest)
    return _train(config, place.out or Path("runs") / name, place, console)


def config_of(name: str, argv: list[str]) -> tuple[Run, TrainPlace]:
    """The config that a recipe and the options after its name give, and where it is to be trained."""
    config = assign(RECIPES[name](), _assignments(argv))
    rest, variants = named_variants(config, argv)
    config = assign(config, tuple(variants), "option")
    if rest in (["-h"], ["--help"]):
        keep({each: table_of(recipe(), _about(recipe)) for each, recipe in RECIPES.items()})
    options = arguments_of(table_of(config, _about(RECIPES[name])))
    chosen: Any = parsed(options, rest, f"sparsecode train {name}")
    return with_options(config, _only_config(chosen, config)), chosen


def _about(recipe: Recipe) -> str:
    return recipe.about.split("\n")[0]


def _assignments(argv: list[str]) -> tuple[str, ...]:
    """What follows --set in argv: read first, because it can change which options there are."""
    assignments: list[str] = []
    taking = False
    for word in argv:
        if word.startswith("--set="):
            assignments.append(word.removeprefix("--set="))
            taking = True
        elif word.startswith("--"):
            taking = word == "--set"
        elif taking:
            assignments.append(word)
    return tuple(assignments)


def _only_config(chosen: Any, config: Run) -> Any:
    fields = [f for f in dataclasses.fields(chosen) if f.name in config.__struct_fields__]
    made = dataclasses.make_dataclass("Chosen", [(f.name, Any) for f in fields])
    return made(**{f.name: getattr(chosen, f.name) for f in fields})


def _train(config: Run, out: Path, place: TrainPlace, console: Console, moved: Path | None = None) -> int:
    refuse_hub(out)
    folder = RunFolder(out)
    before = folder.state() if folder.exists else None
    observers: list[Observer] = [ProgressBar(console), *_trackers(place, out)]
    done = before is not None and before.finished and folder.evaluation() is not None and place.extend is None
    if before is not None and not done:
        extended = place.extend is not None and before.finished
        where = f"from step {before.step}" if extended else f"at step {before.step} of {before.total_steps}"
        doing = "extending" if extended else "going on with"
        console.print(f"{doing} {out} {where}", highlight=False, soft_wrap=True)
    try:
        with terminable():
            result = run(
                config,
                out,
                observers=observers,
                accelerator=place.accelerator,
                devices=place.devices,
                moved=moved,
                figures=place.figures,
                extend=place.extend,
            )
    except RunConflictError as conflict:
        raise RunConflictError(
            f"{conflict}\nNothing was changed. Choose another folder with --out {shlex.quote(str(_free_name(out)))}"
            + (f", or resume the run as it is: {_resume_command(out)}" if folder.exists else "")
        ) from None
    except Terminated as stop:
        if folder.begun:
            console.print(
                f"stopped outside training. To resume: {_resume_command(out)}", highlight=False, soft_wrap=True
            )
        return stop.code
    if not is_first_process():
        return 0
    if result.state.stopped_by:
        if console.quiet:  # standard output was closed
            console = Console(stderr=True)
        console.print(
            f"stopped by {result.state.stopped_by} at step {result.state.step} of {result.state.total_steps}; all is "
            f"saved. To resume: {_resume_command(out)}",
            highlight=False,
            soft_wrap=True,
        )
        return 128 + {"SIGTERM": signal.SIGTERM, UNREAD: PIPE}.get(result.state.stopped_by, signal.SIGINT)
    if result.state.ended:
        console.print(
            f"ended at step {result.state.step} of {result.state.total_steps}: {result.state.ended}",
            highlight=False,
            soft_wrap=True,
        )
    if done:
        console.print(
            f"{out} had already finished and was left as it is; to train anew: --out {_free_name(out)}",
            highlight=False,
            soft_wrap=True,
        )
    _report(result, console)
    return 0


def _trackers(place: TrainPlace, out: Path) -> list[Observer]:
    names = dict.fromkeys((*place.track, *(("tensorboard",) if place.tensorboard else ())))
    if unknown := [name for name in names if name not in TRACKERS]:
        raise UsageError(f"--track is {unknown[0]!r}; expected one of {', '.join(TRACKERS)}")
    return [TRACKERS[name](out / name) for name in names]


def _resume_command(out: Path) -> str:
    return f"sparsecode train --resume {shlex.quote(str(out))}"


def _free_name(out: Path) -> Path:
    number = 2
    while (candidate := out.with_name(f"{out.name}-{number}")).exists():
        number += 1
    return candidate


def _report(result: RunResult, console: Console) -> None:
    evaluation, state = result.evaluation, result.state
    if evaluation is None:
        return
    best = f" (best of {state.step} steps: step {state.best.step})" if state.best else ""
    print_evaluation(console, evaluation, f"{result.folder.path.name}{best}:")
    for what, path in (("model", result.folder.model), ("scores", result.folder.eval_file)):
        console.print(f"{what:8} {path}", highlight=False, soft_wrap=True)
    for path in result.figures:
        console.print(f"picture  {path}", highlight=False, soft_wrap=True)
