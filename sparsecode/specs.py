"""Configs: frozen records that validate themselves; their JSON form with format number and migrations; JSON parsing."""

from __future__ import annotations

import json
import math
import re
import typing
from collections.abc import Callable, Sequence
from functools import cache
from numbers import Integral
from types import UnionType
from typing import Annotated, Any, Protocol, TypeVar, runtime_checkable

import msgspec
from msgspec import Meta

from sparsecode.leaves import admitted, built, holds_objects, is_foreign, plain, unknown_tag
from sparsecode.migrations import MIGRATIONS, Migration

__all__ = [
    "FORMAT",
    "SEEDS",
    "Spec",
    "check_seed",
    "converted",
    "differences",
    "from_json",
    "migrated",
    "name_of",
    "pack",
    "parsed",
    "plain",
    "to_json",
    "unpack",
]

S = TypeVar("S")

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
SEEDS = 2**32  # the range of NumPy's RandomState
Seed = Annotated[int, Meta(ge=0, lt=SEEDS)]

INT64 = range(-(2**63), 2**63)  # the whole numbers that torch, NumPy and files of tensors can hold
PLACE = re.compile(r"- at `\$((?:\.[^.\[\]`]+|\[\d+\])+)`$")
STEPS = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
DEPTH = 100  # of nested JSON: a config has fewer than 10 levels

FORMAT = len(MIGRATIONS) + 1


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def check_seed(seed: object) -> None:
    """Raises TypeError for what is not a whole number, ValueError for one out of range."""
    if not isinstance(seed, Integral) or seed is True or seed is False:
        raise TypeError(f"seed is {seed!r}; expected a whole number from 0 to {SEEDS - 1}")
    if not 0 <= int(seed) < SEEDS:
        raise ValueError(f"seed is {seed}; expected a whole number from 0 to {SEEDS - 1}")


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """A frozen config record that rejects wrong types, values out of range and non-finite numbers.

    Ranges are part of the field types (`Annotated[float, Meta(gt=0)]`) and hold for Python callers and
    files alike. Raises ValueError naming class and field.
    """

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            given, hint = getattr(self, name), _hints(type(self))[name]
            where = f"{type(self).__name__}.{name}"
            value = _admitted(given, hint, where)
            # a schedule must keep to the field's range all the way; protocols are slow to ask, and states are made at every step
            if (isinstance(value, Spec) or is_foreign(value)) and isinstance(value, Extremes):
                for number in value.extremes():
                    _converted(number, hint, f"{where}: the schedule reaches {number:g}")
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, float) and not math.isfinite(number):
                    raise ValueError(f"{where}: got {given!r}; expected a finite number")
                if isinstance(number, int) and number not in INT64:
                    raise ValueError(
                        f"{where}: got a whole number of {number.bit_length()} bits; expected at most 64, below 9.2e18"
                    )
                if isinstance(number, str) and not number.isprintable():
                    _check_text(number, where)
            msgspec.structs.force_setattr(self, name, value)  # 1 becomes 1.0 where a float is declared


@runtime_checkable
class Extremes(Protocol):
    """The protocol of a scheduled value, which knows its extremes."""

    def extremes(self) -> tuple[float, ...]: ...


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{where}: {text.encode(errors='backslashreplace').decode()!r} is not UTF-8, and a config is stored as JSON, which is; "
            "rename the file or folder"
        ) from None


def _converted(value: Any, hint: Any, context: str) -> Any:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise ValueError(f"{context}; {error}") from None


def _admitted(given: Any, hint: Any, where: str) -> Any:
    try:
        return msgspec.convert(given, hint)
    except msgspec.ValidationError as error:
        problem = error
    try:
        if not holds_objects(given):  # JSON's types have no second chance, and limits of lengths hold
            raise problem
        return admitted(given, hint, where)
    except msgspec.ValidationError:
        raise ValueError(f"{where}: got {given!r}; {problem}") from None


def pack(spec: Spec) -> dict[str, Any]:
    """The spec as plain JSON types, under its format number: {"format": n, "spec": {...}}."""
    return {"format": FORMAT, "spec": plain(spec, type(spec))}


def unpack(
    raw: Any,
    kind: type[S] | UnionType,
    source: str,
    migrations: Sequence[Migration] = MIGRATIONS,
    leaves: Sequence[type] = (),
) -> S:
    """The spec, of this kind or one of these, that `pack` wrote, older formats migrated first.

    Leaves that are not part of this library are made from the classes in `leaves`, and from no others: a file's word imports
    nothing. Raises ValueError naming `source` (a file) if the format is unknown or newer than this version's,
    or if a field is missing, unknown or out of range (with its path).
    """
    return converted(migrated(raw, source, migrations), kind, source, leaves)


def migrated(raw: Any, source: str, migrations: Sequence[Migration] = MIGRATIONS) -> Any:
    """The plain JSON types of what `pack` wrote, in the newest format. Raises ValueError naming `source` for formats that are unknown or newer."""
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
    for migrate in migrations[number - 1 :] if isinstance(body, dict) else ():
        body = migrate(body)
    return body


