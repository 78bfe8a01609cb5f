"""Measures of several runs in common tables, and the definitions to which they refer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from sparsecode.reports.document import (
    Definition,
    Document,
    MeasureRow,
    MeasureTable,
    RunReport,
)
from sparsecode.reports.html.charts import STYLES

__all__ = ["JointRow", "JointTable", "balanced", "coder_styles", "joint_tables", "used_definitions"]

Value = float | int | str | bool | None
NARROW = 4  # columns of a table that stands beside another
PART = re.compile(r"(\w+\[\d+\])\.(.+)")  # the key of a quantity at one noise level, or at one site


class JointRow(NamedTuple):
    """One quantity: a value for each run and each of its columns; None where a run does not have it."""

    key: str
    label: str
    unit: str
    definition: str
    better: str
    values: list[Value]


class JointTable(NamedTuple):
    """The tables of one measure in all runs that have it: `heads` are pairs of a run's name and the number of its columns."""

    title: str
    definition: str
    computed: bool
    heads: list[tuple[str, int]]
    columns: list[str]
    rows: list[JointRow]
    notes: list[str]

    @property
    def narrow(self) -> bool:
        """Whether two such tables fit beside each other."""
        return len(self.columns) <= NARROW

    @property
    def begins(self) -> set[int]:
        """The columns with which those of another run begin."""
        return {sum(n for _, n in self.heads[:i]) for i in range(1, len(self.heads))}


def coder_styles(document: Document) -> dict[str, int]:
    """The colour of each coder, by its name, or "run, coder" where there are several runs.

    The first coder of a run has the run's colour; no two have the same one as long as there are enough.
    """
    several = len(document.runs) > 1
    coders = [[d.coder for d in run.codes.distributions] if run.codes is not None else [] for run in document.runs]
    names = [
        [f"{run.name}, {c}" if several else c for c in each] for run, each in zip(document.runs, coders, strict=True)
    ]
    result = {each[0]: i % STYLES for i, each in enumerate(names) if each}
    others = [name for each in names for name in each[1:]]
    return result | {name: (len(document.runs) + i) % STYLES for i, name in enumerate(others)}


def joint_tables(document: Document) -> list[JointTable]:
    """The tables of all runs, those of one name side by side, in the order of their first run."""
    by_name: dict[str, list[tuple[RunReport, MeasureTable]]] = {}
    for run in document.runs:
        for table in run.measures.tables if run.measures is not None else ():
            by_name.setdefault(table.name, []).append((run, _parts_across(table)))
    return [_joint(members) for members in by_name.values()]


def _parts_across(table: MeasureTable) -> MeasureTable:
    """The table with a column for each noise level or site of a coder, and a row per quantity; as it is if it has other rows."""
    keys = [PART.fullmatch(row.key) for row in table.rows]
    quantities: dict[str, dict[str, MeasureRow]] = {}
    parts: dict[str, str] = {}
    for key, row in zip(keys, table.rows, strict=True):
        if key is None:
            return table
        parts.setdefault(key[1], row.label.partition(": ")[0])
        quantities.setdefault(key[2], {})[key[1]] = row
    rows: list[MeasureRow] = []
    for quantity, at in quantities.items():
        first = next(iter(at.values()))
        values = (at[part].values[i] if part in at else None for i in range(len(table.columns)) for part in parts)
        rows.append(replace(first, key=quantity, label=first.label.partition(": ")[2], values=tuple(values)))
    columns = (f"{column}, {words}".removeprefix(", ") for column in table.columns for words in parts.values())
    return replace(table, columns=tuple(columns), rows=tuple(rows))


def balanced(tables: Sequence[JointTable]) -> list[list[JointTable]]:
    """The narrow tables in two columns of about equal height: each below those of the column that is shorter."""
    columns: list[list[JointTable]] = [[], []]
    for table in tables:
        if table.narrow:
            min(columns, key=lambda column: sum(len(above.rows) + 3 for above in column)).append(table)
    return [column for column in columns if column]


def used_definitions(document: Document) -> list[tuple[str, Definition]]:
    """The definitions to which something in the document refers, by their terms."""
    keys = {"density", "l0", "mcc", "dead", "dense", "always_on", "coder", "reference"}
    for run in document.runs:
        keys |= {number.definition for number in run.head.numbers}
        keys |= {series.definition for series in run.training.series} if run.training is not None else set()
        keys |= {column.definition for column in run.codes.columns} if run.codes is not None else set()
        if run.measures is not None:
            keys |= {part.definition for part in (*run.measures.frontiers, *run.measures.spreads)}
            keys |= {part.definition for table in run.measures.tables for part in (table, *table.rows)}
    keys |= {frontier.definition for frontier in document.comparison.frontiers} if document.comparison else set()
    used = [(key, definition) for key, definition in document.definitions.items() if key in keys]
    return sorted(used, key=lambda pair: pair[1].term.lower())


def _joint(members: Sequence[tuple[RunReport, MeasureTable]]) -> JointTable:
    first = members[0][1]
    rows = {row.key: row for _, table in members for row in table.rows}
    joined: list[JointRow] = []
    for key, row in rows.items():
        values: list[Value] = []
        for _, table in members:
            here = next((r.values for r in table.rows if r.key == key), (None,) * len(table.columns))
            values += here
        joined.append(JointRow(key, row.label, row.unit, row.definition, row.better, values))
    return JointTable(
        first.title,
        first.definition,
        first.source == "report",
        [(run.name, len(table.columns)) for run, table in members],
        [column for _, table in members for column in table.columns],
        joined,
        list(dict.fromkeys(table.note for _, table in members if table.note)),
    )
