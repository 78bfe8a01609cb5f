"""Changes to a config, given as text: what `--set` and sweeps understand."""

from __future__ import annotations

import copy
import re
from typing import Any

import msgspec

from sparsecode.runs import Run
from sparsecode.specs import converted, parsed

__all__ = ["OverrideError", "assign", "replaced", "to_run", "value_at"]


MEANT_AS_JSON = re.compile(r"[{\[]|-?(\d|NaN|Infinity)")


class OverrideError(ValueError):
    """A change that the config does not admit."""


def assign(config: Run, assignments: tuple[str, ...], option: str = "--set") -> Run:
    """`config` with each `path=JSON` put in place: any value, whole variants too.

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
        place, last = _find(raw, path, option)
        place[last] = copy.deepcopy(value)  # later paths may lie inside it
    return to_run(raw)


def value_at(config: Run, path: str, option: str = "--set") -> Any:
    """What stands at a dotted path, as plain JSON types; errors as `assign`."""
    place, last = _find(msgspec.to_builtins(config), path, option)
    return place[last]


def to_run(raw: Any) -> Run:
    """A config from plain JSON types. Raises OverrideError naming the place of a value that does not fit."""
    try:
        return converted(raw, Run, "config")
    except ValueError as error:
        raise OverrideError(str(error)) from None


def _find(raw: dict[str, Any], path: str, option: str) -> tuple[dict[str, Any], str]:
    """The dictionary and key that a dotted path means; a key may hold dots itself (`optim.groups.*.bias`)."""
    place, rest = raw, path
    while rest not in place:
        key = next((k for k, v in place.items() if rest.startswith(f"{k}.") and isinstance(v, dict)), None)
        if key is None:
            known = ", ".join(k for k in place if k != "type")
            variant = f" of {place['type']!r} (--set a whole variant to change that)" if "type" in place else ""
            raise OverrideError(f"{option} {path}: no such place in the config; there is {known}{variant}")
        place, rest = place[key], rest.removeprefix(f"{key}.")
    return place, rest
