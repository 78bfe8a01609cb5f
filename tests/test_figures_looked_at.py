"""Figures of many ranges: every point inside its axes, no label on another; and the helper that says so sees what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from looked_at import faults
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from sparsecode.plots import (
    FrontierPoint,
    SweepPoint,
    ablation_lines,
    accuracy_curves,
    active_over_epochs,
    code_usage,
    equal_l0,
    firing_density,
    matched_cosines,
    sparsity_frontier,
    sweep_lines,
    training_curves,
)
from sparsecode.plots.style import COLOURS

STEEP = [
    {"kind": "train", "step": 10 * i, "loss": 1e6 * math.exp(-i) + 5, "offset": 1 - 900 * math.exp(-i), "dead": 0.0}
    for i in range(1, 200)
]
ODD = [
    {"kind": "evaluate", "step": 400 * i, "encode/l0": 300.0 if i == 1 else 10.0, "encode/dead": 0.0}
    for i in range(1, 6)
]


def frontier(*counts: float) -> Figure:
    points = [FrontierPoint(f"{i}", [count], [20 + i], [0.5 + 0.01 * i]) for i, count in enumerate(counts)]
    return sparsity_frontier({"line": points, "other": points[:1]}, "weight", "frontier")


def swept(*places: float | str) -> Figure:
    return sweep_lines({"line": [SweepPoint(place, [1.0, 2.0]) for place in places]}, "x", "y", "title")


DRAWN: dict[str, Callable[[], Figure]] = {
    "curves": lambda: training_curves([*STEEP, *ODD], "steep"),
    "narrow frontier": lambda: frontier(10.1, 10.2, 10.9),
    "short frontier": lambda: frontier(8, 12, 17, 25),
    "frontier": lambda: frontier(2, 9, 31, 64),
    "wide frontier": lambda: frontier(0.3, 9, 800, 9000),
    "sweep": lambda: swept(0, 0.05, 0.1, 0.3, 0.8, 1.5, 3, 10),
    "many sizes": lambda: swept(8, 16, 24, 32, 48, 64, 96, 128, 160, 200),
    "crowded sizes": lambda: swept(*range(100, 1100, 50)),
    "words": lambda: swept(*(f"topk k={k} and more of it" for k in range(5))),
    "labels": lambda: accuracy_curves({"a": ([1, 2, 5, 10, 20, 50, 100, 101, 102], [0.5] * 9, [0.1] * 9)}),
    "ablation": lambda: ablation_lines([0, 0.1, 0.3], {"a": [[0.9], [0.2, 0.3], [0.01]]}, title="shares"),
    "epochs": lambda: active_over_epochs({"a": ([0.5, 1, 2], [0.9, 0.05, 0.001])}, ends={"a": 0.0005}),
    "usage": lambda: code_usage({"a": (np.array([0.0, 0.5, 1.0]), np.array([1, 2, 3]))}, "use"),
    "density": lambda: firing_density({"a": [0.0, 0.01, 1.0]}, 100, [0.2, 0.9], title="density"),
    "matched": lambda: matched_cosines({"a": [0.1, 0.9], "b": [-0.2, 1.0]}, "matched"),
    "equal": lambda: equal_l0({"a long name of a panel": {"one": 0.1, "another": 1.7}, "b": {"one": 0.2}}, "errors"),
}


SELDOM = ("short frontier", "frontier", "many sizes", "ablation", "epochs", "usage")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SELDOM else n for n in DRAWN])
def test_every_point_is_seen_and_labels_are_apart(name: str) -> None:
    assert faults(DRAWN[name]()) == []


def test_what_is_wrong_is_found() -> None:
    figure = Figure(figsize=(3, 2))
    axes = figure.add_subplot()
    axes.plot([1, 2, 3], [1, 50, 2], label="line")
    axes.set_ylim(0, 10)
    axes.set_xticks([1, 1.05, 3], ["a long label", "another label", "c"])
    said = " ".join(faults(figure))
    assert "1 points of 'line' are outside" in said
    assert "'a long label' and 'another label' overlap" in said


def test_what_never_changes_takes_no_panel_and_is_told() -> None:
    figure = training_curves([*STEEP, *ODD], "run")
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
