"""`sparsecode forgetting`: accuracy on earlier tasks after continual learning."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from sparsecode.cli.arguments import UsageError, scoring
from sparsecode.cli.console import Console
from sparsecode.cli.paths import refuse_file, run_names
from sparsecode.data.class_tasks import ClassTasks
from sparsecode.evaluate.networks.forgetting import ForgettingScores, forgetting
from sparsecode.losses.task import Classify
from sparsecode.plots.forgetting import forgetting_matrices
from sparsecode.plots.saving import save_figure
from sparsecode.runs import RunFolder

__all__ = ["forgetting_command"]


def forgetting_command(args: scoring.ForgettingArguments) -> None:
    """Accuracy on each group of classes after training on each (validation split), of runs whose data are class_tasks."""
    run, others, out = args
    refuse_file("--out", out)
    paths, console = (run, *others), Console()
    results = {name: read(path) for name, path in zip(run_names(paths), paths, strict=True)}
    if len({report.tasks for report in results.values()}) > 1:
        raise UsageError("the runs have other tasks, or in another order; give runs of the same ones")
    tasks = [" ".join(map(str, task)) for task in next(iter(results.values())).tasks]
    table = Table(title="accuracy after the last task, validation split", title_justify="left")
    for column in ("run", *tasks, "mean", "forgotten"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for name, report in results.items():
        cells = [f"{value:.1%}" for value in (*report.matrix[-1], report.accuracy, report.forgetting)]
        table.add_row(name, *cells)
    console.print(table)
    figure = forgetting_matrices(
        {name: report.matrix for name, report in results.items()}, tasks, "accuracy on earlier tasks"
    )
    path = (RunFolder(run).figures if out is None else out) / "forgetting.png"
    save_figure(path, figure)
    console.print(f"picture  {path}", highlight=False, soft_wrap=True)


def read(path: Path) -> ForgettingScores:
    """The accuracy matrix from the validations of a run. Raises UsageError for runs of other data, tasks that are not finished or not validated."""
    folder = RunFolder(path)
    config = folder.config()
    task = getattr(config.model, "task", None)
    if not isinstance(config.data, ClassTasks) or not isinstance(task, Classify):
        raise UsageError(f"{path}: expected a model that classifies on data of type class_tasks")
    n_classes = task.n_classes
    tasks = config.data.tasks(n_classes)
    state = folder.state()
    if state is None:
        raise UsageError(f"{path}: training has not begun to be saved; train it first")
    per_task = state.total_steps / config.train.epochs * config.data.epochs_per_task
    wanted = [round(per_task * (t + 1)) for t in range(len(tasks))]
    rows = {int(r["step"]): r for r in folder.metrics() if "encode/class_0" in r}
    missing = [step for step in wanted if step not in rows]
    if missing:
        raise UsageError(
            f"{path}: no validation at step {missing[0]}, the end of a task; train to the end of all {len(tasks)} tasks with "
            f"train.epochs {config.data.epochs_per_task * len(tasks)} and train.evaluate-every {config.data.epochs_per_task}"
        )
    return forgetting([[rows[step][f"encode/class_{c}"] for c in range(n_classes)] for step in wanted], tasks)
