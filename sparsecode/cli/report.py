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
from sparsecode.reports.writing import write_report
from sparsecode.runs import RunFolder

__all__ = ["report_command"]

NAME = "report.html"


def report_command(args: reporting.ReportArguments) -> None:
    """Write the report of runs."""
    for option, value in (("--codes", args.codes), ("--samples", args.samples)):
        if value < 1:
            raise UsageError(f"{option} {value}: expected 1 or more")
    paths, console = (args.run, *args.others), Console()
    target = args.out or (Path(NAME) if args.others else args.run / NAME)
    if target.suffix != ".html":
        raise UsageError(f"--out {target}: expected a name that ends in .html")
    for path in paths:
        RunFolder(path).best_model()  # errors before anything takes time
    refuse_to_overwrite("--out", target, args.force or (args.out is None and not args.others))
    refuse_to_overwrite("--json", args.json, args.force)
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
        bar.update(task, completed=1.0, description="writing")
        write_report(target, document)
        if args.json is not None:
            write_report(args.json, document)
    for what, path in (("data", args.json), ("report", target)):
        if path is not None:
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            console.print(f"{what:8} {path} ({size})", highlight=False, soft_wrap=True)


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
