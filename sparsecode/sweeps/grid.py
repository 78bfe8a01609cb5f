"""Every combination of changes over recipes, each with a folder named after it."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sparsecode.overrides import OverrideError, assign, replaced, value_at
from sparsecode.recipes import RECIPES
from sparsecode.runs import Evaluate, Run, RunFolder
from sparsecode.specs import parsed, plain
from sparsecode.sweeps.jobs import Job

__all__ = ["Axis", "jobs_of"]

FACTOR = re.compile(r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)x", re.IGNORECASE)


class Multiple(NamedTuple):
    """A multiple of the recipe's value."""

    times: float


class Axis(NamedTuple):
    """What varies: a dotted path in the config, and its values."""

    path: str
    values: tuple[Any, ...]

    @classmethod
    def parse(cls, text: str) -> Axis:
        """`PATH=V,V,...`: each V is JSON, a bare word, or a number with an x behind it, a multiple of the recipe's value."""
        path, equals, values = text.partition("=")
        if not (path and equals and values):
            raise OverrideError(
                f"--over {text}: expected PATH=VALUE,VALUE,... such as model.weight=0.5x,1x,2x or seed=0,1"
            )
        try:
            found: list[Any] = parsed(f"[{values}]", f"--over {path}")
        except ValueError:
            found = [_value(part.strip()) for part in values.split(",")]
        twice = [value for i, value in enumerate(found) if value in found[:i]]
        if twice:
            raise OverrideError(f"--over {text}: {twice[0]!r} is there twice")
        return cls(path, tuple(found))


def _value(text: str) -> Any:
    if factor := FACTOR.fullmatch(text):
        return Multiple(float(factor[1]))
    try:
        return parsed(text, "--over")
    except ValueError:
        return text


def jobs_of(
    recipes: Sequence[str], axes: Sequence[Axis], assignments: tuple[str, ...], root: Path, figures: bool = True
) -> list[Job]:
    """Every combination of values for every recipe, with `assignments` (as `--set`) put in all of them first.

    Folders lie in `root` and are named after recipe, values and a hash of the whole config: another config is another folder,
    and an existing run keeps its folder. Raises OverrideError for unknown recipes and paths, values that do not fit,
    and combinations that come out the same.
    """
    if unknown := [name for name in recipes if name not in RECIPES]:
        raise OverrideError(f"no recipe {unknown[0]!r}; choose from {', '.join(RECIPES)}")
    there = {_hash_of(path): path.name for path in sorted(root.iterdir())} if root.is_dir() else {}
    jobs: list[Job] = []
    for recipe in recipes:
        base = assign(RECIPES[recipe](), assignments)
        fixed = dict(_fixed(base, text) for text in assignments)
        for values in itertools.product(*(axis.values for axis in axes)):
            overrides = {axis.path: _resolved(base, axis.path, v) for axis, v in zip(axes, values, strict=True)}
            config = replaced(base, overrides, "--over")
            words = [recipe, *(f"{_short(path, axes)}={_word(value)}" for path, value in overrides.items())]
            known = there.get(_hash_trained(config), "")
            name = known if known.startswith(f"{recipe}_") else "_".join([*words, _hash(config)])
            jobs.append(Job(recipe, overrides, config, root / name, fixed, figures))
    names = [job.folder.name for job in jobs]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise OverrideError(f"two runs of this sweep would be the same: {twice[0]}")
    return jobs


def _fixed(base: Run, assignment: str) -> tuple[str, Any]:
    """A path and what it was set to; as the text says where that has taken the place itself away (null), or given it another name."""
    path, _, text = assignment.partition("=")
    try:
        return path, value_at(base, path)
    except OverrideError:
        return path, _value(text)


def _hash_of(folder: Path) -> str:
    """The hash of the run in a folder, as it is today: an older version's config has fewer fields than its name was made of."""
    try:
        return _hash_trained(RunFolder(folder).config())
    except (OSError, ValueError):  # not begun, damaged, or no run
        return folder.name.rpartition("_")[2]


def _hash_trained(config: Run) -> str:
    """The hash of a config but for what is measured at validations, which makes no other run: `conflicts`."""
    evaluate = msgspec.structs.replace(config.evaluate, validation=Evaluate().validation)
    return _hash(msgspec.structs.replace(config, evaluate=evaluate))


def _hash(config: Run) -> str:
    return hashlib.blake2b(msgspec.json.encode(plain(config)), digest_size=4).hexdigest()


def _resolved(base: Run, path: str, value: Any) -> Any:
    if not isinstance(value, Multiple):
        return value
    own = value_at(base, path, "--over")
    if isinstance(own, bool) or not isinstance(own, int | float):
        raise OverrideError(f"--over {path}: {value.times:g}x needs a number to multiply, and {path} is {own!r}")
    product = float(f"{own * value.times:.12g}")  # 3 x 0.1 is 0.3
    return int(product) if isinstance(own, int) and product.is_integer() else product


def _short(path: str, axes: Sequence[Axis]) -> str:
    last = path.rpartition(".")[2]
    return last if [axis.path.rpartition(".")[2] for axis in axes].count(last) == 1 else path


def _word(value: Any) -> str:
    """A value as part of a folder's name."""
    text = f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
    if isinstance(value, dict | list) or not re.fullmatch(r"[\w.+-]+", text):
        kind = value.get("type", "") if isinstance(value, dict) else ""
        text = f"{kind}{hashlib.blake2b(msgspec.json.encode(value), digest_size=3).hexdigest()}"
    return text
