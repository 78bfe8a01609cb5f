"""`sparsecode eval` and `sparsecode plot`."""

from __future__ import annotations

import msgspec

from sparsecode.cli.arguments import UsageError, scoring, using
from sparsecode.cli.console import Console
from sparsecode.cli.paths import refuse_to_overwrite, run_labels
from sparsecode.cli.tables import print_evaluation
from sparsecode.evaluate.evaluation import evaluate_model
from sparsecode.files import write_atomic
from sparsecode.runner import draw
from sparsecode.runs import RunFolder
from sparsecode.specs import to_json

__all__ = ["eval_command", "plot_command"]


def eval_command(asked: scoring.EvalArguments) -> None:
    """Score the run's best model."""
    run, split, sigmas, unit, theta, json, force, moved = asked
    folder = RunFolder(run)
    config, console = folder.config(), Console()
    given = {name: value for name, value in (("sigmas", sigmas), ("unit", unit), ("theta", theta)) if value is not None}
    try:
        how = msgspec.structs.replace(config.evaluate, **given)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if json is not None:
        refuse_to_overwrite("--json", json, force)
    model, splits = folder.best_model(), folder.splits(moved)
    (label,) = run_labels((run,), console)
    calibration = folder.provenance().calibration
    evaluation = evaluate_model(model, splits, how, config.seed, split, calibration)
    print_evaluation(console, evaluation, f"{label}:")
    if json is not None:
        write_atomic(json, to_json(evaluation))
        console.print(f"scores {json}", highlight=False)


def plot_command(asked: using.PlotArguments) -> None:
    """Draw the run's figures again."""
    run, moved = asked
    folder = RunFolder(run)
    config = folder.config()
    splits = folder.splits(moved)
    console = Console()
    run_labels((run,), console)
    for path in draw(folder, folder.best_model(), splits, config):
        console.print(str(path), highlight=False, soft_wrap=True)
