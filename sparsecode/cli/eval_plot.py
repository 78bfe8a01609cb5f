"""`sparsecode eval` and `sparsecode plot`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sparsecode.cli.arguments import UsageError, option_error, scoring, using
from sparsecode.cli.console import Console
from sparsecode.cli.paths import refuse_to_overwrite, run_labels
from sparsecode.cli.tables import print_evaluation
from sparsecode.evaluate.evaluation import evaluate_model
from sparsecode.files import write_atomic
from sparsecode.runs import RunFolder
from sparsecode.specs import to_json

__all__ = ["eval_command", "plot_command"]


def eval_command(args: scoring.EvalArguments) -> None:
    """Score the run's best model."""
    run, split, sigmas, unit, theta, json, force, moved = args
    folder = RunFolder(run)
    config, console = folder.config(), Console()
    given = {name: value for name, value in (("sigmas", sigmas), ("unit", unit), ("theta", theta)) if value is not None}
    try:
        settings = msgspec.structs.replace(config.evaluate, **given)
    except ValueError as error:
        raise option_error(error) from None
    if json is not None:
        refuse_to_overwrite("--json", json, force, scores=True)
    model, splits = folder.best_model(), folder.splits(moved)
    (label,) = run_labels((run,), console)
    calibration = folder.provenance().calibration
    evaluation = evaluate_model(model, splits, settings, config.seed, split, calibration)
    print_evaluation(console, evaluation, f"{label}:")
    if json is not None:
        write_atomic(json, to_json(evaluation))
        console.print(f"scores {json}", highlight=False)


def plot_command(args: using.PlotArguments) -> None:
    """Draw the run's figures again, or one sample in the codes of several runs."""
    from sparsecode.reports.run_figures import draw  # matplotlib is slow to import

    run, others, sample, coder, out, atoms, moved = args
    if others or sample is not None:
        _plot_beside((run, *others), args)
        return
    if coder is not None or out != using.PlotArguments(run).out:
        raise UsageError("--coder and --out are for figures of several runs, or of one --sample; leave them out")
    folder = RunFolder(run)
    config = folder.config()
    splits = folder.splits(moved)
    console = Console()
    run_labels((run,), console)
    for path in draw(folder, folder.best_model(), splits, config, atoms):
        console.print(str(path), highlight=False, soft_wrap=True)


def _plot_beside(paths: tuple[Path, ...], args: using.PlotArguments) -> None:
    from sparsecode.plots.saving import save_figure
    from sparsecode.reports import codes_beside

    console, folders = Console(), [RunFolder(path) for path in paths]
    if args.out.suffix != ".png":
        raise UsageError(f"--out {args.out}: expected a name that ends in .png")
    refuse_to_overwrite("--out", args.out, force=True)
    labels = run_labels(paths, console)
    splits = folders[0].splits(args.data_path)
    trained_on = [folder.provenance().data for folder in folders]
    for path, data in zip(paths, trained_on, strict=True):
        if data != trained_on[0]:
            raise UsageError(f"{path}: trained on other samples than {paths[0]}; expected runs on the same data")
    models = {label: folder.best_model() for label, folder in zip(labels, folders, strict=True)}
    try:
        figure = codes_beside(models, splits, args.sample, args.coder)
    except ValueError as error:
        raise UsageError(str(error)) from None
    save_figure(args.out, figure)
    console.print(str(args.out), highlight=False, soft_wrap=True)
