"""Selection of active codes by products of 8-bit or 16-bit integers, with a bound of their error.

A row x is s (q + e), rounded up or down to integers q by chance such that e has mean 0 and is independent of x: entries of s e have a
range of s. By Hoeffding's inequality |s e . w| stays below t s |w|, except with probability 2 exp(-2 t^2), whatever x and w are, and
a weight rounded in the same way adds its variance. With t = 3.28 this is once in 10^9; entries further than that below a known lower
bound of the k-th largest value, or below a threshold, are not computed. All others are, in float32.

The chances are the same numbers in every call, so that results are reproducible.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isqrt
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsecode.kernels.jit import compiled
from sparsecode.kernels.pair_products import COLUMNS, pack, padded
from sparsecode.kernels.selection import collect, collect_above, group_maxima, group_width, keep_largest, reached
from sparsecode.kernels.sparse_rows import REUSE, TILE, dots
from sparsecode.kernels.threads import share_out

__all__ = [
    "IntegerBlock",
    "Quantised",
    "above_quantised",
    "coarseness",
    "quantise",
    "quantise_pairs",
    "quantise_panels",
    "slack_of",
    "top_quantised",
]

LARGEST = 127  # of 8-bit integers
DEVIATIONS = 3.28  # t above
ROUNDING = np.float32(2.0**-16)  # of |x| |w|: more than float32's in a product
TINY = np.float32(1e-30)
ZERO, ONE = np.float32(0), np.float32(1)
ROWS = 64  # per work item of a thread

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

    share_out(len(x), ROWS, threads, work)
    return Quantised(integers, rounding.step, rounding.norm)


def _pairs(n: int, n_features: int) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Rows of 16-bit integers, zeros, and the same memory in pairs."""
    integers = np.zeros((n, n_features + n_features % 2), np.int16)
    return integers, integers.view(np.int32)


