"""Changes to a config, given as text, as by `--set` and sweeps.

A path goes through the names of fields, and through the names of records in a tuple (`model.terms.l1.weight`): their type, or
that of the part they are named by. A record that is alone of its type also goes by that (`model.terms.sparsity.penalty`). A
new name adds a record, null takes one out; a record that needs no more than the part it is named by may be given as that
part (`model.terms.l1=l1`).
"""

from __future__ import annotations

import copy
import re
import typing
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from sparsecode.errors import OverrideError
from sparsecode.leaves import foreign_types, members
from sparsecode.runs import Run
from sparsecode.specs import Spec, converted, parsed, plain

__all__ = ["OverrideError", "assign", "item_of", "members", "replaced", "to_run", "value_at", "variants", "variants_at"]


MEANT_AS_JSON = re.compile(r"[{\[]|-?(\d|NaN|Infinity)")


class _Records(dict[str, Any]):
    """The records of a tuple by name."""

    def key(self, rest: str) -> str | None:
        """Whose name, or type if it is alone of it, a path begins with."""
        head = rest.partition(".")[0]
        alike = [name for name, item in self.items() if item["type"] == head]
        return head if head in self else alike[0] if len(alike) == 1 else None


def assign(config: Run, assignments: tuple[str, ...], option: str = "--set") -> Run:
    """`config` with each `path=JSON` put in place: any value, whole variants too, these also by name (`model.penalty=l1`).

    Raises OverrideError naming the path for unknown ones and for values that do not fit.
    """
    values: dict[str, Any] = {}
    unread: list[str] = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise OverrideError(f'{option} {assignment}: expected PATH=JSON, such as model.penalty=\'{{"type":"l1"}}\'')
        try:
            values[path] = parsed(text, f"{option} {path}", "mend it")
        except ValueError as error:
            values[path] = text  # a bare word is a string
            unread += [str(error)] if MEANT_AS_JSON.match(text) else []
    try:
        return replaced(config, values, option)
    except OverrideError as error:
        raise OverrideError("; ".join([str(error), *unread])) from None


def replaced(config: Run, values: dict[str, Any], option: str = "--set") -> Run:
    """`config` with each value put in place of what the dotted path means; errors as `assign`."""
    raw = plain(config)
    for path, value in values.items():
        place, last, hint = _find(raw, path, option, value)
        place[last] = copy.deepcopy(_by_name(value, hint, path, option))  # later paths may lie inside it
        raw = _listed(raw)
    return to_run(raw, foreign_types(config))


def value_at(config: Run, path: str, option: str = "--set") -> Any:
    """What stands at a dotted path, as plain JSON types; errors as `assign`."""
    place, last, _ = _find(plain(config), path, option)
    return _listed(place[last])


def variants_at(config: Run, path: str) -> dict[str, type[Spec]]:
    """The variants that may stand at a dotted path, by name; none where there is no such place, or no choice of variants."""
    try:
        return _words(_find(plain(config), path, "", {})[2])
    except OverrideError:
        return {}


def to_run(raw: Any, leaves: Sequence[type] = ()) -> Run:
    """A config from plain JSON types; `leaves` are the classes of parts that are not this library's. Raises OverrideError naming the place of a value that does not fit."""
    try:
        return converted(raw, Run, "config", leaves)
    except ValueError as error:
        raise OverrideError(str(error)) from None


def variants(hint: Any) -> dict[str, type[Spec]]:
    """The configs among the alternatives of a type, by name."""
    return {str(m.__struct_config__.tag): m for m in members(hint) if isinstance(m, type) and issubclass(m, Spec)}


def _find(raw: dict[str, Any], path: str, option: str, value: Any = None) -> tuple[dict[str, Any], str, Any]:
    """The dictionary and key that a dotted path means, and the type declared there; a key may hold dots itself (`optim.groups.*.bias`).

    Where names are free, as those of `optim.groups`, a whole variant may come under a new one.
    """
    place, rest, hint = raw, path, Run
    while rest not in place:
        if isinstance(place, _Records) and (key := place.key(rest)):
            if key != rest and "." not in rest:
                return place, key, _declared(hint, place, key)
            rest = rest.replace(rest.partition(".")[0], key, 1)
        key = next((k for k in place if rest.startswith(f"{k}.") and _open(place, k, hint)), None)
        if key is None:
            if "type" not in place and (isinstance(value, dict) or value in _words(_declared(hint, place, rest))):
                break
            names = ", ".join(k for k in place if k != "type")
            known = f"choose from {names}" if names else "there is nothing yet"
            variant = f" of {place['type']!r} (--set a whole variant to change that)" if "type" in place else ""
            raise OverrideError(
                f"{option} {path}: no such place in the config; {known}{variant}{_inside(place, path, rest, hint)}"
            )
        hint = _declared(hint, place, key)
        place, rest = place[key], rest.removeprefix(f"{key}.")
    return place, rest, _declared(hint, place, rest)


