"""`sparsecode curves`: validation values of several runs over epochs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from sparsecode.cli.arguments import UsageError, comparing
from sparsecode.cli.console import Console
from sparsecode.cli.paths import refuse_file, refuse_to_overwrite, run_labels
from sparsecode.files import printable, write_atomic
from sparsecode.plots.curves import Course, curves_beside
from sparsecode.plots.saving import save_figure
from sparsecode.runs import RunFolder
from sparsecode.specs import Spec, to_json

__all__ = ["CurvesReport", "courses_of", "curves_command"]


class CurvesReport(Spec, tag="curves_report"):
    """What `--json` writes: folders of the runs by name, and by quantity and run the values at epochs."""

    runs: dict[str, str]
    curves: dict[str, dict[str, Course]]


def curves_command(args: comparing.CurvesArguments) -> None:
    """Draw validation values of several runs over epochs, a panel per quantity and a line per run."""
    run, others, of, json, out, force = args
    refuse_to_overwrite("--json", json, force)
    refuse_file("--out", out)
    paths, console = (run, *others), Console()
    names = run_labels(paths, console)
    courses = {name: courses_of(path) for name, path in zip(names, paths, strict=True)}
    common = [q for q in next(iter(courses.values())) if all(q in by_name for by_name in courses.values())]
    quantities = of or tuple(common)
    if unknown := [q for q in quantities if q not in common]:
        raise UsageError(
            f"--of {unknown[0]}: not in every run's validations; choose from {', '.join(common) or 'nothing: they have none in common'}"
        )
    if not quantities:
        raise UsageError("the runs' validations have no quantity in common; give runs of similar models")
    console.print(_last(courses, quantities))
    panels = {q: {name: by_name[q] for name, by_name in courses.items()} for q in quantities}
    path = (RunFolder(run).figures if out is None else out) / "curves_beside.png"
    save_figure(path, curves_beside(panels, "validation split"))
    console.print(f"picture  {path}", highlight=False, soft_wrap=True)
    if json is not None:
        folders = {n: printable(str(p)) for n, p in zip(names, paths, strict=True)}
        write_atomic(json, to_json(CurvesReport(folders, panels)))
        console.print(f"values   {json}", highlight=False, soft_wrap=True)


def courses_of(path: Path) -> dict[str, Course]:
    """By quantity of a run's validations, the epochs and the values; undefined values are left out. Raises UsageError for a run without any."""
    folder = RunFolder(path)
    config = folder.config()
    state, records = folder.state(), [record for record in folder.metrics() if record["kind"] == "evaluate"]
    if state is None or not records:
        raise UsageError(
            f"{path}: no validation yet; train it further, with train.evaluate-every of at most its epochs"
        )
    per_epoch = state.total_steps / config.train.epochs
    by_name: dict[str, Course] = {}
    for record in records:
        for name, value in record.items():
            if name not in ("kind", "step", "seconds") and value is not None:
                epochs, values = by_name.setdefault(name, Course([], []))
                epochs.append(record["step"] / per_epoch)
                values.append(value)
    return by_name


def _last(courses: Mapping[str, Mapping[str, Course]], quantities: tuple[str, ...]) -> Table:
    table = Table(title="validation split, last values", title_justify="left")
    for column in ("quantity", *courses):
        first = column == "quantity"
        table.add_column(column, justify="left" if first else "right", overflow="fold", no_wrap=first)
    for quantity in quantities:
        table.add_row(quantity, *(f"{by_name[quantity].values[-1]:.5g}" for by_name in courses.values()))
    return table
