"""How often and how strongly codes are active, and together with which others, in bounded memory."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsecode.evaluate.units.examples import NONE, Entries, uniform_keys

__all__ = ["CoFiring", "FiringStatistics", "RowSample", "cofiring"]

ENTRIES = 32_000_000  # most active codes in the rows that are kept
PAIRS = 500_000_000  # most pairs of them
CODES = 512  # codes whose pairs are counted together
LARGEST_L0 = 2**16  # counted apart


class FiringStatistics:
    """Sums over rows for each of n_code codes.

    `n_active` [n_code] rows on which it is active; `total` [n_code] the sum of |value|, in float64 and row by row, `positive` how many
    values are positive; `largest` [n_code] the largest |value|. `histogram` [n_code, bins]: counts of |value| in equal bins from 0 to
    `limit` [n_code], the smallest power of two above `largest`: limits double and bins merge in pairs as values grow, which is exact.
    `rows_by_l0`: how many rows have 0, 1, 2, ... active codes. With classes, `by_class` [n_code, n_classes]: rows of each class on which a
    code is active. Nothing depends on how rows are divided.
    """

    def __init__(self, n_code: int, bins: int, n_classes: int = 0) -> None:
        self.n, self.bins = 0, bins
        self.n_active, self.positive = np.zeros(n_code, dtype=np.int64), np.zeros(n_code, dtype=np.int64)
        self.total = np.zeros(n_code)
        self.largest = np.zeros(n_code, dtype=np.float32)
        self.exponent = np.full(n_code, -200)  # limit = 2^exponent
        self.histogram = np.zeros((n_code, bins), dtype=np.int32)
        self.rows_by_l0 = np.zeros(1, dtype=np.int64)
        self.by_class = np.zeros((n_code, n_classes), dtype=np.int32)
        self.class_sizes = np.zeros(n_classes, dtype=np.int64)

    @property
    def limit(self) -> NDArray[np.float64]:
        """The upper end [n_code] of the last bin; 0 for codes never active."""
        return np.where(self.n_active > 0, np.exp2(self.exponent.astype(np.float64)), 0.0)

    def update(self, entries: Entries, first: int, n: int, label: NDArray[np.int64] | None = None) -> None:
        """Take the entries of rows `first` to `first + n - 1`, whose classes are `label` [n]."""
        code, strength = entries.code, np.abs(entries.value)
        self.n += n
        np.add.at(self.n_active, code, 1)
        np.add.at(self.positive, code[entries.value > 0], 1)
        np.add.at(self.total, code, strength.astype(np.float64))
        np.maximum.at(self.largest, code, strength)
        self._grow()
        width = np.exp2(self.exponent[code].astype(np.float64)) / self.bins
        np.add.at(self.histogram, (code, np.minimum((strength / width).astype(np.int64), self.bins - 1)), 1)
        l0 = np.bincount(np.bincount(entries.row - first, minlength=n).clip(max=LARGEST_L0))
        if len(l0) > len(self.rows_by_l0):
            self.rows_by_l0 = np.pad(self.rows_by_l0, (0, len(l0) - len(self.rows_by_l0)))
        self.rows_by_l0[: len(l0)] += l0
        if label is not None and self.by_class.shape[1]:
            np.add.at(self.by_class, (code, label[entries.row - first]), 1)
            np.add.at(self.class_sizes, label, 1)

    def _grow(self) -> None:
        """Double the limits of codes whose values have left their bins."""
        needed = np.frexp(self.largest)[1]  # largest < 2^needed
        growing = np.flatnonzero((self.largest > 0) & (needed > self.exponent))
        fresh = growing[~self.histogram[growing].any(axis=1)]
        self.exponent[fresh] = needed[fresh]
        growing = growing[needed[growing] > self.exponent[growing]]
        while len(growing):
            pairs = self.histogram[growing].reshape(len(growing), self.bins // 2, 2).sum(axis=2)
            self.histogram[growing] = np.pad(pairs, ((0, 0), (0, self.bins - self.bins // 2)))
            self.exponent[growing] += 1
            growing = growing[needed[growing] > self.exponent[growing]]


class SamplePart(NamedTuple):
    """Some rows of a sample: their numbers, keys and numbers of active codes, and these codes."""

    row: NDArray[np.int64]
    key: NDArray[np.float64]
    n_active: NDArray[np.int64]
    entries: Entries

    def where(self, kept: NDArray[np.bool_]) -> SamplePart:
        """The rows that are `kept`."""
        some = np.repeat(kept, self.n_active)
        return SamplePart(self.row[kept], self.key[kept], self.n_active[kept], self.entries.where(some))


class RowSample:
    """The codes of a uniform random sample of rows, as large as `entries` active codes and `pairs` pairs of them allow; of all rows if they fit.

    The rows are those whose keys, a hash of row and seed, are below the largest number with which they fit: independent of how
    rows are divided.
    """

    def __init__(self, seed: int, entries: int = ENTRIES, pairs: int = PAIRS) -> None:
        self.seed, self.most = seed, (entries, pairs)
        self.below = math.inf
        self.parts: list[SamplePart] = []
        self._sizes = [0, 0]

    @property
    def whole(self) -> bool:
        """Whether all rows are in it."""
        return self.below == math.inf

    def update(self, entries: Entries, first: int, n: int) -> None:
        """Take the entries of rows `first` to `first + n - 1`."""
        count = np.bincount(entries.row - first, minlength=n)
        row = np.arange(first, first + n)
        code: Any = entries.code.astype(np.int32)  # half the memory
        self._add(SamplePart(row, uniform_keys(row, 0, self.seed), count, Entries(entries.row, code, entries.value)))
        if any(size > most for size, most in zip(self._sizes, self.most, strict=True)):
            self._shrink()

    def _add(self, part: SamplePart) -> None:
        if not self.whole:
            part = part.where(part.key < self.below)
        self.parts.append(part)
        self._sizes = [self._sizes[0] + int(part.n_active.sum()), self._sizes[1] + int(np.square(part.n_active).sum())]

    def _shrink(self) -> None:
        """Leave out the rows with the largest keys, so many that the rest fits."""
        key, count = (
            np.concatenate(columns) for columns in zip(*((p.key, p.n_active) for p in self.parts), strict=True)
        )
        order = np.argsort(key)
        fits = np.cumsum(count[order]) <= self.most[0]
        fits &= np.cumsum(np.square(count[order])) <= self.most[1]
        if fits.all():
            return
        self.below = float(key[order][int(fits.argmin())])
        parts, self.parts, self._sizes = self.parts, [], [0, 0]
        while parts:
            self._add(parts.pop(0))

    def entries(self) -> list[Entries]:
        """The entries of its rows, in parts."""
        return [part.entries for part in self.parts]

    @property
    def n(self) -> int:
        """The number of rows."""
        return sum(len(part.row) for part in self.parts)


class CoFiring(NamedTuple):
    """Neighbours [n_code, m] of each code: `code`, `together` the rows on which both are active, and `jaccard` = together / rows on which
    at least one is; by falling jaccard, ties by the smaller code; code -1 where there are fewer. Of `n` rows.
    """

    code: NDArray[np.int32]
    together: NDArray[np.int32]
    jaccard: NDArray[np.float32]
    n: int


def _largest(values: NDArray[np.float64], numbers: NDArray[Any], m: int) -> NDArray[np.int64]:
    """Where the m largest values from 0 on are, falling, ties by the smaller number."""
    least = np.partition(values, -m)[-m] if m and len(values) > m else 0.0
    some = np.flatnonzero(values >= max(least, 0.0))
    return some[np.lexsort((numbers[some], -values[some]))][:m]


def cofiring(sample: RowSample, n_code: int, neighbours: int) -> CoFiring:
    """The codes that fire most together with each code, counted on the rows of a sample."""
    from scipy.sparse import csr_array  # SciPy takes time to import

    parts = sample.entries()
    code = np.concatenate([part.code for part in parts]) if parts else np.zeros(0, dtype=np.int32)
    counts = [part.n_active for part in sample.parts]
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))]) if counts else np.zeros(1, dtype=np.int64)
    fires: Any = csr_array((np.ones(len(code), dtype=np.int32), code, offsets), shape=(len(offsets) - 1, n_code))
    size = np.bincount(code, minlength=n_code)
    columns: Any = fires.T.tocsr()
    m = min(neighbours, max(n_code - 1, 0))
    near = np.full((n_code, m), NONE, dtype=np.int32)
    together, jaccard = np.zeros((n_code, m), dtype=np.int32), np.zeros((n_code, m), dtype=np.float32)
    for start in range(0, n_code, CODES):
        pairs: Any = columns[start : start + CODES] @ fires
        first = start + np.repeat(np.arange(pairs.shape[0]), np.diff(pairs.indptr))
        second, both = pairs.indices, pairs.data
        ratio = np.where(first == second, -1.0, both / (size[first] + size[second] - both))
        for row, (begin, end) in enumerate(pairwise(pairs.indptr.tolist()), start):
            best = _largest(ratio[begin:end], second[begin:end], m) + begin
            place = slice(0, len(best))
            near[row, place], together[row, place], jaccard[row, place] = second[best], both[best], ratio[best]
    return CoFiring(near, together, jaccard, len(offsets) - 1)
