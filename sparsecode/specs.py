"""Configs: frozen records that check themselves, and their JSON with a format number and migrations."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Protocol, TypeVar, runtime_checkable

import msgspec
from msgspec import Meta

__all__ = ["FORMAT", "MIGRATIONS", "Spec", "differences", "from_json", "pack", "to_json", "unpack"]

S = TypeVar("S")

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Seed = Annotated[int, Meta(ge=0, lt=2**32)]  # what numpy's RandomState takes

Migration = Callable[[dict[str, Any]], dict[str, Any]]
# The i-th entry turns format i + 1 into format i + 2. Each new one comes with a frozen fixture in tests/data.
MIGRATIONS: tuple[Migration, ...] = ()
FORMAT = len(MIGRATIONS) + 1


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """A frozen config record that refuses wrong types, values out of range and non-finite numbers.

    Ranges stand in the field types (`Annotated[float, Meta(gt=0)]`) and hold for Python callers and
    files alike. Raises ValueError naming class and field.
    """

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            given, hint = getattr(self, name), _hints(type(self))[name]
            where = f"{type(self).__name__}.{name}"
            value = _converted(given, hint, f"{where}: got {given!r}")
            # a schedule must keep to the field's range all the way; protocols are slow to ask, and states are made at every step
            if isinstance(value, Spec) and isinstance(value, Extremes):
                for number in value.extremes():
                    _converted(number, hint, f"{where}: the schedule reaches {number:g}")
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, float) and not math.isfinite(number):
                    raise ValueError(f"{where}: got {given!r}; expected a finite number")
            msgspec.structs.force_setattr(self, name, value)  # 1 becomes 1.0 where a float is declared


@runtime_checkable
class Extremes(Protocol):
    """A value that moves, and knows between which numbers."""

    def extremes(self) -> tuple[float, ...]: ...


def _converted(value: Any, hint: Any, context: str) -> Any:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise ValueError(f"{context}; {error}") from None


def pack(spec: Spec) -> dict[str, Any]:
    """The spec as plain JSON types, under its format number: {"format": n, "spec": {...}}."""
    return {"format": FORMAT, "spec": msgspec.to_builtins(spec)}


def unpack(raw: Any, kind: type[S] | UnionType, source: str, migrations: Sequence[Migration] = MIGRATIONS) -> S:
    """The spec, of this kind or one of these, that `pack` wrote, older formats migrated first.

    Raises ValueError naming `source` (a file) if the format is unknown or newer than this version's,
    or if a field is missing, unknown or out of range (with its path).
    """
    newest = len(migrations) + 1
    number = raw.get("format") if isinstance(raw, dict) else None
    if not isinstance(number, int) or number < 1 or "spec" not in raw:
        raise ValueError(f'{source}: not a sparsecode config: expected {{"format": 1 to {newest}, "spec": ...}}')
    if number > newest:
        raise ValueError(
            f"{source}: written in format {number} by a newer sparsecode; this version reads up to format "
            f"{newest}. Upgrade sparsecode to open it."
        )
    body = raw["spec"]
    for migrate in migrations[number - 1 :]:
        body = migrate(body)
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{source}: {error}") from None


def to_json(spec: Spec) -> bytes:
    """Readable JSON of `pack(spec)`."""
    return msgspec.json.format(msgspec.json.encode(pack(spec)), indent=2) + b"\n"


def from_json(data: bytes, kind: type[S], source: str = "config") -> S:
    """The inverse of `to_json`; errors as `unpack`."""
    try:
        raw = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"{source}: not valid JSON ({error}); mend it, or restore it from a copy") from None
    return unpack(raw, kind, source)


def differences(old: Spec, new: Spec) -> list[str]:
    """Lines `path: old -> new` for every leaf in which two configs differ."""

    def flat(value: Any, path: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return {k: v for key, item in value.items() for k, v in flat(item, f"{path}.{key}".lstrip(".")).items()}
        return {path: value}

    a, b = flat(msgspec.to_builtins(old), ""), flat(msgspec.to_builtins(new), "")
    absent = "(absent)"
    return [
        f"{path}: {a.get(path, absent)} -> {b.get(path, absent)}"
        for path in dict.fromkeys([*a, *b])
        if a.get(path, absent) != b.get(path, absent)
    ]
