"""The document of one or several runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import torch

from sparsecode.evaluate.units.features import FeatureSettings
from sparsecode.reports.builders.additions import additions_of
from sparsecode.reports.builders.code_details import Looked, details_of
from sparsecode.reports.builders.code_table import code_table, near_atoms, peaks_of
from sparsecode.reports.builders.coded import coded_samples
from sparsecode.reports.builders.comparison import Dictionaries, comparison_of, with_stability
from sparsecode.reports.builders.equal_l0 import frontier_of
from sparsecode.reports.builders.head import head_of
from sparsecode.reports.builders.importance import importance_of
from sparsecode.reports.builders.measure_section import measures_of
from sparsecode.reports.builders.measure_tables import measure_definitions
from sparsecode.reports.builders.pool import PoolBuilder
from sparsecode.reports.builders.quantities import definitions_of
from sparsecode.reports.builders.sample_section import samples_of
from sparsecode.reports.builders.sheets import Sheets
from sparsecode.reports.builders.source import ReportSource
from sparsecode.reports.builders.token_words import with_texts
from sparsecode.reports.builders.training_curves import training_of
from sparsecode.reports.builders.without_samples import without_samples
from sparsecode.reports.document import Definition, Document, RunReport
from sparsecode.reports.writing import write_report
from sparsecode.version import __version__

__all__ = ["CODES", "SAMPLES", "build_document", "report_of"]

CODES, SAMPLES = 512, 10_000  # codes that are shown, and samples behind their numbers, at most

EXAMPLES = {"top": 8, "bands": 4, "per_band": 2, "near": 2, "neighbours": 8, "bins": 32, "before": 12, "after": 6}

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
    dictionaries: list[Dictionaries] = []
    definitions: dict[str, Definition] = definitions_of()
    for number, source in enumerate(sources):
        progress(source.name, number / len(sources))
        if source.absent:
            report, atoms = without_samples(source, n_codes, FeatureSettings(**EXAMPLES))
        else:
            report, atoms = _run(source, n_codes, n_samples, partial(_shared, progress, number, len(sources)))
        runs.append(report)
        dictionaries.append(atoms)
        if source.evaluation is not None:
            definitions |= measure_definitions(source.evaluation.measures)
    *others, last = [source.name for source in sources]
    title = f"{', '.join(others)} and {last}" if others else last
    comparison = comparison_of(sources, runs, dictionaries)
    return Document(title, tuple(with_stability(runs, comparison)), comparison, definitions, __version__)


def report_of(source: ReportSource, out: str | Path | None, n_codes: int = CODES, n_samples: int = SAMPLES) -> Document:
    """The report of one source, written to `out` if that is given: see `write_report`."""
    if out is not None and Path(out).suffix not in (".html", ".json"):
        raise ValueError(f"out is {str(out)!r}; expected a name that ends in .html or .json")
    document = build_document([source], n_codes, n_samples)
    if out is not None:
        write_report(Path(out), document)
    return document


def _shared(progress: Progress, number: int, n: int, doing: str, done: float) -> None:
    """Report the progress of one run of n."""
    progress(doing, (number + done) / n)


@torch.no_grad()
def _run(source: ReportSource, n_codes: int, n_samples: int, progress: Progress) -> tuple[RunReport, Dictionaries]:
    model, sheets = source.model.eval(), Sheets(source.model.shape)
    additions = additions_of(model)
    settings = FeatureSettings(**EXAMPLES, theta=source.theta, seed=source.seed % 2**32)
    coded = coded_samples(
        model,
        source.samples,
        additions,
        n_samples,
        settings,
        lambda done: progress(f"{source.name}: codes", 0.5 * done),
        source.collected,
    )
    features, warned = with_texts(coded.features, source)
    coded = coded._replace(features=features)
    progress(f"{source.name}: importance", 0.5)
    importance = importance_of(model, coded, additions)
    shown = np.argsort(-importance.values, kind="stable")[:n_codes]
    peaks = peaks_of(coded, additions.n)
    near = near_atoms(additions, peaks, shown)
    looked = Looked(model, additions, coded, importance, near, peaks, shown, settings, source.features)
    pool = PoolBuilder(source, coded)
    progress(f"{source.name}: details", 0.7)
    table = code_table(source, coded, importance, near, shown)
    table = msgspec.structs.replace(table, details=tuple(details_of(looked, pool, sheets)))
    progress(f"{source.name}: samples", 0.9)
    samples = samples_of(source, looked, pool, sheets)
    progress(f"{source.name}: references", 0.95)
    compared = frontier_of(source, additions)
    report = RunReport(
        name=source.name,
        head=head_of(source, compared.behind, warned),
        training=training_of(source),
        codes=table,
        pool=pool.built(sheets),
        samples=samples,
        measures=measures_of(source, compared, coded),
        sheets=sheets.built(),
    )
    positive = coded.features.positive[shown]
    signed = bool((positive < coded.features.n_active[shown]).any())
    return report, Dictionaries.of(additions, shown, signed)
