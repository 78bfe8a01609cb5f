"""Rows rounded up or down by chance to 8-bit or 16-bit integers, and what their products are off by (see `quantised.py`).

The chances are the same numbers in every call, so that results are reproducible.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsecode.kernels.jit import compiled
from sparsecode.kernels.pair_products import COLUMNS, ROWS, padded
from sparsecode.kernels.threads import item, share_out

__all__ = ["Quantised", "coarseness", "quantise", "quantise_pairs", "quantise_panels", "slack_of"]

LARGEST = 127  # of 8-bit integers
DEVIATIONS = 3.28  # of the bound in `quantised.py`
ROUNDING = np.float32(2.0**-16)  # of |x| |w|: more than float32's in a product
TINY = np.float32(1e-30)

_jit = compiled()


class Quantised(NamedTuple):
    """Rows of about s q: `integers` q [n, f] (or in pairs), `step` s and `norm` of the rows [n]."""

    integers: NDArray[Any]
    step: NDArray[np.float32]
    norm: NDArray[np.float32]


@_jit
def _quantise(
    x: Any, bits: Any, chances: Any, most: Any, integers: Any, step_bits: Any, step: Any, norm: Any
) -> None:  # fmt: skip
    zero = most - most
    for i in range(len(x)):
        row, key, out = x[i], bits[i], integers[i]
        peak, square = np.int32(0), zero
        for j in range(
            len(key)
        ):  # without signs, bits of floats have the order of magnitudes: a maximum that vectorises
            peak = max(peak, key[j] & np.int32(0x7FFFFFFF))
        for j in range(len(row)):
            square += row[j] * row[j]
        step_bits[i] = peak
        largest = step[i]  # the same memory
        inverse = most / largest if largest > 0 else zero
        for j in range(len(row)):
            out[j] = np.int32(min(np.floor(row[j] * inverse + chances[j]), most))  # rounding may lead above
        step[i], norm[i] = largest / most, np.sqrt(square)


@_jit
def _quantise_panels(
    x: Any, bits: Any, chances: Any, most: Any, integers: Any, pairs: Any, step_bits: Any, step: Any, norm: Any,
    panels: Any, begin: Any, end: Any,
) -> None:  # fmt: skip
    """`pairs` is `integers` [COLUMNS, f], scratch, as 32-bit numbers; the last panel holds the last rows."""
    for p in range(begin, end):
        first = min(p * COLUMNS, len(x) - COLUMNS)
        last = first + COLUMNS
        _quantise(
            x[first:last], bits[first:last], chances, most, integers, step_bits[first:last], step[first:last], norm[first:last]
        )  # fmt: skip
        panel = panels[p]
        for k in range(len(panel)):
            here = panel[k]
            for c in range(len(here)):
                here[c] = pairs[c, k]


class _Rounding:
    """Of rows `x` [n, f], up or down by chance, to integers between minus and plus `most`, to which their largest magnitude is scaled."""

    def __init__(self, x: NDArray[np.float32], seed: int, most: int) -> None:
        self.x, self.most = x, np.float32(most)
        self.chances = np.random.default_rng(seed).random(x.shape[1], np.float32)
        self.step, self.norm = np.empty(len(x), np.float32), np.empty(len(x), np.float32)

    def write(self, rows: slice, integers: NDArray[Any]) -> None:
        part, step = self.x[rows], self.step[rows]
        bits, step_bits = part.view(np.int32), step.view(np.int32)
        _quantise(part, bits, self.chances, self.most, integers, step_bits, step, self.norm[rows])


def quantise(x: NDArray[np.float32], seed: int, threads: int) -> Quantised:
    """Rows [n, f] rounded up or down by chance to 255 levels between minus and plus their largest magnitude."""
    integers, rounding = np.empty(x.shape, np.int8), _Rounding(x, seed, LARGEST)

    def work(blocks: Iterable[slice]) -> None:
        for rows in blocks:
            rounding.write(rows, integers[rows])

    share_out(len(x), item(len(x), threads), threads, work)
    return Quantised(integers, rounding.step, rounding.norm)


def _pairs(n: int, n_features: int) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Rows of 16-bit integers, zeros, and the same memory in pairs."""
    integers = np.zeros((n, n_features + n_features % 2), np.int16)
    return integers, integers.view(np.int32)


def _most_of(n_features: int) -> int:
    """The largest integer of 16 bits of which so many squares have a sum of 32."""
    return min(isqrt((2**31 - 1) // n_features), 2**15 - 1)


def quantise_pairs(x: NDArray[np.float32], seed: int, threads: int) -> Quantised:
    """Rows [n, f] rounded as by `quantise` to 16-bit integers whose products fit 32 bits, in pairs [., f / 2], with rows of zeros after them.

    There are enough of these for `padded` products from any row on.
    """
    n, n_features = x.shape
    (integers, pairs), rounding = _pairs(padded(n) + ROWS, n_features), _Rounding(x, seed, _most_of(n_features))

    def work(blocks: Iterable[slice]) -> None:
        for rows in blocks:
            rounding.write(rows, integers[rows.start : min(rows.stop, n)])

    share_out(n, item(n, threads), threads, work)
    return Quantised(pairs, rounding.step, rounding.norm)


def quantise_panels(x: NDArray[np.float32], seed: int, threads: int, panels: NDArray[np.int32]) -> Quantised:
    """The same of a table x [m, f], m at least COLUMNS, in `panels` [m / COLUMNS, f / 2, COLUMNS], both rounded up."""
    n_features = x.shape[1]
    rounding = _Rounding(x, seed, _most_of(n_features))

    def work(blocks: Iterable[slice]) -> None:
        integers, pairs = _pairs(COLUMNS, n_features)
        bits, step_bits = x.view(np.int32), rounding.step.view(np.int32)
        for block in blocks:
            _quantise_panels(
                x, bits, rounding.chances, rounding.most, integers, pairs, step_bits, rounding.step, rounding.norm, panels,
                block.start, min(block.stop, len(panels)),
            )  # fmt: skip

    share_out(len(panels), item(len(panels), threads), threads, work)
    return Quantised(panels, rounding.step, rounding.norm)


def coarseness(table: Quantised) -> float:
    """The largest step of a row per norm of it."""
    return float((table.step / table.norm.clip(TINY)).max())


def slack_of(rows: Quantised, coarse: float, n_features: int) -> NDArray[np.float32]:
    """What products of the rows with those of a table of that coarseness may be off by, per norm of the latter [n]."""
    rounded = rows.norm + rows.step * np.float32(n_features**0.5)  # no less than |s q|
    by_table = rounded * coarse
    return (DEVIATIONS * np.hypot(rows.step, by_table) + ROUNDING * rows.norm).astype(np.float32)
