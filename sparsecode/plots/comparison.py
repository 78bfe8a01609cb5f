"""Whole images beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsecode.plots.style import SMALL, captioned, headed, titled

__all__ = ["images_beside"]

SCALE = "black and white: least and greatest value of the last image of a row; values beyond are clipped"


def images_beside(
    rows: Mapping[str, Sequence[NDArray[Any]]], labels: Sequence[str], title: str = "", most: int = 6
) -> Figure:
    """A row per image, a column per version of it (`labels`): grey [h, w] or colour [h, w, 3], each row on one scale.

    The scale is the range of the row's last image. Beyond `most` rows the rest is left out, and the title says so.
    """
    if not rows:
        raise ValueError("rows is empty; expected at least one image")
    shown = dict(list(rows.items())[:most])
    ratios = [images[-1].shape[0] / images[-1].shape[1] for images in shown.values()]
    high = 3.4 * sum(ratios) + 0.25 * len(ratios)
    figure = Figure(figsize=(3.4 * len(labels), high + 0.5), layout="constrained")
    grid = figure.subplots(len(shown), len(labels), squeeze=False, height_ratios=ratios)
    for line, (name, versions) in zip(grid, shown.items(), strict=True):
        low, high = float(np.min(versions[-1])), float(np.max(versions[-1]))
        for axes, image, label in zip(line, versions, labels, strict=True):
            values = image.astype(np.float64)
            colour = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
            axes.imshow(colour, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            head = f"{name}: {label}" if name else label
            headed(axes, head, len(labels), SMALL)
            axes.set_axis_off()
    captioned(figure, SCALE)
    note = f" (first {most} of {len(rows)})" if len(rows) > most else ""
    titled(figure, f"{title}{note}")
    return figure
