"""The command that trains a config again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import msgspec

from sparsecode.cli.arguments.train import Option, OptionTable
from sparsecode.cli.options import table_of
from sparsecode.data import InMemory
from sparsecode.leaves import foreign_types
from sparsecode.overrides import OverrideError, assign
from sparsecode.recipes import RECIPES
from sparsecode.runs import Run
from sparsecode.specs import Spec, differences, plain

__all__ = ["command_of"]


def command_of(config: Run) -> tuple[str, str]:
    """The line that trains this config again, from the nearest recipe, and a note on it; an empty line if there is none.

    The changes are tried: put into the recipe they give the config.

    >>> from sparsecode.recipes import RECIPES
    >>> from sparsecode.overrides import assign
    >>> command_of(assign(RECIPES["digits-topk"](), ("train.epochs=3",)))
    ('sparsecode train digits-topk --train.epochs 3', '')
    """
    first = config.unextended
    if isinstance(config.data, InMemory):
        return "", "trained on samples in memory: call fit again with the same samples"
    if foreign_types(config):
        return "", "the config has parts of your own: call run again with this config"
    name = min(RECIPES, key=lambda name: len(differences(RECIPES[name](), first)))
    changes = dict(_changes(RECIPES[name](), first, ""))
    try:
        same = assign(RECIPES[name](), tuple(f"{path}={_json(value)}" for path, value in changes.items())) == first
    except OverrideError:
        same = False
    if not same:
        return "", "no recipe leads to this config by options: call run again with it"
    table = table_of(first, "")
    typed = {path: words for path, value in changes.items() if (words := _words(value, path, table))}
    assigned = [f"{path}={_json(value)}" for path, value in changes.items() if path not in typed]
    options = [word for words in typed.values() for word in words] + (["--set", *assigned] if assigned else [])
    line = shlex.join(["sparsecode", "train", name, *options])
    return line, f"extended afterwards to {config.train.epochs:g} epochs (--extend)" if config.extensions else ""


def _words(value: Any, path: str, table: OptionTable | Option | None) -> list[str]:
    """The option of this path with its value, as one types it; nothing where there is none, or only --set takes the value."""
    for key in path.split("."):
        table = table.fields.get(key) if isinstance(table, OptionTable) else None
    values = value if isinstance(value, list) else [value]
    if not isinstance(table, Option) or not all(
        isinstance(v, int | float | str) and not isinstance(v, bool) for v in values
    ):
        return []
    words = [f"{v:g}" if isinstance(v, float) and float(f"{v:g}") == v else str(v) for v in values]
    plain_words = words and all(word and not word.startswith("-") for word in words)
    return [f"--{path.replace('_', '-')}", *words] if plain_words else []


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _changes(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Path and plain value for each place in which two configs differ; whole variants where their types do."""
    if old == new:
        return
    if isinstance(old, Spec) and type(old) is type(new):
        for field in new.__struct_fields__:
            yield from _changes(getattr(old, field), getattr(new, field), f"{path}.{field}".lstrip("."))
    else:
        yield path, _brief(new)


def _brief(value: Any) -> Any:
    """As plain JSON, without the fields of records that have their defaults."""
    if isinstance(value, Spec):
        fields = {
            field.name: getattr(value, field.name)
            for field in msgspec.structs.fields(value)
            if not _is_default(value, field)
        }
        return {"type": value.__struct_config__.tag} | {name: _brief(item) for name, item in fields.items()}
    if isinstance(value, tuple):
        return [_brief(item) for item in value]
    if isinstance(value, dict):
        return {name: _brief(item) for name, item in value.items()}
    return plain(value)


def _is_default(value: Spec, field: msgspec.structs.FieldInfo) -> bool:
    default = field.default_factory() if callable(field.default_factory) else field.default
    return not field.required and getattr(value, field.name) == default
