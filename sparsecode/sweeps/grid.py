"""Every combination of changes over recipes, each with a folder named after it."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sparsecode.overrides import OverrideError, assign, replaced, value_at
from sparsecode.recipes import RECIPES
from sparsecode.runs import Evaluate, InitFrom, Run, RunFolder
from sparsecode.specs import parsed, plain
from sparsecode.sweeps.curves import SEED
from sparsecode.sweeps.jobs import Job

__all__ = ["PREVIOUS", "Axis", "Start", "jobs_of"]

FACTOR = re.compile(r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)x", re.IGNORECASE)


PREVIOUS = "previous"


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
            nested: list[Any] = parsed(f"[{values}]", f"--over {path}")
        except ValueError:
            nested = [_value(part.strip()) for part in values.split(",")]
        twice = [value for i, value in enumerate(nested) if value in nested[:i]]
        if twice:
            raise OverrideError(f"--over {text}: {twice[0]!r} is there twice")
        return cls(path, tuple(nested))


def _value(text: str) -> Any:
    if factor := FACTOR.fullmatch(text):
        return Multiple(float(factor[1]))
    try:
        return parsed(text, "--over")
    except ValueError:
        return text


class Start(NamedTuple):
    """Runs whose weights the runs of a sweep start from.

    `recipe`: its runs, over `axes` and with `assignments`, are trained first, and every run starts from the encoder of each of them.
    Or "previous": along the last axis of the sweep, every run but the first starts from all weights of the run before it.
    """

    recipe: str
    axes: Sequence[Axis] = ()
    assignments: tuple[str, ...] = ()


def jobs_of(
    recipes: Sequence[str],
    axes: Sequence[Axis],
    assignments: tuple[str, ...],
    root: Path,
    figures: bool = True,
    start: Start | None = None,
) -> list[Job]:
    """Every combination of values for every recipe, with `assignments` (as `--set`) put in all of them first.

    With a `start`, the runs that are started from come first. Their overrides are those of the runs that start from them as
    `start.PATH`; their seed is the seed of both, unless it is an axis of each. Assignments may change `init_from.parts` and
    `init_from.frozen`.

    Folders lie in `root` and are named after recipe, values and a hash of the whole config: another config is another folder,
    and an existing run keeps its folder. Raises OverrideError for unknown recipes and paths, values that do not fit,
    and combinations that come out the same.
    """
    named = [*recipes, *([] if start is None or start.recipe == PREVIOUS else [start.recipe])]
    if unknown := [name for name in named if name not in RECIPES]:
        raise OverrideError(f"no recipe {unknown[0]!r}; choose from {', '.join(RECIPES)}")
    if start is not None and start.recipe == PREVIOUS and not axes:
        raise OverrideError(
            "start is 'previous'; expected an axis along which runs start from the run before: give --over"
        )
    there = {_hash_of(path): path.name for path in sorted(root.iterdir())} if root.is_dir() else {}
    sources: list[Job] = []
    if start is not None and start.recipe != PREVIOUS:
        sources = jobs_of([start.recipe], start.axes, start.assignments, root, figures)
    jobs = list(sources)
    for recipe in recipes:
        base = assign(_prepared(recipe, start), assignments)
        fixed = dict(_fixed(base, text) for text in assignments)
        for source, values in itertools.product(sources or [None], itertools.product(*(axis.values for axis in axes))):
            chained = start is not None and start.recipe == PREVIOUS and values[-1] != axes[-1].values[0]
            before = jobs[-1] if chained else source
            assigned = {axis.path: _resolved(base, axis.path, v) for axis, v in zip(axes, values, strict=True)}
            inherited = {} if source is None else source.overrides
            assigned = ({SEED: inherited[SEED]} if SEED in inherited else {}) | assigned
            overrides = {f"start.{path}": value for path, value in inherited.items() if path != SEED} | assigned
            config = replaced(base, assigned, "--over")
            config = config if start is None else _starting(config, before)
            words = [recipe, *(f"{_short(path, overrides)}={_word(value)}" for path, value in overrides.items())]
            known = there.get(_hash_trained(config, root), "")
            name = known if known.startswith(f"{recipe}_") else "_".join([*words, _hash(config, root)])
            jobs.append(Job(recipe, overrides, config, root / name, fixed, figures, before and before.folder))
    names = [job.folder.name for job in jobs]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise OverrideError(f"two runs of this sweep would be the same: {twice[0]}")
    return jobs


def _prepared(recipe: str, start: Start | None) -> Run:
    """The config of a recipe, with an `init_from` for assignments to change if its runs start from others."""
    config = RECIPES[recipe]()
    if start is None:
        return config
    parts: dict[str, Any] = {"parts": ("all",)} if start.recipe == PREVIOUS else {}
    return msgspec.structs.replace(config, init_from=InitFrom(run=start.recipe, **parts))


def _starting(config: Run, before: Job | None) -> Run:
    """`config` with the run that it starts from in the place of the one that `_prepared` names; the first of a chain has none."""
    start = config.init_from
    if start is None or (before is None and start.run != InitFrom(run=PREVIOUS).run):
        return config
    run = before and msgspec.structs.replace(start, run=str(before.folder))
    return msgspec.structs.replace(config, init_from=run)


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
        return _hash_trained(RunFolder(folder).config(), folder.parent)
    except (OSError, ValueError):  # not begun, damaged, or no run
        return folder.name.rpartition("_")[2]


def _hash_trained(config: Run, root: Path) -> str:
    """The hash of a config but for what is measured at validations, which makes no other run: `conflicts`."""
    evaluate = msgspec.structs.replace(config.evaluate, validation=Evaluate().validation)
    return _hash(msgspec.structs.replace(config, evaluate=evaluate), root)


def _hash(config: Run, root: Path) -> str:
    """A run of the same sweep that it starts from counts by its name, which does not depend on where the sweep lies."""
    raw = plain(config)
    if config.init_from is not None and (path := Path(config.init_from.run)).parent == root.absolute():
        raw["init_from"]["run"] = path.name
    return hashlib.blake2b(msgspec.json.encode(raw), digest_size=4).hexdigest()


def _resolved(base: Run, path: str, value: Any) -> Any:
    if not isinstance(value, Multiple):
        return value
    assigned = value_at(base, path, "--over")
    if isinstance(assigned, bool) or not isinstance(assigned, int | float):
        raise OverrideError(f"--over {path}: {value.times:g}x needs a number to multiply, and {path} is {assigned!r}")
    product = float(f"{assigned * value.times:.12g}")  # 3 x 0.1 is 0.3
    return int(product) if isinstance(assigned, int) and product.is_integer() else product


def _short(path: str, paths: Iterable[str]) -> str:
    last = path.rpartition(".")[2]
    return last if [other.rpartition(".")[2] for other in paths].count(last) == 1 else path


def _word(value: Any) -> str:
    """A value as part of a folder's name."""
    text = f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
    if isinstance(value, dict | list) or not re.fullmatch(r"[\w.+-]+", text):
        kind = value.get("type", "") if isinstance(value, dict) else ""
        text = f"{kind}{hashlib.blake2b(msgspec.json.encode(value), digest_size=3).hexdigest()}"
    return text
