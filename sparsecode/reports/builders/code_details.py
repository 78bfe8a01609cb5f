"""What is shown of each code: atom, histogram, examples, neighbours, effect, labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsecode.evaluate.units.features import CodeExample, CodeFeatures, Features, FeatureSettings
from sparsecode.models.base import AbstractSparseModel
from sparsecode.reports.builders.additions import Additions
from sparsecode.reports.builders.atoms import atoms_of
from sparsecode.reports.builders.code_table import NearAtoms
from sparsecode.reports.builders.coded import Coded
from sparsecode.reports.builders.importance import CodeImportance
from sparsecode.reports.builders.pool import PoolBuilder, SampleNumbers
from sparsecode.reports.builders.sheets import Sheets
from sparsecode.reports.document import (
    Atom,
    Band,
    CodeDetail,
    Effect,
    Histogram,
    LabelShare,
    NearCode,
    ShownExample,
    TokenContext,
    WeightedName,
)

__all__ = ["Looked", "bands_of", "details_of", "histogram_of", "labels_of", "near_codes", "partners_of"]

TOP = 8  # labels that are listed


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


def details_of(looked: Looked, pool: PoolBuilder, sheets: Sheets) -> Iterator[CodeDetail]:
    """The details of the shown codes, in order; pictures go to the sheets, samples to the pool."""
    coded, features = looked.coded, looked.coded.features
    atoms = atoms_of(looked.additions, looked.peaks, looked.shown, looked.names, sheets)
    entries = coded.entries
    before = np.bincount(entries.code, coded.errors[entries.row], minlength=features.n_code)
    for place, code in enumerate(looked.shown.tolist()):
        known = features.code(code)
        positive = int(features.positive[code])
        yield CodeDetail(
            code=code,
            atom=atoms[place],
            activations=histogram_of(known),
            bands=tuple(bands_of(features, known, pool, looked.settings)),
            by_cosine=near_codes(looked.near, place),
            by_firing=partners_of(known, looked.settings),
            effect=_effect(looked, atoms[place], known, float(before[code])),
            labels=labels_of(features, code),
            signed=0 < positive < known.n_active,
        )


def near_codes(near: NearAtoms, place: int) -> tuple[NearCode, ...]:
    """The codes with the nearest atoms."""
    pairs = zip(near.code[place].tolist(), near.cosine[place].tolist(), strict=True)
    return tuple(NearCode(other, cosine) for other, cosine in pairs)


def partners_of(known: CodeFeatures, most: FeatureSettings) -> tuple[NearCode, ...]:
    """The codes that fire most together with it."""
    return tuple(NearCode(other, jaccard) for other, _, jaccard in known.neighbours[: most.neighbours])


def histogram_of(known: CodeFeatures) -> Histogram | None:
    """Magnitudes on active samples, empty bins above the largest left out."""
    if not known.n_active:
        return None
    last = int(np.flatnonzero(known.histogram)[-1]) + 1
    edges, counts = known.edges[: last + 1], known.histogram[:last]
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()), "activation where active")


def bands_of(features: Features, known: CodeFeatures, pool: SampleNumbers, most: FeatureSettings) -> Iterator[Band]:
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


def labels_of(features: Features, code: int) -> tuple[LabelShare, ...]:
    """The most frequent labels among the samples on which the code is active."""
    n_active = int(features.n_active[code])
    if not features.by_class.shape[1] or not n_active:
        return ()
    counts = features.by_class[code]
    order = [j for j in np.argsort(-counts, kind="stable")[:TOP].tolist() if counts[j]]
    return tuple(
        LabelShare(str(j), float(counts[j] / n_active), float(features.class_sizes[j] / features.n)) for j in order
    )
