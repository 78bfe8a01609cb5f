"""`sparsecode report`."""

from __future__ import annotations

from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sparsecode.cli.arguments import UsageError, reporting
from sparsecode.cli.console import Console, described
from sparsecode.cli.paths import refuse_to_overwrite, run_labels
from sparsecode.cli.repeating import command_of
from sparsecode.data import Splits
from sparsecode.reports.builders.source import ReportSource, source_of_run
from sparsecode.reports.builders.whole import build_document
from sparsecode.reports.document import write_document
from sparsecode.runs import RunFolder

__all__ = ["report_command"]

NAME = "report.json"


def report_command(args: reporting.ReportArguments) -> None:
    """Write the report of runs."""
    for option, value in (("--codes", args.codes), ("--samples", args.samples)):
        if value < 1:
            raise UsageError(f"{option} {value}: expected 1 or more")
    paths, console = (args.run, *args.others), Console()
    target = args.json or (Path(NAME) if args.others else args.run / NAME)
    for path in paths:
        RunFolder(path).best_model()  # errors before anything takes time
    refuse_to_overwrite("--json", target, args.force or args.json is None)
    labels = run_labels(paths, console)
    loaded: dict[bytes, Splits] = {}
    with _bar(console) as bar:
        task = bar.add_task("reading", total=1.0)
        sources = [_source(path, label, args.data_path, loaded) for path, label in zip(paths, labels, strict=True)]
        document = build_document(
            sources,
            args.codes,
            args.samples,
            lambda doing, share: bar.update(task, completed=share, description=described(doing)),
        )
        bar.update(task, completed=1.0)
    write_document(target, document)
    console.print(f"report   {target} ({target.stat().st_size / 1e6:.1f} MB)", highlight=False, soft_wrap=True)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("report"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def _source(path: Path, label: str, moved: Path | None, loaded: dict[bytes, Splits]) -> ReportSource:
    folder = RunFolder(path)
    return source_of_run(folder, label, folder.splits(moved, loaded), *command_of(folder.config()))
