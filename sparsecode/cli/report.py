"""`sparsecode report`."""

from __future__ import annotations

from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sparsecode.cli.arguments import UsageError, reporting
from sparsecode.cli.console import Console, described
from sparsecode.cli.paths import refuse_to_overwrite, run_labels
from sparsecode.cli.repeating import command_of
from sparsecode.data import Splits
from sparsecode.reports.builders.foreign import source_of_file
from sparsecode.reports.builders.source import ReportSource, source_of_folder
from sparsecode.reports.builders.whole import build_document
from sparsecode.reports.builders.without_samples import warning_of_absence
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
    runs = [path for path in paths if args.data is None or RunFolder(path).exists]
    if args.data is not None and len(runs) == len(paths):
        raise UsageError(f"--data {args.data}: {args.run} is a run, which has its own; leave --data out")
    target = args.out or (args.run / NAME if len(runs) == 1 == len(paths) else Path(NAME))
    if target.suffix != ".html":
        raise UsageError(f"--out {target}: expected a name that ends in .html")
    for path in runs:
        _check(path)  # errors before anything takes time
    refuse_to_overwrite("--out", target, args.force or (args.out is None and target.parent in runs))
    refuse_to_overwrite("--json", args.json, args.force)
    labels = run_labels(paths, console)
    loaded: dict[bytes, Splits] = {}
    with _bar(console) as bar:
        task = bar.add_task("reading", total=1.0)
        sources = [_source(path, label, args, loaded) for path, label in zip(paths, labels, strict=True)]
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
    for source in sources:
        if source.absent:
            warned = warning_of_absence(source)
            Console(stderr=True, soft_wrap=True).print(
                f"warning: {source.name}: {warned.text}\n  {warned.remedy}", style="yellow", highlight=False
            )
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


def _check(run: Path) -> None:
    """Raise unless it is a run with a model, in words for models that are none."""
    if run.exists() and not RunFolder(run).exists:
        raise UsageError(f"{run} is no run, so that its data are not known: expected --data, samples to look at it on")
    RunFolder(run).best_model()


def _source(path: Path, label: str, args: reporting.ReportArguments, loaded: dict[bytes, Splits]) -> ReportSource:
    if args.data is not None and not RunFolder(path).exists:
        return source_of_file(path, args.data, label)._replace(tokenizer=args.tokenizer)
    folder = RunFolder(path)
    source = source_of_folder(folder, label, args.data_path, loaded, *command_of(folder.config()))
    return source._replace(tokenizer=args.tokenizer)
