"""The measures of a run as tables, and its place among references and other runs."""

from __future__ import annotations

from typing import Literal

from sparsecode.reports.schema.arrays import Histogram
from sparsecode.specs import Spec

__all__ = ["FrontierPlot", "FrontierSeries", "MeasureRow", "MeasureSection", "MeasureTable", "ValueSpread"]


class MeasureRow(Spec, tag="measure_row"):
    """One quantity: a value per column of its table, exactly as in `eval.json` (None: not defined there; text where it is text).

    `key` is its path in the result ("psnr", "class_accuracy[3]", "terms.variance"), `definition` a key of `Document.definitions` or "".
    """

    key: str
    label: str
    unit: str
    definition: str
    values: tuple[float | int | str | bool | None, ...]
    better: Literal["higher", "lower", ""] = ""


class MeasureTable(Spec, tag="measure_table"):
    """A measure of `eval.json` (or one that was computed for the report: `source` says so), a column per coder or part.

    `definition` is a key of `Document.definitions`: the measure as a whole.
    """

    name: str
    title: str
    definition: str
    source: Literal["eval", "report"]
    columns: tuple[str, ...]
    rows: tuple[MeasureRow, ...]
    note: str = ""


class FrontierSeries(Spec, tag="frontier_series"):
    """Points (l0, value), joined by a line in order of L0 if `joined`. `kind`: run (marked), reference, other (other runs)."""

    label: str
    kind: Literal["run", "reference", "other"]
    l0: tuple[float, ...]
    values: tuple[float | None, ...]
    joined: bool = False


class FrontierPlot(Spec, tag="frontier"):
    """Quality against L0: runs and, at equal L0, references on the same samples."""

    quantity: str
    label: str
    unit: str
    definition: str
    better: Literal["higher", "lower"]
    series: tuple[FrontierSeries, ...]
    note: str = ""


class ValueSpread(Spec, tag="spread"):
    """The distribution of a quantity over samples (duality gaps of solved codes) or codes (gates), by coder or kind of gate."""

    name: str
    title: str
    definition: str
    histograms: dict[str, Histogram]
    note: str = ""


class MeasureSection(Spec, tag="measure_section"):
    """`split` and `n` samples of `eval.json`; `notes` say what could not be measured, and why."""

    split: str
    n: int
    tables: tuple[MeasureTable, ...]
    frontiers: tuple[FrontierPlot, ...]
    spreads: tuple[ValueSpread, ...]
    notes: tuple[str, ...]
