"""Codes as stem plots beside their decodings: encodings, edits and animations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from sparsecode.plots.saving import literal
from sparsecode.plots.style import CHANGED, LARGE, QUIET, SMALL, captioned, colour, shades, titled
from sparsecode.plots.tiles import pictures, scaled

__all__ = ["edits_view", "encoding_view", "sweep_frames"]

Array = NDArray[np.floating[Any]]

ACTIVE = colour(0)


def encoding_view(
    inputs: Array,
    codes: Sequence[Array] | Array,
    decodings: Array,
    shape: Sequence[int],
    span: tuple[float, float],
    title: str = "",
    labels: Sequence[str] = (),
) -> Figure:
    """A row per sample: the sample, its code as stems with dots at what is not 0, and the decoding.

    `inputs` and `decodings` [n, *F], `codes` n arrays [n_code], of one length or of several; `span` are the values shown as black and
    white; `labels` stand above the codes. All codes share one scale.
    """
    left = scaled(pictures(inputs, shape, "inputs"), *span)
    right = scaled(pictures(decodings, shape, "decodings"), *span)
    alike = len({len(z) for z in codes}) == 1
    high = (1.65 if alike else 2.05) * len(codes) + 1.15
    figure = Figure(figsize=(9, high))
    wide = 1.3 * shape[-1] / shape[-2]
    # axes are placed by hand here and below: constrained layout takes several times as long
    figure.subplots_adjust(0.01, 0.65 / high, 0.99, 1 - 0.5 / high, wspace=0.2, hspace=0.22 if alike else 0.5)
    grid = figure.subplots(len(codes), 3, squeeze=False, width_ratios=(wide, 8.4 - 2 * wide, wide))
    reach = _reach(np.concatenate([np.ravel(z) for z in codes]))
    names = [f"{label}: " for label in labels] or [""] * len(codes)
    for line, image, z, decoding, label in zip(grid, left, codes, right, names, strict=True):
        _picture(line[0], image)
        _stems(line[1], z, reach)
        line[1].set_title(f"{label}{np.count_nonzero(z)} of {len(z)} active", fontsize=SMALL, pad=3)
        _picture(line[2], decoding)
    grid[0, 0].set_title("sample", fontsize=SMALL, pad=3)
    grid[0, 2].set_title("decoding", fontsize=SMALL, pad=3)
    for axes in grid[:-1, 1] if alike else ():
        axes.set_xticklabels([])
    for axes in grid[-1:, 1] if alike else grid[:, 1]:
        axes.set_xlabel("code", fontsize=LARGE, labelpad=1)
    captioned(figure, f"dots: values of the codes that are not 0; {shades(span)}")
    titled(figure, title)
    return figure


def edits_view(
    codes: Array,
    decodings: Array,
    changed: int,
    labels: Sequence[str],
    shape: Sequence[int],
    span: tuple[float, float],
    title: str = "",
) -> Figure:
    """A column per edit: the code [n, n_code], the `changed` one in orange, above its decoding [n, *F]; y-limits are shared."""
    tiles = scaled(pictures(decodings, shape, "decodings"), *span)
    figure = Figure(figsize=(3.1 * len(codes), 5.1))
    figure.subplots_adjust(0.06, 0.06, 0.99, 0.885, wspace=0.06, hspace=0.28)
    grid = figure.subplots(2, len(codes), squeeze=False, height_ratios=(1, 1.2))
    reach = _reach(codes)
    for i, (z, tile, label) in enumerate(zip(codes, tiles, labels, strict=True)):
        _stems(grid[0, i], z, reach, changed)
        grid[0, i].set_title(label, fontsize=LARGE)
        grid[0, i].set_xlabel("code", fontsize=LARGE)
        if i:
            grid[0, i].set_yticklabels([])
        _picture(grid[1, i], tile)
    captioned(figure, f"dots: values of the codes that are not 0, in orange the one that is edited; {shades(span)}")
    titled(figure, title)
    return figure


def sweep_frames(
    codes: Array, decodings: Array, changed: int, shape: Sequence[int], span: tuple[float, float], title: str = ""
) -> Iterator[NDArray[np.uint8]]:
    """Frames [h, w, 3] of a film: stems of codes [n, n_code] that differ in the `changed` one, in orange, beside their decodings."""
    tiles = scaled(pictures(decodings, shape, "decodings"), *span)
    figure = Figure(figsize=(6, 2.6), dpi=100)  # a solved layout would move from frame to frame
    canvas = FigureCanvasAgg(figure)
    stems = figure.add_axes((0.08, 0.15, 0.5, 0.65))
    beside = figure.add_axes((0.62, 0.06, 0.36, 0.8))
    figure.text(0.5, 0.93, title, ha="center", fontsize=LARGE)
    rest = codes[0].copy()
    rest[changed] = 0
    _stems(stems, rest, _reach(codes))
    (stem,) = stems.plot([], [], "o-", color=CHANGED, markersize=4.5, linewidth=1.2, markevery=[1])
    head = stems.set_title("", fontsize=LARGE, color=CHANGED, family="monospace")
    image = _picture(beside, tiles[0])
    moving = (stem, head, image)
    for artist in moving:
        artist.set_animated(True)  # the rest is drawn once
    literal(figure)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    for value, tile in zip(codes[:, changed].tolist(), tiles, strict=True):
        canvas.restore_region(still)
        stem.set_data([changed, changed], [0, value])
        head.set_text(f"code {changed} at {round(value, 2) + 0.0:+.2f}")
        image.set_data(tile)
        for artist in moving:
            figure.draw_artist(artist)
        yield np.array(canvas.buffer_rgba())[..., :3]


def _reach(codes: Array) -> float:
    return 1.1 * (float(np.abs(codes).max()) or 1.0)


def _picture(axes: Axes, tile: Array) -> AxesImage:
    image = axes.imshow(tile, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color(QUIET)
    return image


def _stems(axes: Axes, z: Array, reach: float, changed: int | None = None) -> None:
    at = np.flatnonzero(z)
    colours = [CHANGED if j == changed else ACTIVE for j in at]
    small = max(6.0, min(20.0, 1500 / max(1, len(at)) / 4))
    axes.axhline(0, color=QUIET, linewidth=0.8, zorder=0)
    axes.vlines(at, 0, z[at], colors=colours, linewidth=1.2)
    axes.scatter(at, z[at], c=colours, s=small, zorder=3)
    if changed is not None and z[changed] == 0:
        axes.scatter([changed], [0], c=CHANGED, s=small, zorder=3)
    axes.set_xlim(-0.02 * len(z) - 0.5, 1.02 * len(z) - 0.5)
    axes.set_ylim(-reach, reach)
    axes.tick_params(labelsize=SMALL)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
