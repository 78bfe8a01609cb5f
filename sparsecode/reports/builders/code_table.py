"""The table of a model's codes, and the distributions over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.coders import in_words
from sparsecode.evaluate.dictionary.geometry import unit_rows
from sparsecode.evaluate.metrics import DENSE
from sparsecode.reports.builders.additions import Additions
from sparsecode.reports.builders.coded import Coded, CoderUse
from sparsecode.reports.builders.importance import CodeImportance
from sparsecode.reports.builders.quantities import QUANTITIES
from sparsecode.reports.builders.source import ReportSource
from sparsecode.reports.document import CodeColumn, CodeTable, Distribution, Histogram, packed

__all__ = [
    "NearAtoms",
    "atom_norms",
    "code_table",
    "column_of",
    "counts_of",
    "distribution_of",
    "gap_spread",
    "groups_of",
    "left_out_of",
    "near_atoms",
    "peaks_of",
    "shares_of",
]

BINS, LINKED = 40, 1000
ROWS = 256  # atoms compared with all others at a time
NEAREST = 8
LOGARITHMIC = ("density", "mean_active", "max_active", "importance")

Doubles = NDArray[np.float64]


class NearAtoms(NamedTuple):
    """Of each shown code, the codes [n, m] with the largest |cosine| of atoms, and the signed cosines [n, m]; norms [n] of the shown atoms in data space."""

    code: NDArray[np.int64]
    cosine: Doubles
    norm: Doubles


@torch.no_grad()
def near_atoms(additions: Additions, peaks: Doubles, shown: NDArray[np.int64]) -> NearAtoms:
    """The nearest atoms, in model space; of decoders without atoms, of what codes add at their largest values, among shown ones."""
    among = np.arange(additions.n) if additions.linear or additions.filters is not None else shown
    atoms = _atoms(additions, peaks, among)
    units = unit_rows(atoms.cpu()).float()
    place = (
        np.searchsorted(among, shown) if additions.linear or additions.filters is not None else np.arange(len(shown))
    )
    m = min(NEAREST, len(units) - 1)
    code, cosine = np.zeros((len(shown), m), dtype=np.int64), np.zeros((len(shown), m))
    for start in range(0, len(shown), ROWS):
        rows = torch.from_numpy(place[start : start + ROWS])
        products = units[rows] @ units.T
        products[torch.arange(len(rows)), rows] = 0.0
        best = products.abs().topk(m, dim=1).indices
        code[start : start + ROWS] = among[best.numpy()]
        cosine[start : start + ROWS] = products.gather(1, best).clamp(-1, 1).double().numpy()
    return NearAtoms(code, cosine, atom_norms(additions, peaks, shown))


def atom_norms(additions: Additions, peaks: Doubles, units: NDArray[np.int64]) -> Doubles:
    """The norms of the atoms of these units in data space, so that they do not depend on a normaliser, which other formats have in their weights."""
    if additions.data is not None:
        data = additions.data[torch.from_numpy(units)]
    elif additions.filters is not None:
        data = additions.at(torch.from_numpy(units), torch.ones(len(units)))[1]
    else:
        data = _per_unit(additions, peaks, units)[1]
    return torch.linalg.vector_norm(data.double().cpu(), dim=1).numpy()


def _atoms(additions: Additions, peaks: Doubles, among: NDArray[np.int64]) -> Tensor:
    """The atoms of these units in model space; of decoders without atoms, what a unit adds at its largest value, per unit of its code."""
    if additions.filters is not None:
        return additions.filters.flatten(1)[torch.from_numpy(among)]
    if additions.local is not None:
        return additions.local[torch.from_numpy(among)]
    return _per_unit(additions, peaks, among)[0]


def _per_unit(additions: Additions, peaks: Doubles, units: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """What units add at their largest values in model space and in data space, divided by these."""
    values = torch.from_numpy(np.where(peaks[units] == 0, 1.0, peaks[units]))
    local, data = additions.at(torch.from_numpy(units), values)
    return local / values[:, None].to(local), data / values[:, None].to(data)


def peaks_of(coded: Coded, n: int) -> Doubles:
    """The value of largest magnitude [n] of each unit over the samples, with its sign; 0 for units that are never active."""
    high, low = np.zeros(n), np.zeros(n)
    np.maximum.at(high, coded.entries.code, coded.entries.value)
    np.minimum.at(low, coded.entries.code, coded.entries.value)
    return np.where(high >= -low, high, low)


def code_table(
    source: ReportSource, coded: Coded, importance: CodeImportance, near: NearAtoms, shown: NDArray[np.int64]
) -> CodeTable:
    """The table of these codes, most important first, without their details."""
    features, n_unit = coded.features, coded.features.n_code
    values: dict[str, Doubles] = {
        "importance": importance.values[shown],
        "density": features.density[shown],
        "mean_active": features.mean[shown].astype(np.float64),
        "max_active": features.largest[shown].astype(np.float64),
        "norm": near.norm,
        "coherence": np.abs(near.cosine[:, 0]) if near.cosine.shape[1] else np.full(len(shown), np.nan),
    }
    if features.by_class.shape[1]:
        most = features.by_class[shown].max(axis=1)
        values["purity"] = np.divide(most, features.n_active[shown], out=np.full(len(shown), np.nan), where=most > 0)
    if coded.gates is not None and len(coded.gates) == n_unit:
        values["gate"] = coded.gates[shown]
    names = in_words(coded.uses)
    return CodeTable(
        coder=next(iter(coded.uses)),
        split=source.split,
        n=coded.n,
        n_code=n_unit,
        theta=source.theta,
        codes=packed(shown, "i4"),
        columns=tuple(column_of(key, column, importance.unit) for key, column in values.items()),
        importance_of=importance.words,
        left_out=left_out_of(len(shown), n_unit, "the least important ones"),
        groups=groups_of(features.n_active, coded.n),
        distributions=tuple(
            distribution_of(source, name, names[name], use, coded.n) for name, use in coded.uses.items()
        ),
        details=(),
    )


def left_out_of(shown: int, n: int, which: str) -> str:
    """The words on codes that are not listed, "" if all are."""
    return "" if shown == n else f"{n - shown:,} of {n:,} codes are not listed: {which}"


def column_of(key: str, values: Doubles, importance_unit: str = "") -> CodeColumn:
    """A column of the table, by the key of its quantity."""
    known = QUANTITIES[key]
    unit = importance_unit if key == "importance" else known.unit
    return CodeColumn(key, known.label, unit, key, packed(values), key in LOGARITHMIC)


def groups_of(n_active: NDArray[np.int64], n: int) -> dict[str, tuple[int, ...]]:
    """The dead, dense and always active codes among all, by their active samples among n."""
    kinds = {"dead": n_active == 0, "dense": n_active > DENSE * n, "always_on": n_active == n}
    return {name: tuple(np.flatnonzero(there)[:LINKED].tolist()) for name, there in kinds.items()}


def distribution_of(source: ReportSource, name: str, label: str, use: CoderUse, n: int) -> Distribution:
    """How one coder uses all codes on n samples."""
    score = source.scores.get(name)
    return Distribution(
        coder=name,
        label=label,
        n=n,
        density=_densities(use.active / n, n),
        l0=counts_of(use.l0, "active codes per sample"),
        mean_l0=float(use.l0.mean()),
        dead=int((use.active == 0).sum()),
        dense=int((use.active / n > DENSE).sum()),
        always_on=int((use.active == n).sum()),
        same_as_eval=score is not None and score.n == n,
    )


def _densities(density: Doubles, n: int) -> Histogram:
    """Counts of codes by density, in bins of equal width in the logarithm from 1 / n to 1."""
    edges = np.geomspace(1 / n, 1.0, BINS + 1) if n > 1 else np.array([0.5, 1.0])
    counts, _ = np.histogram(np.clip(density[density > 0], edges[0], edges[-1]), edges)
    label = "share of samples on which a code is active"
    return Histogram(
        tuple(edges.tolist()),
        tuple(counts.tolist()),
        label,
        int((density == 0).sum()),
        "dead: active on no sample",
        True,
    )


def counts_of(values: NDArray[np.int64], label: str) -> Histogram:
    """Counts of whole numbers, in bins of equal whole width around them."""
    low, high = int(values.min()), int(values.max())
    width = -(-(high - low + 1) // BINS)
    edges = np.arange(low, high + width + 1, width) - 0.5
    counts, _ = np.histogram(values, edges)
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()), label)


def shares_of(values: Doubles, label: str) -> Histogram:
    """Counts of shares, in equal bins from 0 to 1."""
    counts, edges = np.histogram(values.clip(0, 1), BINS // 2, (0.0, 1.0))
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()), label)


def gap_spread(uses: Mapping[str, CoderUse]) -> dict[str, Histogram]:
    """The distribution of duality gaps over samples, by coder that has them; gaps of 0 and infinite ones are counted apart."""
    spreads: dict[str, Histogram] = {}
    for name, use in uses.items():
        if use.gap is None:
            continue
        there = use.gap[np.isfinite(use.gap) & (use.gap > 0)]
        low, high = (there.min(), there.max()) if len(there) else (1e-12, 1.0)
        edges = np.geomspace(low, max(high, low * 1.01), BINS + 1)
        counts, _ = np.histogram(np.clip(there, edges[0], edges[-1]), edges)
        label = "relative duality gap"
        spreads[name] = Histogram(
            tuple(edges.tolist()), tuple(counts.tolist()), label, len(use.gap) - len(there), "0 or not defined", True
        )
    return spreads
