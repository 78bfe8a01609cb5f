"""Accuracy on each task after each task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from sparsecode.plots.style import LARGE, SMALL, captioned, headed, lettered, titled

__all__ = ["forgetting_matrices"]


def forgetting_matrices(
    matrices: dict[str, Sequence[Sequence[float]]], tasks: Sequence[str], title: str = ""
) -> Figure:
    """A square per run: row t after task t, column s of task s; what was not seen yet is faint."""
    figure = Figure(figsize=(3.6 * len(matrices) + 0.6, 3.9), layout="constrained")
    axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
        values = np.asarray(matrix)
        seen = np.tril(np.ones_like(values)) > 0
        ax.imshow(values, vmin=0, vmax=1, cmap="Blues", alpha=np.where(seen, 1.0, 0.25))
        for (t, s), value in np.ndenumerate(values):
            ax.text(
                s,
                t,
                f"{value:.0%}",
                ha="center",
                va="center",
                fontsize=SMALL,
                color="white" if value > 0.6 else "black",
            )
        ax.set_xticks(range(len(tasks)), tasks)
        ax.set_yticks(range(len(tasks)), tasks)
        headed(ax, name, len(matrices))
        ax.set_xlabel("accuracy on classes")
        lettered(ax)
    axes[0].set_ylabel("after training on classes", fontsize=LARGE)
    captioned(figure, "per cent of samples; faint: classes not yet seen")
    titled(figure, title)
    return figure
