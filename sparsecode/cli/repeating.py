"""The command that trains a config again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from sparsecode.data import InMemory
from sparsecode.leaves import foreign_types
from sparsecode.overrides import OverrideError, assign
from sparsecode.recipes import RECIPES
from sparsecode.runs import Run
from sparsecode.specs import Spec, differences, plain

__all__ = ["command_of"]


def command_of(config: Run) -> tuple[str, str]:
    """The line that trains this config again, from the nearest recipe, and a note on it; an empty line if there is none.

    The line is tried: its options, put into the recipe, give the config.

    >>> from sparsecode.recipes import RECIPES
    >>> command_of(RECIPES["digits-topk"]())
    ('sparsecode train digits-topk', '')
    """
    first = config.unextended
    if isinstance(config.data, InMemory):
        return "", "trained on samples in memory: call fit again with the same samples"
    if foreign_types(config):
        return "", "the config has parts of your own: call run again with this config"
    name = min(RECIPES, key=lambda name: len(differences(RECIPES[name](), first)))
    options = list(_changes(RECIPES[name](), first, ""))
    try:
        same = assign(RECIPES[name](), tuple(options)) == first
    except OverrideError:
        same = False
    if not same:
        return "", "no recipe leads to this config by options: call run again with it"
    line = shlex.join(["sparsecode", "train", name, *(word for option in options for word in ("--set", option))])
    return line, f"extended afterwards to {config.train.epochs:g} epochs (--extend)" if config.extensions else ""


def _changes(old: Any, new: Any, path: str) -> Iterator[str]:
    """`path=JSON` for each place in which two configs differ; whole variants where their types do."""
    if old == new:
        return
    if isinstance(old, Spec) and type(old) is type(new):
        for field in new.__struct_fields__:
            yield from _changes(getattr(old, field), getattr(new, field), f"{path}.{field}".lstrip("."))
    else:
        yield f"{path}={json.dumps(plain(new), ensure_ascii=False, separators=(',', ':'))}"
