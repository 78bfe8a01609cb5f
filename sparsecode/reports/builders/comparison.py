"""Several runs side by side: differences of their configs, matched codes, one frontier."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from sparsecode.evaluate.dictionary.stability import stability
from sparsecode.reports.builders.additions import Additions
from sparsecode.reports.builders.equal_l0 import joint_frontier
from sparsecode.reports.builders.head import settings_of
from sparsecode.reports.builders.quantities import QUANTITIES
from sparsecode.reports.builders.source import ReportSource
from sparsecode.reports.document import CodeColumn, Comparison, Difference, Matches, RunReport, packed

__all__ = ["Dictionaries", "comparison_of", "with_stability"]

LARGE = 4096  # codes of a dictionary up to which all are matched; of larger ones those that are shown
ABSENT = "(absent)"


class Dictionaries(NamedTuple):
    """The atoms of a run that are compared: numbers of their codes, atoms in data space or None, and whether codes have both signs."""

    codes: NDArray[np.int64]
    atoms: torch.Tensor | None
    signed: bool

    @classmethod
    def of(cls, additions: Additions, shown: NDArray[np.int64], signed: bool) -> Dictionaries:
        """All atoms of a linear decoder, or of a large one those that are shown."""
        codes = np.arange(additions.n) if additions.n <= LARGE else np.sort(shown)
        atoms = None if additions.data is None else additions.data[torch.from_numpy(codes)].cpu()
        return cls(codes, atoms, signed)


def comparison_of(
    sources: Sequence[ReportSource], reports: Sequence[RunReport], dictionaries: Sequence[Dictionaries]
) -> Comparison | None:
    """What several runs have in common; None for one."""
    if len(sources) < 2:
        return None
    notes: list[str] = []
    data = {source.fingerprint or source.splits.fingerprint() for source in sources}
    if len(data) > 1:
        notes.append("the runs were measured on different samples: their errors cannot be compared")
    matches: list[Matches] = []
    for i, j in combinations(range(len(sources)), 2):
        problem = _unlike(dictionaries[i], dictionaries[j])
        if problem:
            notes.append(f"codes of {sources[i].name} and {sources[j].name} are not matched: {problem}")
        else:
            matches.append(_matched(i, j, dictionaries[i], dictionaries[j], reports))
    frontier = joint_frontier([*sources])
    return Comparison(
        _differences(reports, sources), tuple(matches), () if frontier is None else (frontier,), tuple(notes)
    )


def _differences(reports: Sequence[RunReport], sources: Sequence[ReportSource]) -> tuple[Difference, ...]:
    values = [{} if s.config is None else {x.path: x.value for x in settings_of(s.config)} for s in sources]
    paths = list(dict.fromkeys(path for settings in values for path in settings))
    rows = [Difference(path, tuple(settings.get(path, ABSENT) for settings in values)) for path in paths]
    differing = [row for row in rows if len({*row.values}) > 1]
    kinds = tuple(report.head.kind for report in reports)
    return (Difference("kind of model", kinds), *differing) if len({*kinds}) > 1 else tuple(differing)


def _unlike(first: Dictionaries, second: Dictionaries) -> str:
    if first.atoms is None or second.atoms is None:
        return "a decoder is not linear"
    if first.atoms.shape[1] != second.atoms.shape[1]:
        return f"atoms have {first.atoms.shape[1]} and {second.atoms.shape[1]} features"
    return ""


def _matched(i: int, j: int, first: Dictionaries, second: Dictionaries, reports: Sequence[RunReport]) -> Matches:
    assert first.atoms is not None
    assert second.atoms is not None
    result, pairs = stability(first.atoms, second.atoms, (str(i), str(j)), signed=first.signed or second.signed)
    a, b = first.codes[pairs.first.numpy()], second.codes[pairs.second.numpy()]
    cosine = pairs.cosine.numpy()
    shown = np.isin(a, _shown(reports[i])) | np.isin(b, _shown(reports[j]))
    order = np.argsort(-cosine, kind="stable")
    order = order[shown[order]]
    partly = [
        len(d.codes)
        for d, r in ((first, reports[i]), (second, reports[j]))
        if r.codes and len(d.codes) < r.codes.n_code
    ]
    note = f"of the {min(partly):,} most important codes" if partly else ""
    return Matches(
        first=i,
        second=j,
        mcc=result.mcc,
        close=result.close,
        same=result.same,
        codes=packed(np.stack([a[order], b[order]], axis=1), "i4"),
        cosines=packed(cosine[order], "f4"),
        note=note,
    )


def _shown(report: RunReport) -> NDArray[np.int64]:
    return np.zeros(0, dtype=np.int64) if report.codes is None else report.codes.codes.values().astype(np.int64)


def with_stability(reports: Sequence[RunReport], comparison: Comparison | None) -> list[RunReport]:
    """The runs with a column of their codes: the mean cosine to the matches in the other runs."""
    result: list[RunReport] = []
    for number, report in enumerate(reports):
        cosines: dict[int, list[float]] = {}
        for matches in () if comparison is None else comparison.matches:
            if number in (matches.first, matches.second):
                side = 0 if number == matches.first else 1
                for pair, cosine in zip(matches.codes.values(), matches.cosines.values(), strict=True):
                    cosines.setdefault(int(pair[side]), []).append(float(cosine))
        if report.codes is None or not cosines:
            result.append(report)
            continue
        known = QUANTITIES["stability"]
        values = [
            np.mean(cosines[code]) if code in cosines else np.nan for code in report.codes.codes.values().tolist()
        ]
        column = CodeColumn("stability", known.label, known.unit, "stability", packed(values))
        table = msgspec.structs.replace(report.codes, columns=(*report.codes.columns, column))
        result.append(msgspec.structs.replace(report, codes=table))
    return result
