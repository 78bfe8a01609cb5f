"""Changes to a config, given as text: what `--set` and sweeps understand."""

from __future__ import annotations

import copy
import re
import types
import typing
from contextlib import suppress
from typing import Annotated, Any

import msgspec

from sparsecode.runs import Run
from sparsecode.specs import Spec, converted, parsed

__all__ = ["OverrideError", "assign", "members", "replaced", "to_run", "value_at", "variants", "variants_at"]


MEANT_AS_JSON = re.compile(r"[{\[]|-?(\d|NaN|Infinity)")


class OverrideError(ValueError):
    """A change that the config does not admit."""


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
    raw = msgspec.to_builtins(config)
    for path, value in values.items():
        place, last, hint = _find(raw, path, option, value)
        place[last] = copy.deepcopy(_by_name(value, hint, path, option))  # later paths may lie inside it
    return to_run(raw)


def value_at(config: Run, path: str, option: str = "--set") -> Any:
    """What stands at a dotted path, as plain JSON types; errors as `assign`."""
    place, last, _ = _find(msgspec.to_builtins(config), path, option)
    return place[last]


def variants_at(config: Run, path: str) -> dict[str, type[Spec]]:
    """The variants that may stand at a dotted path, by name; none where there is no such place, or no choice of variants."""
    try:
        return variants(_find(msgspec.to_builtins(config), path, "")[2])
    except OverrideError:
        return {}


def to_run(raw: Any) -> Run:
    """A config from plain JSON types. Raises OverrideError naming the place of a value that does not fit."""
    try:
        return converted(raw, Run, "config")
    except ValueError as error:
        raise OverrideError(str(error)) from None


def members(hint: Any) -> list[Any]:
    """The alternatives of a type, unions and Annotated taken apart."""
    if typing.get_origin(hint) is Annotated:
        return members(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [m for part in typing.get_args(hint) for m in members(part)]
    return [hint]


def variants(hint: Any) -> dict[str, type[Spec]]:
    """The configs among the alternatives of a type, by name."""
    return {str(m.__struct_config__.tag): m for m in members(hint) if isinstance(m, type) and issubclass(m, Spec)}


def _find(raw: dict[str, Any], path: str, option: str, value: Any = None) -> tuple[dict[str, Any], str, Any]:
    """The dictionary and key that a dotted path means, and the type declared there; a key may hold dots itself (`optim.groups.*.bias`).

    Where names are free, as those of `optim.groups`, a whole variant may come under a new one.
    """
    place, rest, hint = raw, path, Run
    while rest not in place:
        key = next((k for k, v in place.items() if rest.startswith(f"{k}.") and isinstance(v, dict)), None)
        if key is None:
            if "type" not in place and (isinstance(value, dict) or value in variants(_declared(hint, place, rest))):
                break
            known = ", ".join(k for k in place if k != "type")
            variant = f" of {place['type']!r} (--set a whole variant to change that)" if "type" in place else ""
            raise OverrideError(f"{option} {path}: no such place in the config; there is {known}{variant}")
        hint = _declared(hint, place, key)
        place, rest = place[key], rest.removeprefix(f"{key}.")
    return place, rest, _declared(hint, place, rest)


def _declared(hint: Any, place: dict[str, Any], key: str) -> Any:
    """The type of an entry of a config, or of a dictionary of them, whose own type is `hint`."""
    if "type" in place:
        kind = variants(hint).get(place["type"])
        return None if kind is None else typing.get_type_hints(kind, include_extras=True).get(key)
    return next((typing.get_args(m)[1] for m in members(hint) if typing.get_origin(m) is dict), None)


def _by_name(value: Any, hint: Any, path: str, option: str) -> Any:
    """A variant named by a word, or as JSON, with all its fields; the rest as it is. Raises OverrideError for words that name none."""
    known = variants(hint)
    if isinstance(value, dict) and known:
        with suppress(ValueError):  # `to_run` says where it does not fit, unless a later path mends it
            return msgspec.to_builtins(converted(value, hint, path))
    if not isinstance(value, str) or not known or _takes_words(hint):
        return value
    if value not in known:
        numbers = " or a number" if any(m in (int, float) for m in members(hint)) else ""
        raise OverrideError(
            f"{option} {path}: is {value!r}; expected {', '.join(known)}{numbers}, or a variant as JSON"
        )
    needed = [field.encode_name for field in msgspec.structs.fields(known[value]) if field.required]
    if needed:
        inner = ",".join([f'"type":"{value}"', *(f'"{name}":...' for name in needed)])
        raise OverrideError(
            f"{option} {path}: {value!r} needs {', '.join(needed)}; give it as JSON: --set {path}='{{{inner}}}'"
        )
    return msgspec.to_builtins(known[value]())


def _takes_words(hint: Any) -> bool:
    return any(m is str or typing.get_origin(m) is typing.Literal for m in members(hint))
