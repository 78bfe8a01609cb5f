"""What is shown of each code: atom, histogram, examples, neighbours, effect, labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sparsecode.evaluate.units.features import CodeExample, CodeFeatures, Features, FeatureSettings
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_posterior
from sparsecode.reports.builders.additions import Additions, receptive_fields
from sparsecode.reports.builders.code_table import NearAtoms
from sparsecode.reports.builders.coded import Coded
from sparsecode.reports.builders.importance import CodeImportance
from sparsecode.reports.builders.pool import PoolBuilder
from sparsecode.reports.builders.sheets import Sheets
from sparsecode.reports.document import (
    Atom,
    Band,
    Cell,
    CodeDetail,
    Effect,
    Histogram,
    LabelShare,
    NearCode,
    PackedArray,
    ShownExample,
    TokenContext,
    WeightedName,
    packed,
)

__all__ = ["Looked", "details_of"]

ATOMS, FIELDS = "atoms", "fields"
TOP = 8  # largest weights and labels that are listed
WIDE = 64  # features up to which all weights are given


class Looked(NamedTuple):
    """All that is known of a model's codes; `shown` [n] are the units that have details, `settings` how many examples these have at most;
    `names` those of features, or none.
    """

    model: AbstractSparseModel
    additions: Additions
    coded: Coded
    importance: CodeImportance
    near: NearAtoms
    peaks: NDArray[np.float64]
    shown: NDArray[np.int64]
    settings: FeatureSettings
    names: Sequence[str] = ()

    def name_of(self, feature: int) -> str:
        """The name of an output: a feature of the data, or a class."""
        if self.model.n_classes:
            return f"class {feature}"
        return self.names[feature] if feature < len(self.names) else f"feature {feature}"


def details_of(looked: Looked, pool: PoolBuilder, sheets: Sheets) -> Iterator[CodeDetail]:
    """The details of the shown codes, in order; pictures go to the sheets, samples to the pool."""
    coded, features = looked.coded, looked.coded.features
    atoms = _atoms(looked, sheets)
    entries = coded.entries
    before = np.bincount(entries.code, coded.errors[entries.row], minlength=features.n_code)
    for place, code in enumerate(looked.shown.tolist()):
        known = features.code(code)
        positive = int(features.positive[code])
        yield CodeDetail(
            code=code,
            atom=atoms[place],
            activations=_histogram(known),
            bands=tuple(_bands(features, known, pool, looked.settings)),
            by_cosine=tuple(
                NearCode(int(other), float(cosine))
                for other, cosine in zip(looked.near.code[place], looked.near.cosine[place], strict=True)
            ),
            by_firing=tuple(
                NearCode(other, jaccard) for other, _, jaccard in known.neighbours[: looked.settings.neighbours]
            ),
            effect=_effect(looked, atoms[place], known, float(before[code])),
            labels=_labels(coded, code),
            signed=0 < positive < known.n_active,
        )


def _atoms(looked: Looked, sheets: Sheets) -> list[Atom]:
    """The atoms of the shown codes, with pictures of them where samples are pictures."""
    additions, model, shown = looked.additions, looked.model, looked.shown
    units = torch.from_numpy(shown)
    peaks = torch.from_numpy(looked.peaks[shown])
    unit_value = additions.linear or has_posterior(model)  # codes of the latter have unit scale in their prior
    values = torch.ones(len(shown)) if unit_value else torch.where(peaks == 0, 1.0, peaks).float()
    local, data = additions.at(units, values.to(next(model.parameters())))
    rows = data.double().cpu().numpy()
    cells: list[Cell | None] = [None] * len(shown)
    fields: list[Cell | None] = [None] * len(shown)
    pictured = sheets.pictured and model.n_sites == 1
    if additions.filters is not None:
        drawn = additions.filters[units]
        if drawn.shape[1] in (1, 3):
            cells = [Cell(ATOMS, i) for i in sheets.add_weights(ATOMS, drawn.flatten(1).cpu().numpy(), drawn.shape[1:])]
    elif pictured and model.reconstructs:
        cells = [Cell(ATOMS, i) for i in sheets.add_weights(ATOMS, rows)]
    keys = receptive_fields(model, units) if pictured else None
    if keys is not None:
        fields = [Cell(FIELDS, i) for i in sheets.add_weights(FIELDS, keys.double().cpu().numpy())]
    sites = _site_shares(model, local.reshape(len(local), -1).double().cpu().numpy())
    listed = not (pictured and model.reconstructs)
    return [
        Atom(
            picture=cells[i],
            field=fields[i],
            weights=_weights(rows[i]) if listed else None,
            top=_largest(looked, rows[i]) if listed else (),
            sites=sites[i],
            exact=additions.linear or additions.filters is not None,
        )
        for i in range(len(shown))
    ]


def _weights(row: NDArray[np.float64]) -> PackedArray | None:
    return packed(row, "f4") if len(row) <= WIDE else None


def _largest(looked: Looked, row: NDArray[np.float64]) -> tuple[WeightedName, ...]:
    order = np.argsort(-np.abs(row), kind="stable")[:TOP]
    return tuple(WeightedName(looked.name_of(int(i)), float(row[i])) for i in order)


def _site_shares(model: AbstractSparseModel, local: NDArray[np.float64]) -> list[tuple[float, ...]]:
    if model.n_sites == 1:
        return [()] * len(local)
    norms = np.linalg.norm(local.reshape(len(local), model.n_sites, -1), axis=2)
    shares = norms / np.maximum(norms.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return [tuple(row) for row in shares.tolist()]


def _histogram(known: CodeFeatures) -> Histogram | None:
    """Magnitudes on active samples, empty bins above the largest left out."""
    if not known.n_active:
        return None
    last = int(np.flatnonzero(known.histogram)[-1]) + 1
    edges, counts = known.edges[: last + 1], known.histogram[:last]
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()), "activation where active")


def _bands(features: Features, known: CodeFeatures, pool: PoolBuilder, most: FeatureSettings) -> Iterator[Band]:
    """The examples by band: the largest, each range of quantiles from the top, the smallest."""
    examples: dict[int, list[ShownExample]] = {}
    for example in _few(known.examples, most):
        context = None
        if example.values is not None:
            values = tuple(float(f"{value:.4g}") for value in example.values.tolist())
            context = TokenContext(tuple(features.words(example)), values, example.at)
        shown = ShownExample(pool.number(example.row), example.value, context)
        examples.setdefault(example.band, []).append(shown)
    n = features.settings.bands
    for band, rows in examples.items():
        sizes = [abs(row.activation) for row in rows]
        low, high = min(sizes), max(sizes)
        if band == -1:
            yield Band("top", "largest activations", low, high, tuple(rows))
        elif band == -2:
            yield Band("threshold", "smallest activations, near the threshold", low, high, tuple(rows))
        else:
            label = f"{band / n:.0%} to {(band + 1) / n:.0%} of its activations"
            yield Band("quantile", label, low, high, tuple(rows), (band + 0.5) / n)


def _few(examples: list[CodeExample], most: FeatureSettings) -> Iterator[CodeExample]:
    """The first of the strongest and weakest examples, and evenly spaced ones of each band: stored features may have more than are shown."""
    for band, group in groupby(examples, key=lambda example: example.band):
        rows = list(group)
        n = {-1: most.top, -2: most.near}.get(band, most.per_band)
        if len(rows) > n:
            rows = rows[:n] if band < 0 else [rows[i] for i in np.linspace(0, len(rows) - 1, n).astype(int)]
        yield from rows


def _effect(looked: Looked, atom: Atom, known: CodeFeatures, errors: float) -> Effect | None:
    """The effect of setting the code to 0, where it was computed; `errors` is the sum of errors of samples on which it is active."""
    importance, code = looked.importance, known.number
    loss = float(importance.per_active[code])
    if not np.isfinite(loss):
        return None
    before = errors / known.n_active
    sign = 1.0 if looked.peaks[code] >= 0 else -1.0
    added = tuple(WeightedName(w.name, sign * known.mean * w.weight) for w in atom.top) if atom.exact else ()
    return Effect(int(importance.samples[code]), loss, loss / before if before > 0 else None, added)


def _labels(coded: Coded, code: int) -> tuple[LabelShare, ...]:
    """The most frequent labels among the samples on which the code is active."""
    features = coded.features
    n_active = int(features.n_active[code])
    if not features.by_class.shape[1] or not n_active:
        return ()
    counts = features.by_class[code]
    order = [j for j in np.argsort(-counts, kind="stable")[:TOP].tolist() if counts[j]]
    return tuple(
        LabelShare(str(j), float(counts[j] / n_active), float(features.class_sizes[j] / features.n)) for j in order
    )
