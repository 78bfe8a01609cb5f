"""All measures of a run: tables, frontiers, distributions."""

from __future__ import annotations

from sparsecode.reports.builders.code_table import gap_spread, shares_of
from sparsecode.reports.builders.coded import Coded
from sparsecode.reports.builders.equal_l0 import Compared
from sparsecode.reports.builders.measure_tables import measure_tables, table_of_records
from sparsecode.reports.builders.source import ReportSource
from sparsecode.reports.document import MeasureSection, ValueSpread

__all__ = ["measures_of"]


def measures_of(source: ReportSource, compared: Compared, coded: Coded | None) -> MeasureSection | None:
    """The measures of an evaluation, with what was computed beside it; distributions where samples were `coded`. None without an evaluation."""
    evaluation = source.evaluation
    if evaluation is None:
        return None
    tables = measure_tables(evaluation.measures, source.stored)
    if evaluation.calibration is not None:
        tables.append(table_of_records("calibration", {"model": evaluation.calibration}, source.stored))
    n = next(iter(evaluation.scores.values())).n
    notes = () if source.stored else ("measured for this report: the run has no scores of this model",)
    tables += compared.tables
    spreads = [] if coded is None else _spreads(coded)
    return MeasureSection(
        evaluation.split, n, tuple(tables), compared.frontiers, tuple(spreads), (*notes, *compared.notes)
    )


def _spreads(coded: Coded) -> list[ValueSpread]:
    """Distributions over the coded samples."""
    spreads: list[ValueSpread] = []
    if gaps := gap_spread(coded.uses):
        spreads.append(ValueSpread("gap", "duality gaps of solved codes", "gap_max", gaps, f"of {coded.n:,} samples"))
    if coded.gates is not None:
        gates = {"encode": shares_of(coded.gates, "mean gate of a code")}
        spreads.append(ValueSpread("gates", "gates of the codes", "gate", gates, f"mean over {coded.n} samples"))
    return spreads
