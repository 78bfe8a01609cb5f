"""The report of a run whose samples cannot be had: training, stored scores, atoms and, where they are stored, features of the codes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from sparsecode.coders import in_words
from sparsecode.evaluate.units.features import Features, FeatureSettings
from sparsecode.reports.builders.additions import Additions, additions_of
from sparsecode.reports.builders.atoms import atoms_of
from sparsecode.reports.builders.code_details import bands_of, histogram_of, labels_of, near_codes, partners_of
from sparsecode.reports.builders.code_table import (
    NearAtoms,
    atom_norms,
    column_of,
    distribution_of,
    groups_of,
    left_out_of,
    near_atoms,
)
from sparsecode.reports.builders.coded import CoderUse
from sparsecode.reports.builders.comparison import Dictionaries
from sparsecode.reports.builders.equal_l0 import frontier_of
from sparsecode.reports.builders.head import head_of
from sparsecode.reports.builders.measure_section import measures_of
from sparsecode.reports.builders.pool import SampleNumbers
from sparsecode.reports.builders.sheets import Sheets
from sparsecode.reports.builders.source import ReportSource
from sparsecode.reports.builders.training_curves import training_of
from sparsecode.reports.document import Atom, CodeDetail, CodeTable, RunReport, Warned, packed

__all__ = ["warning_of_absence", "without_samples"]

SIZES = "mean over samples of |activation| times the norm of the atom: what the error gains needs the samples"
NORMS = "codes by the norm of their atoms: their importance needs the samples"


@torch.no_grad()
def without_samples(source: ReportSource, n_codes: int, most: FeatureSettings) -> tuple[RunReport, Dictionaries]:
    """The report of a source whose samples are `absent`: up to `n_codes` codes, each with at most so many examples of stored features."""
    additions, sheets = additions_of(source.model.eval()), Sheets(source.model.shape)
    features = _features(source, additions)
    peaks = np.zeros(additions.n) if features is None else _peaks(features)
    order = atom_norms(additions, peaks, np.arange(additions.n))
    if features is not None:
        order = order * features.mean * features.density
    shown = np.argsort(-order, kind="stable")[:n_codes]
    near = near_atoms(additions, peaks, shown)
    atoms, numbers = atoms_of(additions, peaks, shown, source.features, sheets), SampleNumbers()
    details = tuple(_details(shown, near, atoms, features, numbers, most))
    table = _table(source, additions, features, near, shown, order)
    report = RunReport(
        name=source.name,
        head=head_of(source, warned=(warning_of_absence(source, additions),)),
        training=training_of(source),
        codes=msgspec.structs.replace(table, details=details),
        pool=None if features is None else numbers.without_samples(source.split, details),
        samples=None,
        measures=measures_of(source, frontier_of(source, additions), None),
        sheets=sheets.built(),
    )
    signed = features is None or bool((features.positive < features.n_active).any())
    return report, Dictionaries.of(additions, shown, signed)


def _features(source: ReportSource, additions: Additions) -> Features | None:
    """Those stored, where a unit is a code."""
    return source.collected if additions.places == 1 else None


def warning_of_absence(source: ReportSource, additions: Additions | None = None) -> Warned:
    """Which parts are left out where the samples are `absent`, why, and what brings them back; `additions` where they are known already."""
    parts = ["samples and their reconstructions", "the effect of each code on the error", "references at equal L0"]
    if _features(source, additions or additions_of(source.model)) is None:
        parts.insert(
            0,
            "examples, densities and importance of the codes (sparsecode features stores them while the samples are there)",
        )
    if source.evaluation is None:
        parts.insert(0, "all scores")
    remedy = f"{source.absent}; {source.remedy}" if source.remedy else source.absent
    return Warned(f"the samples are not at hand; left out: {'; '.join(parts)}", remedy)


def _peaks(features: Features) -> NDArray[np.float64]:
    """The largest activation of each code, with the sign that most of its activations have."""
    sign = np.where(2 * features.positive >= features.n_active, 1.0, -1.0)
    return sign * features.largest.astype(np.float64)


def _table(
    source: ReportSource,
    additions: Additions,
    features: Features | None,
    near: NearAtoms,
    shown: NDArray[np.int64],
    order: NDArray[np.float64],
) -> CodeTable:
    values = {"norm": near.norm}
    values["coherence"] = np.abs(near.cosine[:, 0]) if near.cosine.shape[1] else np.full(len(shown), np.nan)
    coder = source.model.coder_called(None)
    distributions = ()
    if features is not None:
        values = {
            "importance": order[shown],
            "density": features.density[shown],
            "mean_active": features.mean[shown].astype(np.float64),
            "max_active": features.largest[shown].astype(np.float64),
        } | values
        use = CoderUse(features.n_active, np.repeat(np.arange(len(features.rows_by_l0)), features.rows_by_l0), None)
        distributions = (distribution_of(source, coder, in_words([coder])[coder], use, features.n),)
    return CodeTable(
        coder=coder,
        split=source.split,
        n=0 if features is None else features.n,
        n_code=additions.n,
        theta=source.theta,
        codes=packed(shown, "i4"),
        columns=tuple(column_of(key, column) for key, column in values.items()),
        importance_of=NORMS if features is None else SIZES,
        left_out=left_out_of(len(shown), additions.n, "the last ones of that order"),
        groups={} if features is None else groups_of(features.n_active, features.n),
        distributions=distributions,
        details=(),
    )


def _details(
    shown: NDArray[np.int64],
    near: NearAtoms,
    atoms: list[Atom],
    features: Features | None,
    numbers: SampleNumbers,
    most: FeatureSettings,
) -> Iterator[CodeDetail]:
    for place, code in enumerate(shown.tolist()):
        known = None if features is None else features.code(code)
        yield CodeDetail(
            code=code,
            atom=atoms[place],
            activations=None if known is None else histogram_of(known),
            bands=() if features is None or known is None else tuple(bands_of(features, known, numbers, most)),
            by_cosine=near_codes(near, place),
            by_firing=() if known is None else partners_of(known, most),
            effect=None,
            labels=() if features is None else labels_of(features, code),
            signed=features is not None and 0 < int(features.positive[code]) < int(features.n_active[code]),
        )