def _open(place: dict[str, Any], key: str, hint: Any) -> bool:
    """Whether paths go on below an entry; the records of a tuple get their names."""
    named = _by_names(place[key], _declared(hint, place, key))
    if named is not None:
        place[key] = named
    return isinstance(place[key], dict)


def _inside(place: dict[str, Any], path: str, rest: str, hint: Any) -> str:
    """Where a field of this name is, if records of a tuple here have it."""
    head = rest.partition(".")[0]
    results = [
        f"{path.removesuffix(rest)}{key}.{name}.{head}"
        for key in place
        for name, record in (_by_names(place[key], _declared(hint, place, key)) or {}).items()
        if head in record
    ]
    return f"; did you mean {', '.join(results)}?" if results else ""


def _declared(hint: Any, place: dict[str, Any], key: str) -> Any:
    """The type of an entry of a config, or of a dictionary of them, whose own type is `hint`."""
    if "type" in place:
        kind = variants(hint).get(place["type"])
        return None if kind is None else typing.get_type_hints(kind, include_extras=True).get(key)
    if isinstance(place, _Records):
        return item_of(hint)
    return next((typing.get_args(m)[1] for m in members(hint) if typing.get_origin(m) is dict), None)


def item_of(hint: Any) -> Any:
    """The type of the items of a tuple of any length."""
    return next((typing.get_args(m)[0] for m in members(hint) if typing.get_origin(m) is tuple), None)


def _by_names(value: Any, hint: Any) -> _Records | None:
    """The records of a tuple by name; None for anything else."""
    kinds = variants(item_of(hint)) if isinstance(value, list | tuple) else {}
    return _Records({_name(record, kinds): record for record in value}) if kinds else None


def _name(record: dict[str, Any], kinds: dict[str, type[Spec]]) -> str:
    """As `specs.name_of`, of a record in plain JSON types."""
    part = record.get(getattr(kinds.get(record["type"]), "named_by", ""))
    return part["type"] if isinstance(part, dict) else record["type"]


def _listed(raw: Any) -> Any:
    """Plain JSON types again, records in lists."""
    if isinstance(raw, _Records):
        return [_listed(record) for record in raw.values() if record is not None]
    return {key: _listed(value) for key, value in raw.items()} if isinstance(raw, dict) else raw


def _by_name(value: Any, hint: Any, path: str, option: str) -> Any:
    """A variant named by a word, or as JSON, with all its fields; the rest as it is. Raises OverrideError for words that name none."""
    if variants(item_of(hint)) and value is not None:  # one record without brackets is a tuple of one
        records = value if isinstance(value, list | tuple) else [value]
        return [_by_name(item, item_of(hint), path, option) for item in records]
    known = variants(hint)
    named = value.get("type") if isinstance(value, dict) else value
    if isinstance(named, str) and named not in known and (kind := _parts(known).get(named)):
        part = value if isinstance(value, dict) else {"type": value}
        value = {"type": kind.__struct_config__.tag, getattr(kind, "named_by", ""): part}
    if isinstance(value, dict) and known:
        with suppress(ValueError):  # `to_run` says where it does not fit, unless a later path mends it
            return msgspec.to_builtins(converted(value, hint, path))
    if not isinstance(value, str) or not known or _takes_words(hint):
        return value
    if value not in known:
        numbers = " or a number" if any(m in (int, float) for m in members(hint)) else ""
        names = ", ".join(_words(hint))
        raise OverrideError(f"{option} {path}: is {value!r}; expected {names}{numbers}, or a variant as JSON")
    needed = [field.encode_name for field in msgspec.structs.fields(known[value]) if field.required]
    if needed:
        inner = ",".join([f'"type":"{value}"', *(f'"{name}":...' for name in needed)])
        raise OverrideError(
            f"{option} {path}: {value!r} needs {', '.join(needed)}; give it as JSON: --set {path}='{{{inner}}}'"
        )
    return msgspec.to_builtins(known[value]())


def _words(hint: Any) -> dict[str, type[Spec]]:
    """What may name a variant: its type, or that of the part it is named by."""
    known = variants(hint)
    return {**_parts(known), **known}


def _parts(known: dict[str, type[Spec]]) -> dict[str, type[Spec]]:
    """Which record a part alone may stand for, by the part's name."""
    results: dict[str, type[Spec]] = {}
    for kind in known.values():
        field = getattr(kind, "named_by", None)
        if field is not None:
            results |= dict.fromkeys(variants(typing.get_type_hints(kind, include_extras=True)[field]), kind)
    return results


def _takes_words(hint: Any) -> bool:
    return any(m is str or typing.get_origin(m) is typing.Literal for m in members(hint))
