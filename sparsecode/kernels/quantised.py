"""Selection of active codes by products of 8-bit or 16-bit integers, with a bound of their error.

A row x is s (q + e), rounded up or down to integers q by chance such that e has mean 0 and is independent of x: entries of s e have a
range of s. By Hoeffding's inequality |s e . w| stays below t s |w|, except with probability 2 exp(-2 t^2), whatever x and w are, and
a weight rounded in the same way adds its variance. With t = 3.28 this is once in 10^9; entries further than that below a known lower
bound of the k-th largest value, or below a threshold, are not computed. All others are, in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsecode.kernels.jit import compiled
from sparsecode.kernels.selection import collect, collect_above, group_maxima, group_width, keep_largest, reached
from sparsecode.kernels.sparse_rows import REUSE, TILE, dots
from sparsecode.kernels.threads import share_out

__all__ = ["IntegerBlock", "above_quantised", "top_quantised"]

ZERO, ONE = np.float32(0), np.float32(1)
ROWS = 64  # per work item of a thread

_jit = compiled()


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
