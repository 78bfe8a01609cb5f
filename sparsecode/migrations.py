"""What older formats of configs and results said, in words of the present one: an entry per format, tested by frozen files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["MIGRATIONS", "Migration"]

Migration = Callable[[dict[str, Any]], dict[str, Any]]


def _with_sites(raw: dict[str, Any]) -> dict[str, Any]:
    """Shards had one site without a name."""
    if "shape" not in raw or "span" not in raw:
        return raw
    rest = {key: value for key, value in raw.items() if key not in ("shape", "span")}
    return rest | {"sites": [{"type": "shard_site", "name": "x", "shape": raw["shape"], "span": raw["span"]}]}


def _journal_with_sites(raw: dict[str, Any]) -> dict[str, Any]:
    if "shape" not in raw:
        return raw
    rest = {key: value for key, value in raw.items() if key not in ("shape", "span")}
    return rest | {"shapes": {"x": raw["shape"]}, "spans": {} if raw.get("span") is None else {"x": raw["span"]}}


# From format 1: what has changed of the records with this `type`, wherever they stand in a file.
FORMAT_2: dict[str, Migration] = {"shard_index": _with_sites, "shard_journal": _journal_with_sites}


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