def _most_of(n_features: int) -> int:
    """The largest integer of 16 bits of which so many squares have a sum of 32."""
    return min(isqrt((2**31 - 1) // n_features), 2**15 - 1)


def quantise_pairs(x: NDArray[np.float32], seed: int, threads: int) -> Quantised:
    """Rows [n, f] rounded as by `quantise` to 16-bit integers whose products fit 32 bits, in pairs [n and some rows of zeros, f / 2]."""
    n, n_features = x.shape
    (integers, pairs), rounding = _pairs(padded(n), n_features), _Rounding(x, seed, _most_of(n_features))

    def work(blocks: Iterable[slice]) -> None:
        for rows in blocks:
            rounding.write(rows, integers[rows.start : min(rows.stop, n)])

    share_out(n, ROWS, threads, work)
    return Quantised(pairs, rounding.step, rounding.norm)


def quantise_panels(x: NDArray[np.float32], seed: int, threads: int, panels: NDArray[np.int32]) -> Quantised:
    """The same of a table x [m, f], m at least COLUMNS, in `panels` [m / COLUMNS, f / 2, COLUMNS], both rounded up."""
    m, n_features = x.shape
    rounding = _Rounding(x, seed, _most_of(n_features))

    def work(blocks: Iterable[slice]) -> None:
        integers, pairs = _pairs(COLUMNS, n_features)
        for block in blocks:
            for p in range(block.start, min(block.stop, len(panels))):
                first = min(p * COLUMNS, m - COLUMNS)  # the last panel holds the last rows
                rounding.write(slice(first, first + COLUMNS), integers)
                pack(pairs, panels[p])

    share_out(len(panels), ROWS // COLUMNS, threads, work)
    return Quantised(panels, rounding.step, rounding.norm)


def coarseness(table: Quantised) -> float:
    """The largest step of a row per norm of it."""
    return float((table.step / table.norm.clip(TINY)).max())


def slack_of(rows: Quantised, coarse: float, n_features: int) -> NDArray[np.float32]:
    """What products of the rows with those of a table of that coarseness may be off by, per norm of the latter [n]."""
    rounded = rows.norm + rows.step * np.float32(n_features**0.5)  # no less than |s q|
    by_table = rounded * coarse
    return (DEVIATIONS * np.hypot(rows.step, by_table) + ROUNDING * rows.norm).astype(np.float32)


@_jit
def _bounds(products: Any, factor: Any, unit: Any, bias: Any, slack: Any, reach: Any, low: Any, high: Any) -> None:
    for j in range(len(low)):
        score, off = np.float32(products[j]) * (factor * unit[j]) + bias[j], slack * reach[j]
        low[j], high[j] = score - off, score + off


@_jit
def _upper_bounds(products: Any, factor: Any, unit: Any, bias: Any, slack: Any, reach: Any, high: Any) -> None:
    for j in range(len(high)):
        high[j] = np.float32(products[j]) * (factor * unit[j]) + bias[j] + slack * reach[j]


@_jit
def _exact(x: Any, weight: Any, bias: Any, chosen: Any, values: Any) -> None:
    dots(x, weight, chosen, values)
    for p in range(len(chosen)):
        values[p] += bias[chosen[p]]


@_jit
def _top(
    products: Any, x: Any, weight: Any, bias: Any, k: Any, factor: Any, unit: Any, slack: Any, reach: Any, low: Any,
    low_keys: Any, high: Any, high_keys: Any, most: Any, chosen: Any, values: Any, value_keys: Any, indices_out: Any,
    values_out: Any, counts: Any,
) -> None:  # fmt: skip
    """The k largest values of each row: of those that may reach what k are known to reach."""
    for i in range(len(products)):
        _bounds(products[i], factor[i], unit, bias, slack[i], reach, low, high)
        group_maxima(low_keys, most)
        n = collect(high_keys, reached(most, k), chosen)
        _exact(x[i], weight, bias, chosen[:n], values)
        counts[i] = keep_largest(k, chosen[:n], values, value_keys[:n], indices_out[i], values_out[i])


@_jit
def _above(
    products: Any, x: Any, weight: Any, bias: Any, threshold: Any, factor: Any, unit: Any, slack: Any, reach: Any,
    counted: Any, high: Any, at: Any, tile: Any, indices: Any, values: Any, counts: Any,
) -> None:  # fmt: skip
    """Values above `threshold`, packed to the front; only the number of those that may be if `counted`."""
    total = 0
    for i in range(len(products)):
        _upper_bounds(products[i], factor[i], unit, bias, slack[i], reach, high)
        if counted:
            reachable = ZERO
            for j in range(len(high)):
                reachable += ONE if high[j] > threshold[j] else ZERO
            counts[i] = np.int64(reachable)
            continue
        counts[i], at[i] = collect_above(high, threshold, indices[i]), 0
        total += counts[i]
    if counted:
        return
    span = tile if total > REUSE * len(weight) else len(weight)
    for level in range(span, len(weight) + span, span):  # rows of the table that the cache holds, for all samples
        for i in range(len(products)):
            p = at[i]
            q = p
            while q < counts[i] and indices[i, q] < level:
                q += 1
            if q > p:
                dots(x[i], weight, indices[i, p:q], values[i, p:q])
                at[i] = q
    for i in range(len(products)):
        result, kept, count = indices[i], values[i], 0
        for p in range(counts[i]):
            value = kept[p] + bias[result[p]]
            if value > threshold[result[p]]:
                result[count], kept[count] = result[p], value
                count += 1
        counts[i] = count


class IntegerBlock(Protocol):
    """Samples `x` [r, f], `weight` [m, f], `bias` [m], and products [r, m] of integers, which are off from x W^T by less than
    `slack` [r] `reach` [m], all but surely, once multiplied by `factor` [r] and `unit` [m].
    """

    @property
    def products(self) -> NDArray[np.int32]: ...
    @property
    def x(self) -> NDArray[np.float32]: ...
    @property
    def weight(self) -> NDArray[np.float32]: ...
    @property
    def bias(self) -> NDArray[np.float32]: ...
    @property
    def factor(self) -> NDArray[np.float32]: ...
    @property
    def unit(self) -> NDArray[np.float32]: ...
    @property
    def slack(self) -> NDArray[np.float32]: ...
    @property
    def reach(self) -> NDArray[np.float32]: ...


def top_quantised(
    block: IntegerBlock,
    k: int,
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    counts: NDArray[np.int64],
    threads: int,
) -> None:
    """The k largest positive values of each row of x W^T + b into `indices` and `values` [r, k], in the order of the columns."""
    b = block
    m = len(b.bias)
    width = group_width(m, k)

    def work(blocks: Iterable[slice]) -> None:
        low, high, kept = (np.empty(m, np.float32) for _ in range(3))
        most, result = np.empty(width, np.int32), np.empty(m, np.int32)
        for rows in blocks:
            _top(
                b.products[rows], b.x[rows], b.weight, b.bias, k, b.factor[rows], b.unit, b.slack[rows], b.reach, low,
                low.view(np.int32), high, high.view(np.int32), most, result, kept, kept.view(np.int32), indices[rows],
                values[rows], counts[rows],
            )  # fmt: skip

    share_out(len(b.products), ROWS, threads, work)


def above_quantised(
    block: IntegerBlock,
    threshold: NDArray[np.float32],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    counts: NDArray[np.int64],
    threads: int,
    counted: bool = False,
) -> None:
    """Columns and values of x W^T + b > threshold [m], at the front of each row of `indices` and `values` [r, m].

    With `counted` only an upper bound of their number per row is given, in `counts`.
    """
    b = block
    tile = max(8, TILE // b.weight.strides[0])

    def work(blocks: Iterable[slice]) -> None:
        high = np.empty(len(b.bias), np.float32)
        at = np.empty(len(b.products), np.int64)
        for rows in blocks:
            _above(
                b.products[rows], b.x[rows], b.weight, b.bias, threshold, b.factor[rows], b.unit, b.slack[rows], b.reach,
                counted, high, at, tile, indices[rows], values[rows], counts[rows],
            )  # fmt: skip

    share_out(len(b.products), ROWS, threads, work)
