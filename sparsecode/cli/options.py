"""Command-line options for every number, string and tuple in a config, derived from the config."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Meta

from sparsecode.cli.arguments import UsageError
from sparsecode.cli.arguments.train import Option, OptionTable
from sparsecode.overrides import OverrideError, item_of, members, to_run, value_at, variants, variants_at
from sparsecode.runs import Run
from sparsecode.specs import Spec, name_of

__all__ = ["UsageError", "named_variants", "table_of", "with_options"]


def table_of(config: Run, about: str) -> OptionTable:
    """An option for each number, string or tuple in `config`, nested as it is, with these defaults."""
    return OptionTable(about, _fields(config))


def with_options(config: Run, options: Any) -> Run:
    """`config` with the values of an instance of `dataclass_of(table_of(config))`."""

    def merge(raw: Any, given: Any) -> Any:
        if dataclasses.is_dataclass(given) and isinstance(raw, list | tuple):  # of records, in their order
            return [merge(item, getattr(given, f.name)) for item, f in zip(raw, dataclasses.fields(given), strict=True)]
        if dataclasses.is_dataclass(given):
            changed = {f.name: merge(raw[f.name], getattr(given, f.name)) for f in dataclasses.fields(given)}
            return {**raw, **changed}
        return given

    return to_run(merge(msgspec.to_builtins(config), options))


def named_variants(config: Run, argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """`argv` without the options that choose a whole variant (`--model.encoder lista`, or its JSON), and these as for `--set`.

    They are read before all others, because a variant decides which options there are. `--data.type host` is `--data host`. Fields that a
    variant cannot do without are read with it, from their options (`--data.model gpt2`), if all of them are there.
    """
    rest: list[str] = []
    chosen: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        path = name.removeprefix("--").replace("-", "_")
        known = variants_at(config, path) if name.startswith("--") else {}
        if not known and name.startswith("--") and path.endswith(".type"):
            path = path.removesuffix(".type")
            known = variants_at(config, path)
        if not known:
            rest.append(word)
            continue
        value = value if equals else words.pop(0) if words else ""
        if value in known and (needed := _needed(known[value])):
            fields = {field: given for field in needed if (given := _values(words, f"{path}.{field}")) is not None}
            if len(fields) == len(needed):
                record = {"type": value} | {n: v if needed[n] else " ".join(v) for n, v in fields.items()}
                value = msgspec.json.encode(record).decode()
        if value in known or value.startswith("{") or _is_record(config, path):
            chosen.append(f"{path}={'null' if value == 'None' else value}")
        else:
            rest += [word] if equals or not value else [word, value]
    return rest, chosen


def _needed(kind: type[Spec]) -> dict[str, bool]:
    """The fields of text without a default, and whether they take several; none if there are others without a default."""
    hints = typing.get_type_hints(kind)
    needed = {field.name: hints[field.name] for field in msgspec.structs.fields(kind) if field.required}
    several = {name: typing.get_origin(hint) is tuple for name, hint in needed.items()}
    return several if all(hint is str or several[name] for name, hint in needed.items()) else {}


def _values(words: list[str], path: str) -> list[str] | None:
    """The values of an option, which is taken out of `words`; None if it is not there."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.startswith("--") and name.removeprefix("--").replace("-", "_") == path:
            last = next((k for k in range(i + 1, len(words)) if words[k].startswith("--")), len(words))
            values = ([value] if equals else []) + words[i + 1 : last]
            del words[i:last]
            return values
    return None


def _is_record(config: Run, path: str) -> bool:
    try:
        return isinstance(value_at(config, path), dict)
    except OverrideError:  # a name that could be added
        return False


def _fields(value: Spec | dict[str, Spec]) -> dict[str, Option | OptionTable]:
    if isinstance(value, dict):
        items = [(key, item, Any) for key, item in value.items() if key.isidentifier()]
    else:
        hints = typing.get_type_hints(type(value), include_extras=True)
        items = [(key, getattr(value, key), hints[key]) for key in value.__struct_fields__]
    fields: dict[str, Option | OptionTable] = {}
    for key, item, hint in items:
        if key == "extensions":  # a record of what was done
            continue
        if isinstance(item, tuple) and (kinds := variants(item_of(hint))):
            about = f"by name; --set adds one, or takes it out with null: {', '.join(kinds)}"
            fields[key] = OptionTable(about, _fields({name_of(record): record for record in item}))
        elif isinstance(item, Spec | dict):
            about = "" if isinstance(item, dict) else (type(item).__doc__ or "").split("\n")[0].rstrip(".")
            if len(known := variants(hint)) > 1:
                about = f"{about} (other variants by their name or --set: {', '.join(known)})"
            fields[key] = OptionTable(about, _fields(item))
        else:
            fields[key] = Option.of(_kind_of(item, hint), item, _help(hint))
    return fields


def _kind_of(value: Any, hint: Any) -> Any:
    """The type of the option: the declared type, for configs their names (read by `named_variants`)."""
    plain = [m for m in members(hint) if not (isinstance(m, type) and issubclass(m, Spec))]
    if not plain or hint is Any:
        return type(value)
    kind = plain[0]
    for member in plain[1:]:
        kind = kind | member
    names = tuple(variants(hint))
    return kind | Literal[names] if names else kind  # pyright: ignore[reportInvalidTypeForm] - made at run time


def _metas(hint: Any) -> list[Meta]:
    descriptions = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Meta)]
    return descriptions + [m for part in typing.get_args(hint) for m in _metas(part)]


def _help(hint: Any) -> str:
    metas = _metas(hint)
    text = next((m.description for m in metas if m.description), "")
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [
        f"{sign} {getattr(m, name)}" for m in metas for name, sign in signs.items() if getattr(m, name) is not None
    ]
    return f"{text} ({', '.join(bounds)})".strip() if bounds else text
