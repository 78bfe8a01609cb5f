"""Command-line options for every number in a config, derived from the config itself."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import tyro
from msgspec import Meta

from sparsecode.overrides import to_run
from sparsecode.runs import Run
from sparsecode.specs import Spec

__all__ = ["UsageError", "options_of", "repeated", "with_options"]


class UsageError(Exception):
    """The command line asks for something that cannot be."""


def repeated(argv: Sequence[str], names: Sequence[str]) -> list[str]:
    """`--set A B` as `--set A --set B`, for the options of these names whose values have a `=`."""
    found: list[str] = []
    taking = ""
    for word in argv:
        if taking and "=" in word and not word.startswith("-"):
            found += [] if found[-1] == taking else [taking]
        elif not word.startswith("-"):
            taking = ""
        if word.startswith("-"):
            taking = word if word in names else ""
        found.append(word)
    return found


def options_of(config: Run) -> type:
    """A dataclass with a field per number, string or tuple in `config`, nested as it is, with these defaults."""
    return _options(config, "Config")


def with_options(config: Run, options: Any) -> Run:
    """`config` with the values of an instance of `options_of(config)`."""

    def merge(raw: Any, given: Any) -> Any:
        if dataclasses.is_dataclass(given):
            changed = {f.name: merge(raw[f.name], getattr(given, f.name)) for f in dataclasses.fields(given)}
            return {**raw, **changed}
        return given

    return to_run(merge(msgspec.to_builtins(config), options))


def _options(value: Spec | dict[str, Spec], name: str) -> type:
    if isinstance(value, dict):
        items = [(key, item, Any) for key, item in value.items() if key.isidentifier()]
        doc = ""
    else:
        hints = typing.get_type_hints(type(value), include_extras=True)
        items = [(key, getattr(value, key), hints[key]) for key in value.__struct_fields__]
        doc = (type(value).__doc__ or "").split("\n")[0].rstrip(".")
    fields: list[tuple[str, Any, Any]] = []
    for key, item, hint in items:
        if isinstance(item, Spec | dict):
            nested = _options(item, f"{name}_{key}")
            variants = _variants(hint)
            if len(variants) > 1:
                nested.__doc__ = f"{nested.__doc__} (other variants by --set: {', '.join(variants)})"
            fields.append((key, nested, dataclasses.field(default_factory=nested)))
        else:
            kind = Annotated[_kind_of(item, hint), tyro.conf.arg(help=_help(hint))]
            fields.append((key, kind, dataclasses.field(default=item)))
    made = dataclasses.make_dataclass(name, fields)
    made.__doc__ = doc
    return made


def _members(hint: Any) -> list[Any]:
    """The alternatives of a type, unions and Annotated taken apart."""
    if typing.get_origin(hint) is Annotated:
        return _members(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [m for part in typing.get_args(hint) for m in _members(part)]
    return [hint]


def _variants(hint: Any) -> list[str]:
    return [str(m.__struct_config__.tag) for m in _members(hint) if isinstance(m, type) and issubclass(m, Spec)]


def _kind_of(value: Any, hint: Any) -> Any:
    """What the option accepts: the declared type less configs, which only --set can give."""
    plain = [m for m in _members(hint) if not (isinstance(m, type) and issubclass(m, Spec))]
    if not plain or hint is Any:
        return type(value)
    kind = plain[0]
    for member in plain[1:]:
        kind = kind | member
    return kind


def _metas(hint: Any) -> list[Meta]:
    own = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Meta)]
    return own + [m for part in typing.get_args(hint) for m in _metas(part)]


def _help(hint: Any) -> str:
    metas = _metas(hint)
    text = next((m.description for m in metas if m.description), "")
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [
        f"{sign} {getattr(m, name)}" for m in metas for name, sign in signs.items() if getattr(m, name) is not None
    ]
    return f"{text} ({', '.join(bounds)})".strip() if bounds else text
