"""Figures of many ranges: every point inside its axes, no label on another; and the helper that says so sees what is wrong."""

from __future__ import annotations

import ast
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from all_figures import FIGURES, RECORDS, frontier, swept
from looked_at import faults
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from sparsecode import plots
from sparsecode.plots import training_curves
from sparsecode.plots.style import COLOURS

DRAWN: dict[str, Callable[[], Figure]] = FIGURES | {
    "narrow frontier": lambda: frontier(10.1, 10.2, 10.9),
    "short frontier": lambda: frontier(8, 12, 17, 25),
    "wide frontier": lambda: frontier(0.3, 9, 800, 9000),
    "many sizes": lambda: swept(8, 16, 24, 32, 48, 64, 96, 128, 160, 200),
    "crowded sizes": lambda: swept(*range(100, 1100, 50)),
    "words": lambda: swept(*(f"topk k={k} and more of it" for k in range(5))),
}


SELDOM = ("short frontier", "wide frontier", "many sizes", "words", "threshold_curves", "curves_beside", "sweep_panels")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SELDOM else n for n in DRAWN])
def test_every_point_is_seen_and_labels_are_apart(name: str) -> None:
    assert faults(DRAWN[name]()) == []


def test_every_function_that_draws_is_among_them() -> None:
    """Those of which a figure comes back: what `sweep_frames` yields are pixels."""
    names: set[str] = set()
    for module in Path(plots.__file__).parent.glob("[!_]*.py"):
        for node in ast.parse(module.read_text()).body:
            if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id == "Figure":
                names.add(node.name)
    assert names == FIGURES.keys()


def test_what_is_wrong_is_found() -> None:
    figure = Figure(figsize=(3, 2))
    axes = figure.add_subplot()
    axes.plot([1, 2, 3], [1, 50, 2], color="C0", label="line")
    axes.set_ylim(0, 10)
    axes.set_xticks([1, 1.05, 3], ["a long label", "another label", "c"])
    axes.legend(["line"], loc="lower left", fontsize=5)
    axes.set_title("a title that is longer than the figure is wide, by much")
    figure.add_subplot(position=(0.8, 0.8, 0.1, 0.1)).set_xticks([0, 1])
    said = "\n".join(faults(figure))
    for fault in (
        "1 points of 'line' are outside",
        "the legend covers 1 points of 'line'",
        "tick labels 'a long label' and 'another label' overlap",
        "colour #1f77b4 is not one of the style",
        "text 'line' has letters of size 5",
        "text 'a title that is longer than the figure is wide, by much' leaves the figure",
        "axes 1 '': the x axis has no label",
    ):
        assert fault in said


def test_what_never_changes_takes_no_panel_and_is_told() -> None:
    figure = training_curves(RECORDS, "run")
    assert "constant: dead 0" in {text.get_text() for text in figure.texts}
    panels = {axes.get_title(): axes.get_yscale() for axes in figure.axes if axes.lines}
    assert panels == {"loss": "log", "offset": "symlog", "L0: active codes per sample": "linear"}


def test_colours_differ_for_the_colour_blind() -> None:
    """At least 0.1 apart as those see them who lack one kind of cone (Viénot, Brettel & Mollon 1999, in linear RGB)."""
    for lost in (
        [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    ):
        seen = [np.clip(np.array(lost) @ np.array(to_rgb(colour)) ** 2.2, 0, 1) ** (1 / 2.2) for colour in COLOURS]
        assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 0.1
