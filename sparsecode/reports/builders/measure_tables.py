"""The measures of an evaluation as tables: every number as it is in `eval.json`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from sparsecode.coders import in_words
from sparsecode.evaluate.base import OtherResult
from sparsecode.reports.builders.quantities import key_of, quantity_of
from sparsecode.reports.document import Definition, MeasureRow, MeasureTable
from sparsecode.specs import Spec

__all__ = ["flat", "measure_definitions", "measure_tables", "table_of_records"]

SENTENCE = re.compile(r"(?<!al\.)(?<!g\.)(?<!i\.e\.)(?<=\.) ")  # between two
LONGEST = 32  # values of a tuple that have rows
Leaf = float | int | str | bool | None


def measure_tables(measures: Mapping[str, Mapping[str, Any]], stored: bool) -> list[MeasureTable]:
    """A table per measure: a column per coder or part, a row per number."""
    return [table_of_records(name, parts, stored) for name, parts in measures.items()]


def table_of_records(name: str, parts: Mapping[str, Any], stored: bool, note: str = "") -> MeasureTable:
    """Records of one kind, by coder or part, as a table."""
    columns = {part: flat(record) for part, record in parts.items()}
    keys = list(dict.fromkeys(key for leaves in columns.values() for key in leaves))
    words = in_words(columns)
    rows: list[MeasureRow] = []
    for key in keys:
        known = quantity_of(key, name)
        values = tuple(leaves.get(key) for leaves in columns.values())
        if all(value is None for value in values):
            continue  # not defined for this model
        place = key.rpartition(".")[0]
        label = f"{_place(place, columns)}: {known.label}" if place else known.label
        rows.append(MeasureRow(key, label, known.unit, key_of(known), values, known.better))
    longer = [key for record in parts.values() for key, n in _long(record).items() if n > LONGEST]
    left_out = f"of {', '.join(dict.fromkeys(longer))} there are too many values for rows" if longer else ""
    return MeasureTable(
        name=name,
        title=_title(name),
        definition=f"measure {name}",
        source="eval" if stored else "report",
        columns=tuple(words[part] for part in columns),
        rows=tuple(rows),
        note="; ".join(filter(None, [note, left_out])),
    )


def measure_definitions(measures: Mapping[str, Mapping[str, Any]]) -> dict[str, Definition]:
    """What each measure is as a whole, by the key that its table names: the first sentence on its record; its quantities have their own."""
    result: dict[str, Definition] = {}
    for name, parts in measures.items():
        text = inspect.getdoc(type(next(iter(parts.values())))) or ""
        first = SENTENCE.split(" ".join(text.split()), maxsplit=1)[0].replace("`", "")
        result[f"measure {name}"] = Definition(_title(name), first)
    return result


def _title(name: str) -> str:
    """The name of a measure in words."""
    return "ELBO" if name == "elbo" else name.replace("_", " ")


def _place(path: str, columns: Mapping[str, Mapping[str, Leaf]]) -> str:
    """A part of a result in words: the noise level `levels[0]` by its sigma, `sites[1]` as site 1."""
    sigma = next((leaves[f"{path}.sigma"] for leaves in columns.values() if f"{path}.sigma" in leaves), None)
    if sigma is not None:
        return f"sigma {sigma:.4g}"
    stem, _, index = path.partition("[")
    return f"{stem.rstrip('s')} {index.rstrip(']')}" if index else path.replace("_", " ")


def flat(record: Any) -> dict[str, Leaf]:
    """The leaves of a record by path: `psnr`, `terms.variance`, `levels[0].psnr`; long tuples left out."""
    return dict(_leaves(record, ""))


def _leaves(value: Any, path: str) -> list[tuple[str, Leaf]]:
    if isinstance(value, OtherResult):
        value = value.fields
    if isinstance(value, Spec) or hasattr(value, "__struct_fields__"):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, f"{path}.{key}".lstrip("."))]
    if isinstance(value, tuple | list):
        if len(value) > LONGEST:
            return []
        return [leaf for i, item in enumerate(value) for leaf in _leaves(item, f"{path}[{i}]")]
    if value is None or isinstance(value, float | int | str | bool):
        return [(path, value)]
    return [(path, str(value))]


def _long(value: Any) -> dict[str, int]:
    """The lengths of tuples among a record's fields."""
    fields = getattr(value, "__struct_fields__", ())
    return {name: len(getattr(value, name)) for name in fields if isinstance(getattr(value, name), tuple)}
