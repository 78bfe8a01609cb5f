"""`sparsecode eval` and `plot`: what one does with a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import tyro
from rich.console import Console

from sparsecode.cli.options import UsageError
from sparsecode.cli.outputs import refuse_to_overwrite
from sparsecode.cli.tables import denoising_table, restored_table, scores_table
from sparsecode.evaluate.denoise import NoiseUnit
from sparsecode.files import write_atomic
from sparsecode.runner import draw, evaluate_model
from sparsecode.runs import RunFolder
from sparsecode.specs import to_json

__all__ = ["eval_command", "plot_command"]

RunPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="run folder", metavar="RUN")]


def eval_command(argv: list[str]) -> int:
    tyro.cli(_eval, args=argv, prog="sparsecode eval")
    return 0


def plot_command(argv: list[str]) -> int:
    tyro.cli(_plot, args=argv, prog="sparsecode plot")
    return 0


def _eval(
    run: RunPath,
    /,
    split: Literal["test", "valid", "train"] = "test",
    sigmas: tuple[float, ...] | None = None,
    unit: NoiseUnit | None = None,
    theta: float | None = None,
    json: Path | None = None,
    force: bool = False,
) -> None:
    """Score the run's best model.

    Args:
        run: run folder
        split: which samples
        sigmas: noise levels; default those of the run
        unit: sigma in the model's normalised input, or in fractions of the data range
        theta: a code is active above this magnitude
        json: also write the scores to this file
        force: write over an existing file
    """
    folder = RunFolder(run)
    config, console = folder.config(), Console()
    asked = {name: value for name, value in (("sigmas", sigmas), ("unit", unit), ("theta", theta)) if value is not None}
    try:
        how = msgspec.structs.replace(config.evaluate, **asked)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if json is not None:
        refuse_to_overwrite("--json", json, force)
    model, splits = folder.best_model(), config.data.load()
    folder.check_data(splits)
    state = folder.state()
    if state is not None and state.step < state.total_steps:
        console.print(f"{run} is unfinished, at step {state.step} of {state.total_steps}", highlight=False)
    evaluation = evaluate_model(model, splits, how, config.seed, split)
    console.print(scores_table(evaluation, f"{run.name}:"))
    if any(evaluation.denoising.values()):
        console.print(denoising_table(evaluation))
    if evaluation.restored is not None:
        console.print(restored_table(evaluation.restored))
    for warning in evaluation.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)
    if json is not None:
        write_atomic(json, to_json(evaluation))
        console.print(f"scores {json}", highlight=False)


def _plot(run: RunPath, /) -> None:
    """Draw the run's figures again.

    Args:
        run: run folder
    """
    folder = RunFolder(run)
    config = folder.config()
    splits = config.data.load()
    folder.check_data(splits)
    for path in draw(folder, folder.best_model(), splits, config):
        Console().print(str(path), highlight=False, soft_wrap=True)
