"""What older formats of configs and results said, in words of the present one: an entry per format, tested by frozen files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["MIGRATIONS", "Migration"]

Migration = Callable[[dict[str, Any]], dict[str, Any]]

# From format 1: what has changed of the records with this `type`, wherever they stand in a file.
FORMAT_2: dict[str, Migration] = {}


def to_format_2(raw: dict[str, Any]) -> dict[str, Any]:
    """The records inside come first, so that a change of an outer one sees changed parts."""
    return _changed(raw, FORMAT_2)


def _changed(raw: Any, changes: dict[str, Migration]) -> Any:
    if isinstance(raw, list):
        return [_changed(item, changes) for item in raw]
    if not isinstance(raw, dict):
        return raw
    inner = {key: _changed(value, changes) for key, value in raw.items()}
    kind = inner.get("type")
    change = changes.get(kind) if isinstance(kind, str) else None
    return inner if change is None else change(inner)


# The i-th entry turns format i + 1 into format i + 2.
MIGRATIONS: tuple[Migration, ...] = (to_format_2,)
