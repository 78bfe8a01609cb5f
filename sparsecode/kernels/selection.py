"""Selection of the active codes of each sample from a block of scores, which is then discarded.

Positive floats are ordered as their bits read as integers, negative ones lie below them: comparisons are of integers,
which vectorise, in one pass for the maxima of strided groups and one for the few groups that can hold a winner.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecode.kernels.jit import compiled
from sparsecode.kernels.sparse_rows import dots
from sparsecode.kernels.threads import share_out, worth

__all__ = [
    "above_rows",
    "collect",
    "collect_above",
    "group_maxima",
    "group_width",
    "keep_largest",
    "packed",
    "reached",
    "top_rows",
]

SPAN, SHORT = 128, 32  # entries compared together, of which few and more are chosen
GROUPS = 256  # group maxima at least, and this many times k:
PER_K = 8
UNCERTAIN = np.float32(2.0**-8)  # of a bfloat16 number: more than its rounding
ROWS = 64  # samples per work item of a thread
COMPARISON = 4  # numbers that a sum reads in the time of one comparison

_jit = compiled()


@_jit
def reached(keys: Any, k: Any) -> Any:
    """The greatest number >= 1 that at least k keys reach (any that exactly k do); 1 if fewer do."""
    low, high = np.int64(1), np.int64(1)
    for j in range(len(keys)):
        high = max(high, np.int64(keys[j]))
    while low < high:
        middle = high - (high - low) // 2
        count = 0
        for j in range(len(keys)):
            count += keys[j] >= middle
        if count == k:
            return middle
        if count > k:
            low = middle
        else:
            high = middle - 1
    return low


@_jit
def group_maxima(keys: Any, most: Any) -> None:
    """most[g] = the largest of keys[g], keys[g + width], ..."""
    width = len(most)
    for g in range(width):
        most[g] = keys[g]
    for start in range(width, len(keys), width):
        part = keys[start : start + width]  # loops over slices vectorise, loops over sums of indices do not
        for g in range(len(part)):
            most[g] = max(part[g], most[g])


@_jit
def collect(keys: Any, level: Any, chosen: Any) -> Any:
    """Write the indices of keys >= level to `chosen`, in order; returns their number."""
    count = 0
    for start in range(0, len(keys), SPAN):
        part = keys[start : start + SPAN]
        largest = part[0]
        for j in range(len(part)):
            largest = max(largest, part[j])
        if largest >= level:
            for j in range(len(part)):
                if part[j] >= level:
                    chosen[count] = start + j
                    count += 1
    return count


@_jit
def collect_above(values: Any, threshold: Any, chosen: Any) -> Any:
    """Write the indices of values > threshold to `chosen`, in order; returns their number."""
    count = 0
    for start in range(0, len(values), SHORT):
        part, level, hit = values[start : start + SHORT], threshold[start : start + SHORT], False
        for j in range(len(part)):
            hit |= part[j] > level[j]
        if hit:
            for j in range(len(part)):  # without a branch: which are above cannot be foreseen
                chosen[count] = start + j
                count += part[j] > level[j]
    return count


@_jit
def keep_largest(k: Any, chosen: Any, values: Any, keys: Any, indices_out: Any, values_out: Any) -> Any:
    """Write the k largest of some values, whose bits are `keys`, and their indices `chosen`, in order; returns their number."""
    level = reached(keys, k)
    over = 0
    for p in range(len(keys)):
        over += keys[p] > level
    room, count = k - over, 0
    for p in range(len(keys)):
        tied = keys[p] == level
        if keys[p] > level or (tied and room > 0):
            room -= tied
            indices_out[count], values_out[count] = chosen[p], values[p]
            count += 1
    return count


@_jit
def _top(
    keys: Any, scores: Any, x: Any, weight: Any, bias: Any, k: Any, margin: Any, rough: Any, bits: Any,
    bits_as_floats: Any, most: Any, chosen: Any, values: Any, value_keys: Any, indices_out: Any, values_out: Any,
    counts: Any,
) -> None:  # fmt: skip
    """The k largest of each row of `scores`; if `rough`, of exact values where the scores are not too far below the k-th."""
    for i in range(len(keys)):
        row = keys[i]
        group_maxima(row, most)
        level = reached(most, k)
        if rough:
            bits[0] = level << 16  # a bfloat16 is a float32's upper half
            bits_as_floats[0] = max(bits_as_floats[0] * (1 - 2 * UNCERTAIN) - margin[i], margin[i] - margin[i])
            level = max(np.int64(bits[0] >> 16), np.int64(1))
        n = collect(row, level, chosen)
        if rough:
            dots(x[i], weight, chosen[:n], values)
            for p in range(n):
                values[p] += bias[chosen[p]]
        else:
            for p in range(n):
                values[p] = scores[i, chosen[p]]
        counts[i] = keep_largest(k, chosen[:n], values, value_keys[:n], indices_out[i], values_out[i])


@_jit
def _above(
    keys: Any, scores: Any, x: Any, weight: Any, bias: Any, threshold: Any, margin: Any, rough: Any, exact: Any, bits: Any,
    bits_as_floats: Any, line: Any, indices: Any, values: Any, counts: Any,
) -> None:  # fmt: skip
    """Entries of each row of `scores` above `threshold` (less `margin` if `rough`), packed to the front; recomputed if `exact`."""
    for i in range(len(keys)):
        result, kept, slack = indices[i], values[i], margin[i]
        if rough:
            row = keys[i]
            for j in range(len(row)):
                bits[j] = np.int32(row[j]) << 16  # a bfloat16 is a float32's upper half
            for j in range(len(row)):
                line[j] = bits_as_floats[j] + abs(bits_as_floats[j]) * UNCERTAIN + slack
        else:
            row = scores[i]
            for j in range(len(line)):
                line[j] = row[j]
        count = collect_above(line, threshold, result)
        counts[i] = count
        if not exact:
            for p in range(count):
                kept[p] = line[result[p]]
        else:
            dots(x[i], weight, result[:count], kept)
            final = 0
            for p in range(count):
                j = result[p]
                value = kept[p] + bias[j]
                if value > threshold[j]:
                    result[final], kept[final] = j, value
                    final += 1
            counts[i] = final


@_jit
def _pack(indices: Any, values: Any, counts: Any, all_indices: Any, all_values: Any) -> None:
    first = 0
    for i in range(len(counts)):
        for p in range(counts[i]):
            all_indices[first + p], all_values[first + p] = indices[i, p], values[i, p]
        first += counts[i]


def packed(
    indices: NDArray[np.int32], values: NDArray[Any], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """The first counts[i] entries of each row, one row after another."""
    total = int(counts.sum())
    all_indices, all_values = np.empty(total, np.int32), np.empty(total, values.dtype)
    _pack(indices, values, counts, all_indices, all_values)
    return all_indices, all_values


def group_width(m: int, k: int) -> int:
    """The number of groups whose maxima bound the k-th largest of m entries."""
    width = max(GROUPS, PER_K * k)
    return width if 2 * width <= m else m


def top_rows(
    scores: NDArray[Any],
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any],
    k: int,
    margin: NDArray[Any],
    indices: NDArray[np.int32],
    values: NDArray[Any],
    counts: NDArray[np.int64],
    threads: int,
) -> None:
    """The k largest positive scores of each row into `indices` and `values` [r, k], in the order of the columns.

    `scores` [r, m] are floats, or bfloat16 read as int16: then entries of about the k-th largest less the row's
    `margin` [r] and more are judged by x W^T + b, `x` [r, f], `weight` [m, f], `bias` [m].
    """
    rough, m = scores.dtype == np.int16, scores.shape[1]
    keys = scores if rough else scores.view(np.int32 if scores.itemsize == 4 else np.int64)
    floats = np.empty((0, 0), values.dtype) if rough else scores
    width = group_width(m, k)

    def work(blocks: Iterable[slice]) -> None:
        most, result, kept = np.empty(width, keys.dtype), np.empty(m, np.int32), np.empty(m, values.dtype)
        kept_keys, bits = kept.view(np.int32 if kept.itemsize == 4 else np.int64), np.empty(1, np.int32)
        for rows in blocks:
            _top(
                keys[rows], floats[rows], x[rows], weight, bias, k, margin[rows], rough, bits, bits.view(np.float32),
                most, result, kept, kept_keys, indices[rows], values[rows], counts[rows],
            )  # fmt: skip

    share_out(len(scores), ROWS, worth(threads, COMPARISON * scores.size), work)


def above_rows(
    scores: NDArray[Any],
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any],
    threshold: NDArray[Any],
    margin: NDArray[Any],
    indices: NDArray[np.int32],
    values: NDArray[Any],
    counts: NDArray[np.int64],
    threads: int,
    counted: bool = False,
) -> None:
    """Columns and values of scores > threshold [m], at the front of each row of `indices` and `values` [r, m].

    `scores` [r, m] are x W^T + b, or bfloat16 read as int16: then entries above the threshold less the row's
    `margin` [r] are recomputed, unless they are only `counted`.
    """
    rough, m = scores.dtype == np.int16, scores.shape[1]
    keys = scores if rough else scores.view(np.int32 if scores.itemsize == 4 else np.int64)
    floats = np.empty((0, 0), values.dtype) if rough else scores

    def work(blocks: Iterable[slice]) -> None:
        bits, line = np.empty(m, np.int32), np.empty(m, values.dtype)
        for rows in blocks:
            _above(
                keys[rows], floats[rows], x[rows], weight, bias, threshold, margin[rows], rough, rough and not counted, bits,
                bits.view(np.float32), line, indices[rows], values[rows], counts[rows],
            )  # fmt: skip

    share_out(len(scores), ROWS, worth(threads, COMPARISON * scores.size), work)
