"""The record of a named sweep."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from sparsecode.recipes import RECIPES
from sparsecode.specs import Spec

__all__ = ["Experiment", "Lines", "StartedFrom"]

Lines = Annotated[tuple[str, ...], Meta(min_length=1)]


class StartedFrom(Spec, tag="started_from"):
    """Runs of `recipe`, over these axes, that are trained first; the runs of an experiment start from their encoders."""

    recipe: str
    over: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


class Experiment(Spec, tag="experiment"):
    """A sweep with a question: `y` against `x`, over seeds, a line per recipe and value of every further axis.

    `over` and `fixed` are what `--over` and `--set` take. `x` is the path of an axis (`start.PATH` of one of `start`), `y` a dotted place in a line of
    `results.jsonl`: `activity.active_clean`, or `scores.encode.l0`. `about` cites the source and says where this differs.
    """

    title: str
    about: str
    recipes: Lines
    over: tuple[str, ...]
    x: str
    y: str
    fixed: tuple[str, ...] = ()
    start: StartedFrom | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        paths = [text.partition("=")[0] for text in self.over]
        paths += [f"start.{text.partition('=')[0]}" for text in (self.start.over if self.start else ())]
        if self.x not in paths:
            raise ValueError(f"Experiment: x is {self.x!r}; expected one of the axes in over, {', '.join(paths)}")
        if unknown := [
            name for name in (*self.recipes, *([self.start.recipe] if self.start else [])) if name not in RECIPES
        ]:
            raise ValueError(f"Experiment: no recipe {unknown[0]!r}; choose from {', '.join(RECIPES)}")
