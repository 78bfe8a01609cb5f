"""Examples of codes: for each code a few of the rows on which it is active, kept while rows stream by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["NONE", "Entries", "ExampleCollector", "Examples", "KeptRows", "uniform_keys"]

NONE = -1  # in the place of a row or code that is not there
PENDING = 2_000_000  # entries that are gathered before they are sorted
BLOCK = 4096  # codes that are merged together

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class Entries(NamedTuple):
    """The active codes of some rows: numbers of rows, codes and values, [nnz] each; rows in ascending order."""

    row: Integers
    code: Integers
    value: Floats

    def where(self, kept: NDArray[np.bool_]) -> Entries:
        """Those that are `kept` [nnz]."""
        return Entries(self.row[kept], self.code[kept], self.value[kept])


class Examples(NamedTuple):
    """Rows [n_code, m] and values [n_code, m] of m places for each code; row -1 and value 0 where a place is empty.

    `bands` [m] says what a place holds: -1 rows of the largest strength |value|, descending; b from 0 rows drawn uniformly from
    those whose strength is in band b of the code's strengths, band 0 the lowest; -2 rows of the smallest strength, ascending.
    """

    row: Integers
    value: Floats
    bands: NDArray[np.int8]


def uniform_keys(row: Integers, code: Integers | int, seed: int) -> NDArray[np.float64]:
    """Numbers [n] in [0, 1) that look random, a function of (row, code, seed) alone. Source: the mixing function of SplitMix64,
    Steele, Lea & Flood, OOPSLA 2014.
    """
    with np.errstate(over="ignore"):
        z = _mixed(row.astype(np.uint64) + np.uint64(_mixed_number(seed)))
        z = _mixed(z ^ (np.asarray(code).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _mixed_number(seed: int) -> int:
    return int(_mixed(np.array([seed], dtype=np.uint64))[0])


class KeptRows:
    """For each code the `size` rows with the smallest keys, ties by the smaller row: the same for any division of rows."""

    def __init__(self, n_code: int, size: int) -> None:
        self.key = np.full((n_code, size), np.inf)
        self.row = np.full((n_code, size), NONE, dtype=np.int64)
        self.value = np.zeros((n_code, size), dtype=np.float32)

    def update(self, entries: Entries, key: NDArray[np.float64]) -> None:
        """Take entries with keys [nnz], each (row, code) once."""
        size = self.key.shape[1]
        if not size or not len(key):
            return
        last_key, last_row = self.key[entries.code, -1], self.row[entries.code, -1]
        some = np.flatnonzero((key < last_key) | ((key == last_key) & (entries.row < last_row)))
        some = some[np.lexsort((key[some], entries.code[some]))]  # rows ascend already
        code = entries.code[some]
        first = np.flatnonzero(np.diff(code, prepend=NONE))
        place = np.arange(len(code)) - np.repeat(first, np.diff(first, append=len(code)))
        some, place = some[place < size], place[place < size]
        codes = entries.code[some]
        for start in range(0, len(first), BLOCK):
            changed = code[first[start : start + BLOCK]]
            begin, end = np.searchsorted(codes, [changed[0], changed[-1] + 1])
            self._merge(changed, entries, key, some[begin:end], place[begin:end])

    def _merge(
        self, changed: Integers, entries: Entries, key: NDArray[np.float64], some: Integers, place: Integers
    ) -> None:
        """Merge entries `some`, the `place`-th new ones of codes `changed`, with what is there."""
        size = self.key.shape[1]
        at = (np.searchsorted(changed, entries.code[some]), size + place)
        new = {"key": key[some], "row": entries.row[some], "value": entries.value[some]}
        both: dict[str, NDArray[np.generic]] = {}
        for name, empty in (("key", np.inf), ("row", NONE), ("value", 0)):
            before = getattr(self, name)[changed]
            both[name] = np.concatenate([before, np.full_like(before, empty)], axis=1)
            both[name][at] = new[name]
        order = np.lexsort((both["row"], both["key"]), axis=1)[:, :size]
        for name, values in both.items():
            getattr(self, name)[changed] = np.take_along_axis(values, order, axis=1)


class ExampleCollector:
    """Collects `Examples` from entries in one pass: memory is proportional to the number of codes, the result a function of the
    entries and the seed, not of how they are divided.

    `top` rows of largest and `near` of smallest strength are exact. A uniform sample of 4 `bands` `per_band` active rows of each code
    (those of smallest key, a hash of row, code and seed) gives the bands: of the m rows in it, sorted by strength, the i-th is in band
    floor(bands (i + 1/2) / m); exact for codes active on no more rows than that, else a quantile of the code's strengths with
    standard error 1/2 / sqrt(m) at most. Rows that are among the `top` or `near` are not given again.
    """

    def __init__(self, n_code: int, *, top: int, bands: int, per_band: int, near: int, seed: int) -> None:
        self.bands, self.per_band, self.seed = bands, per_band, seed
        self.highest, self.lowest = KeptRows(n_code, top), KeptRows(n_code, near)
        self.sample = KeptRows(n_code, 4 * bands * per_band)
        self._waiting: list[Entries] = []
        self._n = 0

    def update(self, entries: Entries) -> None:
        """Take the entries of some rows."""
        self._waiting.append(entries)
        self._n += len(entries.row)
        if self._n >= PENDING:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        entries = Entries(*(np.concatenate(part) for part in zip(*self._waiting, strict=True)))
        self._waiting.clear()
        self._n = 0
        strength = np.abs(entries.value).astype(np.float64)
        self.highest.update(entries, -strength)
        self.lowest.update(entries, strength)
        self.sample.update(entries, uniform_keys(entries.row, entries.code, self.seed))

    def quantiles(self, at: NDArray[np.float64]) -> Floats:
        """Quantiles [n_code, len(at)] of each code's strengths where it is active, of its sample; NaN for codes never active."""
        self._flush()
        there = self.sample.row != NONE
        strength = np.sort(np.where(there, np.abs(self.sample.value).astype(np.float64), np.inf), axis=1)
        last = there.sum(axis=1, keepdims=True) - 1
        place = np.maximum(last, 0) * at
        low, high = (
            np.take_along_axis(strength, i.astype(np.int64), axis=1) for i in (np.floor(place), np.ceil(place))
        )
        low, high = np.where(last < 0, np.nan, low), np.where(last < 0, np.nan, high)
        return (low + (high - low) * (place - np.floor(place))).astype(np.float32)

    def result(self) -> Examples:
        """The examples of all codes so far."""
        self._flush()
        given = np.concatenate([self.highest.row, self.lowest.row], axis=1)
        band = self._bands_of_sample(given)
        sampled = [self._first_of(band == number) for number in reversed(range(self.bands))]
        low = self.lowest.row.copy()
        low[(low[:, :, None] == self.highest.row[:, None, :]).any(axis=2)] = NONE
        order = np.argsort(low == NONE, axis=1, kind="stable")
        value = np.where(low == NONE, np.float32(0), self.lowest.value)
        lowest = np.take_along_axis(low, order, axis=1), np.take_along_axis(value, order, axis=1)
        labels = [-1] * self.highest.row.shape[1]
        labels += [number for number in reversed(range(self.bands)) for _ in range(self.per_band)]
        labels += [-2] * low.shape[1]
        row, value = (
            np.concatenate(part, axis=1)
            for part in zip((self.highest.row, self.highest.value), *sampled, lowest, strict=True)
        )
        return Examples(row, value, np.array(labels, dtype=np.int8))

    def _bands_of_sample(self, given: Integers) -> Integers:
        """The band [n_code, m] of each row of the samples; -1 for rows that are not there or `given` already."""
        row = self.sample.row
        there = row != NONE
        count = there.sum(axis=1, keepdims=True)
        strength = np.where(there, np.abs(self.sample.value), np.inf)
        order = np.lexsort((row, strength), axis=1)
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.broadcast_to(np.arange(row.shape[1]), row.shape), axis=1)
        band = self.bands * (2 * rank + 1) // np.maximum(2 * count, 1)
        again = np.zeros_like(there)
        for column in range(given.shape[1]):
            again |= row == given[:, column : column + 1]
        return np.where(there & ~again, band, NONE)

    def _first_of(self, chosen: NDArray[np.bool_]) -> tuple[Integers, Floats]:
        """Rows and values [n_code, per_band] of the first `chosen` ones of the samples, by falling strength."""
        order = np.argsort(~chosen, axis=1, kind="stable")[:, : self.per_band]
        there = np.take_along_axis(chosen, order, axis=1)
        row = np.where(there, np.take_along_axis(self.sample.row, order, axis=1), NONE)
        value = np.where(there, np.take_along_axis(self.sample.value, order, axis=1), np.float32(0))
        order = np.lexsort((row, np.where(there, -np.abs(value), np.inf)), axis=1)
        return np.take_along_axis(row, order, axis=1), np.take_along_axis(value, order, axis=1)
