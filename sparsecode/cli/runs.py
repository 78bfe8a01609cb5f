"""`sparsecode runs`."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from sparsecode.cli.arguments import UsageError, using
from sparsecode.cli.console import Console
from sparsecode.cli.tables import objectives, print_evaluation, runs_table
from sparsecode.run_list import list_runs
from sparsecode.specs import differences, to_json

__all__ = ["runs_command"]


def runs_command(args: using.RunsLsArguments | using.RunsShowArguments | using.RunsCompareArguments) -> None:
    """List, show or compare runs."""
    if isinstance(args, using.RunsLsArguments):
        _ls(args.root)
    elif isinstance(args, using.RunsShowArguments):
        _show(args.run)
    else:
        _compare(args.run, args.others)


def _ls(root: Path) -> None:
    summaries = list_runs(root)
    if not summaries:
        raise FileNotFoundError(f"no runs in {root}; train one: sparsecode train digits-sdl")
    console = Console()
    console.print(runs_table(summaries))
    for summary in summaries:
        if summary.problem:
            console.print(f"{summary.name}: {summary.problem}", highlight=False, markup=False, soft_wrap=True)


def _show(run: Path) -> None:
    from sparsecode.runs import RunFolder  # with torch, which a list does not need

    folder, console = RunFolder(run), Console()
    config, state = folder.config(), folder.state()
    console.print(str(run), style="bold", highlight=False)
    print(to_json(config).decode(), end="")
    if state is None:
        console.print("no checkpoint yet")
    else:
        ended = f", ended there: {state.ended}" if state.ended else ""
        console.print(f"step {state.step} of {state.total_steps}{ended}", highlight=False)
        if state.best:
            console.print(
                f"lowest validation {config.train.select}: {state.best.value:.5g} at step {state.best.step}",
                highlight=False,
            )
    evaluation = folder.evaluation()
    if evaluation is not None:
        print_evaluation(console, evaluation, warn=False)
    for picture in sorted(folder.figures.glob("*.png")):
        console.print(f"picture  {picture}", highlight=False, soft_wrap=True)


def _compare(run: Path, others: tuple[Path, ...]) -> None:
    from sparsecode.runs import RunFolder, labelled

    if not others:
        raise UsageError("compare needs at least two run folders")
    console = Console()
    first = RunFolder(run).config()
    for other in others:
        changes = differences(first, RunFolder(other).config())
        console.print(f"{run} -> {other}: " + ("the same config" if not changes else ""), highlight=False)
        for change in changes:
            console.print(f"  {change}", highlight=False, markup=False)
    table = Table("run", "codes by", "PSNR dB", "explained var.", "objective", "L0", "dead", caption_justify="left")
    definitions = {path: RunFolder(path).config().model.objective for path in (run, *others)}
    marks, table.caption = objectives(list(definitions.values()))
    for path in (run, *others):
        evaluation = RunFolder(path).evaluation()
        if evaluation is None:
            table.add_row(labelled(str(path), RunFolder(path)), "not evaluated yet")
            continue
        for coder, s in evaluation.scores.items():
            table.add_row(
                str(path), coder, "-" if s.psnr is None else f"{s.psnr:.2f}", "-" if s.explained_variance is None else f"{s.explained_variance:.4f}", f"{s.objective:.4g}{marks[definitions[path]]}",
                f"{s.l0:.2f} of {s.n_code}", str(s.dead),
            )  # fmt: skip
    console.print(table)
