"""Sweeps by name: which recipes, what varies, what to draw, and how it compares with the original."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from sparsecode.recipes import RECIPES
from sparsecode.specs import Spec

__all__ = ["EXPERIMENTS", "Experiment"]

Lines = Annotated[tuple[str, ...], Meta(min_length=1)]


class Experiment(Spec, tag="experiment"):
    """A sweep with a question: `y` against `x`, over seeds, a line per recipe and value of every further axis.

    `over` and `fixed` are what `--over` and `--set` take. `x` is the path of an axis, `y` a dotted place in a line of
    `results.jsonl`: `activity.active_clean`, or `scores.encode.l0`. `about` cites the source and says where this differs.
    """

    title: str
    about: str
    recipes: Lines
    over: Lines
    x: str
    y: str
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        paths = [text.partition("=")[0] for text in self.over]
        if self.x not in paths:
            raise ValueError(f"Experiment: x is {self.x!r}; expected one of the axes in over, {', '.join(paths)}")
        if unknown := [name for name in self.recipes if name not in RECIPES]:
            raise ValueError(f"Experiment: no recipe {unknown[0]!r}; there is {', '.join(RECIPES)}")


EXPERIMENTS: dict[str, Experiment] = {
    "digits-noise": Experiment(
        title="Input noise silences units: scikit-learn's digits",
        about="Bricken et al., ICML 2023, the first figure in small: 100 units in place of 10 000, digits in place of CIFAR-10.",
        recipes=("digits-dae",),
        over=("model.corruption.sigma=0,0.1,0.3,0.8,1.5", "seed=0,1,2"),
        x="model.corruption.sigma",
        y="activity.active_clean",
        fixed=("model.corruption.unit=input", "train.epochs=60", "evaluate.sigmas=[]"),
    ),
}