def converted(raw: Any, kind: Any, source: str, leaves: Sequence[type] = ()) -> Any:
    """Plain JSON types as `kind`; 4.0 counts as 4 where a whole number is expected, as other languages write it.

    Raises ValueError naming `source` (a file) and the place of a value that does not fit.
    """
    try:
        return built(raw, kind, leaves)
    except msgspec.ValidationError as error:
        problem = error
    except ValueError as error:  # a leaf's own, or one that is not in `leaves`
        raise ValueError(f"{source}: {error}") from None
    try:
        return built(_with_whole_numbers(raw), kind, leaves)
    except ValueError:  # that of msgspec is one
        raise ValueError(f"{source}: {unknown_tag(raw, kind) or _with_value(problem, raw)}") from None


def _with_value(problem: Exception, raw: Any) -> str:
    """An error of msgspec, with the number or word that stands at its place."""
    place, value = PLACE.search(str(problem)), raw
    for key, number in STEPS.findall(place[1]) if place else ():
        try:
            value = value[key or int(number)]
        except LookupError:
            return str(problem)
    return str(problem) if isinstance(value, dict | list | tuple) else f"{problem}, where {value!r:.60} is given"


def _with_whole_numbers(raw: Any) -> Any:
    """A copy in which 4.0 is 4."""
    if isinstance(raw, dict):
        return {key: _with_whole_numbers(value) for key, value in raw.items()}
    if isinstance(raw, list | tuple):
        return [_with_whole_numbers(value) for value in raw]
    return int(raw) if isinstance(raw, float) and raw.is_integer() else raw


def parsed(
    data: bytes | str,
    source: str,
    remedy: str = "mend it, or restore it from a copy",
    constant: Callable[[str], Any] | None = None,
) -> Any:
    """The value of JSON in UTF-8, with or without a byte-order mark.

    Raises ValueError naming `source` (a file) and the remedy for anything else: NaN and Infinity, numbers beyond float64, a key
    twice in one object, text that is not valid Unicode, more than `DEPTH` levels. `constant` (float, say) reads NaN and Infinity.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value = json.loads(text, parse_constant=constant or _refuse, parse_float=_finite, object_pairs_hook=_unique)
        if text.count("[") + text.count("{") > DEPTH and _depth(value) > DEPTH:
            raise RecursionError
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"{source}: not valid JSON (more than {DEPTH} levels); {remedy}") from None
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise ValueError(f"{source}: not valid JSON (not UTF-8: {error.reason}); {remedy}") from None
    except ValueError as error:
        reason = "empty" if not data.strip() else error
        raise ValueError(f"{source}: not valid JSON ({reason}); {remedy}") from None
    return value


def _refuse(word: str) -> Any:
    raise ValueError(f"{word}, which JSON does not have")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.20} is too large a number")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    results = dict(pairs)
    if len(results) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} twice in one object")
    return results


def _depth(value: Any) -> int:
    """The number of nested levels of objects and arrays that are not empty."""
    parts = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(map(_depth, parts)) if isinstance(parts, list) and parts else 0


def to_json(spec: Spec) -> bytes:
    """Readable JSON of `pack(spec)`."""
    return msgspec.json.format(msgspec.json.encode(pack(spec)), indent=2) + b"\n"


def from_json(data: bytes, kind: type[S], source: str = "config", leaves: Sequence[type] = ()) -> S:
    """The inverse of `to_json`; `leaves` and errors as `unpack`."""
    return unpack(parsed(data, source), kind, source, leaves=leaves)


def name_of(record: Any) -> str:
    """The name of a record among others in one field: its type, or that of its part `named_by`."""
    part = getattr(record, "named_by", None)
    if part is not None:
        return name_of(getattr(record, part))
    return str(record.__struct_config__.tag) if isinstance(record, Spec) else type(record).__name__.lower()


def differences(old: Any, new: Any) -> list[str]:
    """Lines `path: old -> new` for every leaf in which two configs differ; records of a tuple have their names in the path."""

    def flat(value: Any, path: str) -> dict[str, Any]:
        if isinstance(value, Spec):
            fields = {name: getattr(value, name) for name in value.__struct_fields__}
            value = {"type": value.__struct_config__.tag, **fields}
        elif isinstance(value, tuple) and any(isinstance(item, Spec) for item in value):
            value = {name_of(item): item for item in value}
        if isinstance(value, dict):
            return {k: v for key, item in value.items() for k, v in flat(item, f"{path}.{key}".lstrip(".")).items()}
        return {path: plain(value)}

    a, b = flat(old, ""), flat(new, "")
    absent = "(absent)"
    return [
        f"{path}: {a.get(path, absent)} -> {b.get(path, absent)}"
        for path in dict.fromkeys([*a, *b])
        if a.get(path, absent) != b.get(path, absent)
    ]
