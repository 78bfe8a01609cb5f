"""A run among references at equal L0, and what better inference would gain."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from sparsecode.data.splits import Split
from sparsecode.evaluate.dictionary.geometry import Dictionary
from sparsecode.evaluate.reconstruction.amortisation import AmortisationGap, model_gaps
from sparsecode.evaluate.reconstruction.references import ReferencePoint, reference_scores, references
from sparsecode.evaluate.reconstruction.restoration import Restored
from sparsecode.evaluate.reconstruction.score import score
from sparsecode.reports.builders.additions import Additions
from sparsecode.reports.builders.measure_tables import table_of_records
from sparsecode.reports.builders.quantities import QUANTITIES
from sparsecode.reports.builders.source import ReportSource
from sparsecode.reports.document import FrontierPlot, FrontierSeries, MeasureTable

__all__ = ["Compared", "frontier_of", "joint_frontier", "reference_points"]

SAMPLES, TRAINING = (
    256,
    5000,
)  # samples behind references and amortisation gaps; training samples that references are fitted to
LARGE = 2**21  # numbers in a dictionary, above which references and gaps take too long
WIDE = 2**14  # codes above which the products of all atoms with each other, in float64, take too much memory
BUDGETS = (0.5, 1.0, 2.0)  # of the run's L0
QUANTITY = "explained_variance"
OWN = "this run"


class Compared(NamedTuple):
    """Frontier and tables of references and of amortisation gaps; `notes` say why something is missing, `behind` that the run
    reconstructs worse than every reference at equal L0 ("" if it does not).
    """

    frontiers: tuple[FrontierPlot, ...] = ()
    tables: tuple[MeasureTable, ...] = ()
    notes: tuple[str, ...] = ()
    behind: str = ""


def frontier_of(source: ReportSource, additions: Additions) -> Compared:
    """The run's coders by L0 beside references, and its amortisation gap, on a few samples."""
    model = source.model
    if not model.reconstructs:
        return Compared(notes=("no references at equal L0: they reconstruct samples, which this model does not",))
    runs = _runs(source)
    if not runs:
        return Compared(notes=("no references at equal L0: no code is active, or all are",))
    if source.absent:
        note = "no references at equal L0 and no amortisation gap: the samples are not at hand"
        return Compared((_plot(runs, ""),), notes=(note,))
    if model.n_code > WIDE or model.n_code * math.prod(model.shape) > LARGE:
        notes = (
            "no references at equal L0 and no amortisation gap: this dictionary is too large for a report; see sparsecode analyse",
        )
        return Compared((_plot(runs, ""),), notes=notes)
    few = _few(source.samples)
    points = reference_points(source, few)
    series = [
        FrontierSeries(name, "reference", tuple(p.l0 for p in line), tuple(p.explained_variance for p in line), True)
        for name, line in points.items()
    ]
    note = (
        f"references on {few.n:,} of the samples, fitted to {min(TRAINING, source.splits.train.n):,} training samples"
    )
    rows = {
        name: next(p for p, budget in zip(line, BUDGETS, strict=True) if budget == 1.0) for name, line in points.items()
    }
    point = _own(source, few)
    tables = [table_of_records("references at equal L0", {OWN: point, **rows}, False, note)]
    gaps, notes = _gaps(source, additions, few)
    if gaps:
        tables.append(table_of_records("amortisation", gaps, False, f"on {few.n} samples, in model space"))
    denoiser = source.evaluation is not None and bool(source.evaluation.of(Restored))  # which is not for clean samples
    behind = "" if denoiser else _behind(point, rows, few.n)
    return Compared((_plot([*runs, *series], note),), tuple(tables), notes, behind)


def _behind(point: ReferencePoint, rows: dict[str, ReferencePoint], n: int) -> str:
    """The warning of a run that explains less variance than every reference at equal L0, or "" if it does not."""
    values = {name: p.explained_variance for name, p in rows.items() if p.explained_variance is not None}
    if point.explained_variance is None or not values or min(values.values()) <= point.explained_variance:
        return ""
    least = min(values, key=lambda name: values[name])
    return (
        f"the explained variance, {point.explained_variance:.3g} on {n} samples, is below that of every reference at equal L0 "
        f"(the lowest: {least}, {values[least]:.3g})"
    )


def _own(source: ReportSource, few: Split) -> ReferencePoint:
    """The run's main coder on the samples of the references."""
    coder = next(iter(source.model.coders().values()))
    result = score(source.model, coder, few, source.splits.data_range, source.theta)
    assert result.psnr is not None  # only models that classify have none
    return ReferencePoint(result.l0, result.psnr, result.normalised_mse, result.explained_variance)


def joint_frontier(sources: list[ReportSource]) -> FrontierPlot | None:
    """Several runs by L0; None if no two of them reconstruct."""
    series = [line for source in sources if source.model.reconstructs for line in _runs(source, source.name)]
    return _plot(series, "") if len(series) > 1 else None


def reference_points(source: ReportSource, few: Split) -> dict[str, list[ReferencePoint]]:
    """The scores of references at half, once and twice the L0 of the run's main coder."""
    score = next(iter(source.scores.values()))
    train = source.splits.train.x[:TRAINING].to(few.x)
    known = references(train, score.n_code, source.seed)
    l0s = [score.l0 * budget for budget in BUDGETS]
    return {
        name: reference_scores(approximate, few, source.splits.data_range, l0s) for name, approximate in known.items()
    }


def _few(split: Split) -> Split:
    return split if split.n <= SAMPLES else split.take(torch.linspace(0, split.n - 1, SAMPLES).long())


def _runs(source: ReportSource, name: str = "") -> list[FrontierSeries]:
    """A point for each coder of the run, where its L0 says something."""
    return [
        FrontierSeries(f"{name}, {coder}" if name else coder, "run", (score.l0,), (score.explained_variance,))
        for coder, score in source.scores.items()
        if 0 < score.l0 < score.n_code
    ]


def _plot(series: list[FrontierSeries], note: str) -> FrontierPlot:
    known = QUANTITIES[QUANTITY]
    return FrontierPlot(QUANTITY, known.label, known.unit, QUANTITY, "higher", tuple(series), note)


def _gaps(source: ReportSource, additions: Additions, few: Split) -> tuple[dict[str, AmortisationGap], tuple[str, ...]]:
    """The amortisation gap of each coder whose L0 says something."""
    model = source.model
    if additions.local is None or additions.n != model.n_code:
        return {}, ("no amortisation gap: the decoder is not linear",)
    scores = source.scores
    coders = [name for name, score in scores.items() if 0 < score.l0 < score.n_code]
    bias = model.decode(additions.local.new_zeros(1, model.n_code))[0]
    try:
        return model_gaps(model, few.x, source.theta, Dictionary(additions.local, bias), coders), ()
    except ValueError as problem:
        return {}, (f"no amortisation gap: {problem}",)
