"""The samples that a report shows, each once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sparsecode.reports.builders.coded import Coded
from sparsecode.reports.builders.sheets import Sheets
from sparsecode.reports.builders.source import ReportSource
from sparsecode.reports.document import CodeDetail, Pool, packed

__all__ = ["PoolBuilder", "SampleNumbers"]

SHEET = "samples"
WIDTH = 64  # features of a sample that are shown as numbers


class SampleNumbers:
    """Numbers samples in the order of their first use."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}

    def number(self, sample: int) -> int:
        """The number in the pool of a sample of the split that was coded."""
        return self.numbers.setdefault(sample, len(self.numbers))

    @property
    def index(self) -> NDArray[np.int64]:
        """The samples, in the order of their numbers."""
        return np.fromiter(self.numbers, np.int64, len(self.numbers))

    def without_samples(self, split: str, details: Sequence[CodeDetail]) -> Pool:
        """The pool of samples that are not at hand: their rows in the split and, of examples in contexts, their tokens."""
        tokens = {
            example.sample: example.context.tokens[example.context.centre]
            for detail in details
            for band in detail.bands
            for example in band.examples
            if example.context is not None
        }
        return Pool(
            kind="token" if tokens else "other",
            split=split,
            rows=packed(self.index, "i4"),
            tokens=tuple(tokens.get(number, "") for number in range(len(self.numbers))) if tokens else (),
            left_out="the samples themselves, which are not at hand",
        )


class PoolBuilder(SampleNumbers):
    """The pool of samples that were coded."""

    def __init__(self, source: ReportSource, coded: Coded) -> None:
        super().__init__()
        self.source, self.coded = source, coded

    def built(self, sheets: Sheets) -> Pool:
        """The pool; its pictures go to the sheet of samples."""
        split, splits = self.coded.split, self.source.splits
        index = self.index
        part = split.take(torch.from_numpy(index)) if len(index) else split.take(slice(0))
        labels = () if part.label is None or part.label.ndim != 1 else tuple(map(str, part.label.tolist()))
        sheet, values, left_out = "", None, ""
        texts = self.coded.features.texts
        ids = [] if part.tokens is None else part.tokens.ids.tolist()
        if part.tokens is not None and len(index):
            kind = "token"
        elif sheets.pictured and self.source.model.n_sites == 1 and len(index):
            kind, sheet = "picture", SHEET
            sheets.add_samples(SHEET, part.pixels(part.x).cpu().numpy(), splits.low, splits.high)
        else:
            kind = "row"
            rows = part.x.flatten(1).cpu().numpy()
            values = packed(rows[:, :WIDTH], "f4")
            left_out = "" if rows.shape[1] <= WIDTH else f"the first {WIDTH} of {rows.shape[1]} features"
        return Pool(
            kind=kind,
            split=self.source.split,
            rows=packed(self.coded.rows[index], "i4"),
            sheet=sheet,
            values=values,
            features=self.source.features[:WIDTH],
            labels=labels,
            tokens=tuple(texts.get(number, f"[{number}]") for number in ids),
            left_out=left_out,
        )
