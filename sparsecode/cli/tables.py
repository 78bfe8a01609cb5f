"""Results as rich tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from sparsecode.cli.console import Console
from sparsecode.run_list import Summary

if TYPE_CHECKING:  # torch takes seconds
    from sparsecode.evaluate import base as evaluated
    from sparsecode.runs import Evaluation

__all__ = ["captioned_table", "objectives", "print_evaluation", "rich_table", "runs_table", "with_deviation"]

OWN = (
    "PSNR in dB, by the range of each run's own data; objectives of models with\n"
    "the same terms and weights on the same data alone can be compared"
)


def with_deviation(mean: float, deviation: float, n: int, digits: int) -> str:
    """A mean above its sample standard deviation, which a single value does not have."""
    return f"{mean:.{digits}f}" + (f"\n±{deviation:.{digits}f}" if n > 1 else "")


def captioned_table(title: str, *caption: str) -> Table:
    """A table without columns, with a title above and lines of a caption below, both on the left."""
    return Table(
        box=box.SIMPLE,
        padding=(0, 0, 0, 1),
        title=title,
        title_justify="left",
        caption="\n".join(caption),
        caption_justify="left",
    )


def rich_table(table: evaluated.Table, title: str = "") -> Table:
    """Rows of a measure; `title` in the place of its own."""
    shown = Table(
        title=title or table.title, title_justify="left", caption=table.caption or None, caption_justify="left"
    )
    for i, column in enumerate(table.header):
        named = table.named and i == 0
        shown.add_column(column, justify="left" if named else "right", no_wrap=True, overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    return shown


def print_evaluation(console: Console, evaluation: Evaluation, title: str = "", *, warn: bool = True) -> None:
    """A table for each measure, and warnings about the model."""
    for number, (name, parts) in enumerate(evaluation.measures.items()):
        table = type(next(iter(parts.values()))).table(name, parts)
        if table is not None:
            first = f"{title} {evaluation.split} split, {table.title}".strip() if number == 0 else ""
            console.print(rich_table(table, first))
    if not warn:
        return
    if evaluation.calibration is not None and not evaluation.calibration.warnings():
        console.print(evaluation.calibration.line(), highlight=False)
    for warning in evaluation.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)


def objectives(definitions: Sequence[str]) -> tuple[dict[str, str], str]:
    """For several runs: a mark for each definition of the objective, if definitions differ, and the table's caption."""
    different = list(dict.fromkeys(definitions))
    marks = {words: "" if len(different) < 2 else f" {chr(ord('a') + i)}" for i, words in enumerate(different)}
    return marks, "\n".join([OWN, *(f"objective{mark}: {words}" for words, mark in marks.items())])


def runs_table(summaries: list[Summary]) -> Table:
    """A row per run, scored by its first coder."""
    marks, caption = objectives([s.scored.objective_of for s in summaries if s.scored])
    table = Table(box=box.SIMPLE, caption=caption, caption_justify="left")
    for column in ("run", "data", "steps", "by", "PSNR", "objective", "L0"):
        justify = "left" if column in ("run", "data", "by") else "right"
        table.add_column(column, justify=justify, no_wrap=column != "run", overflow="fold")  # long names leave room
    for s in summaries:
        if s.problem:
            table.add_row(s.name, "unreadable")
            continue
        scored = ["", "", "", ""]
        if s.scored:
            scored = [
                s.scored.coder,
                "-" if s.scored.psnr is None else f"{s.scored.psnr:.2f}",
                f"{s.scored.objective:.4g}{marks[s.scored.objective_of]}",
                f"{s.scored.l0:.1f}",
            ]
        table.add_row(s.name, s.data, s.stands, *scored)
    return table
