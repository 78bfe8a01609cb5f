"""The effect of input noise on units: distribution of pre-activations, and share of active units during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsecode.plots.ablation import share_axis
from sparsecode.plots.style import SMALL, captioned, dash, lettered, titled
from sparsecode.plots.style import colour as colour_of

__all__ = ["active_over_epochs", "pre_activation_densities"]


def pre_activation_densities(densities: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], title: str = "") -> Figure:
    """A line per run or noise level: `edges` [m + 1] and `counts` [m] of pre-activations; each line has area 1.

    Units are active to the right of 0. The axis shows all but the outermost thousandth of every line.
    """
    if not densities:
        raise ValueError("densities is empty; expected at least one")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    reach: list[float] = []
    for i, (name, (edges, counts)) in enumerate(densities.items()):
        shares = counts / counts.sum()
        axes.stairs(shares / np.diff(edges), edges, color=colour_of(i), linewidth=1.4, label=name)
        ends = np.interp((0.001, 0.999), np.concatenate([[0], np.cumsum(shares)]), edges)
        reach += [float(end) for end in ends]
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlim(min(reach), max(reach))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("pre-activation")
    axes.set_ylabel("density")
    lettered(axes)
    captioned(figure, "each line has area 1; units are active to the right of 0")
    axes.legend(fontsize=SMALL)
    titled(figure, title)
    return figure


def active_over_epochs(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str = "",
    ends: Mapping[str, float] | None = None,
) -> Figure:
    """A line per run: epochs (or steps) and the mean share of active units, on a logarithmic axis.

    `ends`: for some runs the share without noise after training, a mark at the line's end.
    """
    if not lines:
        raise ValueError("lines is empty; expected at least one run")
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, (epochs, shares)) in enumerate(lines.items()):
        colour = colour_of(i)
        axes.plot(epochs, shares, dash(i), color=colour, linewidth=1.3, label=name)
        if ends and name in ends and len(epochs):
            axes.plot(
                [epochs[-1]], [ends[name]], "o", color=colour, markersize=5, markerfacecolor="white", clip_on=False
            )
    share_axis(axes, [s for _, shares in lines.values() for s in shares] + list((ends or {}).values()))
    axes.set_xlim(left=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean share of active units")
    lettered(axes)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=SMALL)
    titled(figure, title)
    return figure
