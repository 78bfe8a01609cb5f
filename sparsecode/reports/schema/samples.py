"""Samples in a report: the pool that examples refer to, reconstructions, restorations, traversals."""

from __future__ import annotations

from typing import Any, Literal

from sparsecode.reports.schema.arrays import Cell, PackedArray
from sparsecode.specs import Spec

__all__ = ["PictureRow", "Pool", "Reconstruction", "SampleSection", "Strip"]


class Pool(Spec, tag="pool"):
    """The samples that examples and reconstructions refer to by number, 0 to n - 1; each once, however many codes show it.

    `kind`: picture (`sheet` names the sheet, picture i is sample i), row (`values` [n, n_features]; of wide rows the first features, see
    `left_out`; series, in order of time, are reserved), token (rows of activations with their `tokens` as text), other (number alone).
    `rows` [n] (i4) are their indices in the split, `labels` their labels as text, or empty. `features` are the names of
    features, or empty (then they are numbers from 0). `tokens` are texts, or ids in brackets where the tokenizer is not known.
    """

    kind: Literal["picture", "series", "row", "token", "other"]
    split: str
    rows: PackedArray
    sheet: str = ""
    values: PackedArray | None = None
    features: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    left_out: str = ""


class PictureRow(Spec, tag="picture_row"):
    """Pictures in a row, with a label of the row."""

    label: str
    pictures: tuple[Cell, ...]


class Reconstruction(Spec, tag="reconstruction"):
    """A sample and what the model makes of it. `rank`: worst, median, best by `error` (squared error per feature in data space;
    cross-entropy of classifiers).

    `outputs`: by coder, its picture, or `values` by coder [n_features] (f4; of classifiers: probabilities). `codes` are the numbers of its
    largest active codes by the main coder, largest contribution first, `activations` their values; `l0` how many are active.
    """

    sample: int
    rank: Literal["worst", "median", "best"]
    error: float
    psnr: float | None
    l0: int
    codes: tuple[int, ...]
    activations: tuple[float, ...]
    outputs: dict[str, Cell]
    values: dict[str, PackedArray]
    label: str = ""
    predicted: str = ""


class Strip(Spec, tag="strip"):
    """A figure of rows of pictures: traversals, prior samples, restored samples, masks and patches.

    `kind`: traversal, prior, restored, denoised, patches. `heads` stand above the columns (or empty). `caption` defines what is seen.
    """

    kind: Literal["traversal", "prior", "restored", "denoised", "patches"]
    title: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[PictureRow, ...]


class SampleSection(Spec, tag="sample_section"):
    """`reconstructions`: worst first, then median, then best. `decoder`: what the page of `sparsecode traverse` holds (the object in its
    `data` script: layers, weights, samples, codes), None where there is no live decoder.
    """

    reconstructions: tuple[Reconstruction, ...]
    strips: tuple[Strip, ...]
    decoder: dict[str, Any] | None = None
