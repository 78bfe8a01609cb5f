"""Tables on narrow terminals: no number is cut."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Column, Table

__all__ = ["fitted"]

LEAST = 10  # columns of the terminal that a column of text keeps
ENDLESS = 10_000


def fitted(console: Console, table: Table) -> list[Table]:
    """The table in the width of the console: columns of text and heads of numbers are wrapped, and where that does not do, columns of
    numbers stand in further tables below, each with the first column again.

    Columns on the right hold numbers, which stay in one line; all others are text.
    """
    options = console.options.update(width=ENDLESS)
    table = _with(table, [replace(column, overflow="fold") for column in table.columns])
    if not table.show_header or not table.columns or _width(console, options, table) <= console.width:
        return [table]
    tight = [_tight(console, options, column) for column in table.columns]
    parts = [
        _with(table, [_wide_text(column) for column in group]) for group in _groups(console, options, table, tight)
    ]
    for part in parts[1:]:
        part.title = None
    for part in parts[:-1]:
        part.caption = None
    return parts


def _groups(console: Console, options: ConsoleOptions, table: Table, tight: Sequence[Column]) -> list[list[Column]]:
    """The narrowed columns of each part, as many as fit; the first column is in all."""
    first, *others = tight
    groups: list[list[Column]] = [[first]]
    for column in others:
        if len(groups[-1]) > 1 and _width(console, options, _with(table, [*groups[-1], column])) > console.width:
            groups.append([first])
        groups[-1].append(column)
    return groups


def _wide_text(column: Column) -> Column:
    """A column of numbers as it is; one of text as wide as there is room."""
    return column if column.justify == "right" else replace(column, width=None)


def _tight(console: Console, options: ConsoleOptions, column: Column) -> Column:
    """The column at the least width that shows every number, and enough of each text."""
    head = Measurement.get(console, options, column.header)
    cells = [Measurement.get(console, options, cell) for cell in column.cells]
    longest = max((cell.maximum for cell in cells), default=0)
    if column.justify == "right":
        return replace(column, width=max(longest, head.minimum), no_wrap=False, min_width=None)
    return replace(column, width=min(max(longest, head.minimum), LEAST), no_wrap=False, min_width=None)


def _with(table: Table, columns: Sequence[Column]) -> Table:
    """The same table with these columns."""
    part = copy(table)
    part.columns = [replace(column, _index=i) for i, column in enumerate(columns)]
    return part


def _width(console: Console, options: ConsoleOptions, table: Table) -> int:
    return Measurement.get(console, options, table).maximum
