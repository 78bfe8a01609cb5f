"""The document of one or several runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sparsecode.reports.builders.head import head_of
from sparsecode.reports.builders.measure_tables import measure_definitions, measure_tables, table_of_records
from sparsecode.reports.builders.quantities import definitions_of
from sparsecode.reports.builders.source import ReportSource
from sparsecode.reports.builders.training_curves import training_of
from sparsecode.reports.document import Definition, Document, MeasureSection, RunReport
from sparsecode.version import __version__

__all__ = ["CODES", "SAMPLES", "build_document"]

CODES, SAMPLES = 512, 10_000  # codes that are shown, and samples behind their numbers, at most

Progress = Callable[[str, float], None]  # what is being done, and the share of the whole that is done


def build_document(
    sources: Sequence[ReportSource],
    n_codes: int = CODES,
    n_samples: int = SAMPLES,
    progress: Progress = lambda _, __: None,
) -> Document:
    """The report of these runs: up to `n_codes` codes of each, by importance, measured on up to `n_samples` samples of its split.

    Raises ValueError for no source, and numbers below 1.
    """
    if not sources:
        raise ValueError("sources is empty; expected at least one run")
    for name, value in (("n_codes", n_codes), ("n_samples", n_samples)):
        if value < 1:
            raise ValueError(f"{name} is {value}; expected 1 or more")
    runs: list[RunReport] = []
    definitions: dict[str, Definition] = definitions_of()
    for number, source in enumerate(sources):
        progress(source.name, number / len(sources))
        runs.append(_run(source))
        definitions |= measure_definitions(source.evaluation.measures)
    title = " and ".join(source.name for source in sources)
    return Document(title, tuple(runs), None, definitions, __version__)


def _run(source: ReportSource) -> RunReport:
    return RunReport(
        name=source.name,
        head=head_of(source),
        training=training_of(source),
        codes=None,
        pool=None,
        samples=None,
        measures=_measures(source),
        sheets={},
    )


def _measures(source: ReportSource) -> MeasureSection:
    evaluation = source.evaluation
    tables = measure_tables(evaluation.measures, source.stored)
    if evaluation.calibration is not None:
        tables.append(table_of_records("calibration", {"model": evaluation.calibration}, source.stored))
    n = next(iter(evaluation.scores.values())).n
    notes = () if source.stored else ("measured for this report: the run has no scores of this model",)
    return MeasureSection(evaluation.split, n, tuple(tables), (), (), notes)
