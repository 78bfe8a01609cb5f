"""Products with sparse codes: by sample for codes and their gradients, by atom for gradients of weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecode.kernels.jit import compiled
from sparsecode.kernels.threads import item, share_out, worth

__all__ = ["REUSE", "TILE", "column_order", "column_sums", "dots", "row_dots", "row_sums", "rows_in_use", "tiles"]

HEIGHT, TILE = 2**20, 2**20  # bytes of rows and of the table's rows that are processed together
SPAN = 64  # numbers of a row that are examined together
REUSE = 2  # how often a row of the table is used by then, from which on this is faster

_jit = compiled()


@_jit
def _add(coefficients: Any, rows: Any, table: Any, out: Any) -> None:
    """out += sum_p coefficients[p] table[rows[p]], eight at a time: rows are far apart in memory, and several loads can be in flight at once."""
    n, p = len(rows), 0
    while p + 7 < n:
        a0, a1, a2, a3 = coefficients[p], coefficients[p + 1], coefficients[p + 2], coefficients[p + 3]
        a4, a5, a6, a7 = coefficients[p + 4], coefficients[p + 5], coefficients[p + 6], coefficients[p + 7]
        r0, r1, r2, r3 = table[rows[p]], table[rows[p + 1]], table[rows[p + 2]], table[rows[p + 3]]
        r4, r5, r6, r7 = table[rows[p + 4]], table[rows[p + 5]], table[rows[p + 6]], table[rows[p + 7]]
        for k in range(len(out)):
            early = a0 * r0[k] + a1 * r1[k] + a2 * r2[k] + a3 * r3[k]
            out[k] += early + (a4 * r4[k] + a5 * r5[k] + a6 * r6[k] + a7 * r7[k])
        p += 8
    while p + 1 < n:
        a0, a1, r0, r1 = coefficients[p], coefficients[p + 1], table[rows[p]], table[rows[p + 1]]
        for k in range(len(out)):
            out[k] += a0 * r0[k] + a1 * r1[k]
        p += 2
    if p < n:
        a, r = coefficients[p], table[rows[p]]
        for k in range(len(out)):
            out[k] += a * r[k]


@_jit
def dots(row: Any, table: Any, rows: Any, out: Any) -> None:
    """out[p] = row . table[rows[p]], eight at a time."""
    n, p = len(rows), 0
    zero = row[0] - row[0]
    while p + 7 < n:
        r0, r1, r2, r3 = table[rows[p]], table[rows[p + 1]], table[rows[p + 2]], table[rows[p + 3]]
        r4, r5, r6, r7 = table[rows[p + 4]], table[rows[p + 5]], table[rows[p + 6]], table[rows[p + 7]]
        t0, t1, t2, t3, t4, t5, t6, t7 = zero, zero, zero, zero, zero, zero, zero, zero
        for k in range(len(row)):
            value = row[k]
            t0 += value * r0[k]
            t1 += value * r1[k]
            t2 += value * r2[k]
            t3 += value * r3[k]
            t4 += value * r4[k]
            t5 += value * r5[k]
            t6 += value * r6[k]
            t7 += value * r7[k]
        out[p], out[p + 1], out[p + 2], out[p + 3] = t0, t1, t2, t3
        out[p + 4], out[p + 5], out[p + 6], out[p + 7] = t4, t5, t6, t7
        p += 8
    while p < n:
        other, total = table[rows[p]], zero
        for k in range(len(row)):
            total += row[k] * other[k]
        out[p] = total
        p += 1


@_jit
def _sums(
    values: Any, indices: Any, offsets: Any, table: Any, start: Any, first: Any, height: Any, tile: Any, at: Any, out: Any
) -> None:  # fmt: skip
    """Rows of sums, `height` of them with `tile` rows of the table at a time: both then stay in the second-level cache."""
    for base in range(0, len(out), height):
        top = min(base + height, len(out))
        for i in range(base, top):
            row, at[i - base] = out[i], offsets[first + i]
            for k in range(len(row)):
                row[k] = start[k]
        for level in range(tile, len(table) + tile, tile):
            for i in range(base, top):
                p = at[i - base]
                to, q = offsets[first + i + 1], p
                while q < to and indices[q] < level:
                    q += 1
                if q > p:
                    _add(values[p:q], indices[p:q], table, out[i])
                    at[i - base] = q


@_jit
def _row_dots(
    left: Any, indices: Any, offsets: Any, table: Any, first: Any, height: Any, tile: Any, at: Any, out: Any
) -> None:
    """Products of rows with rows of the table, `height` with `tile` at a time: both then stay in the second-level cache."""
    for base in range(0, len(left), height):
        top = min(base + height, len(left))
        for i in range(base, top):
            at[i - base] = offsets[first + i]
        for level in range(tile, len(table) + tile, tile):
            for i in range(base, top):
                p = at[i - base]
                to, q = offsets[first + i + 1], p
                while q < to and indices[q] < level:
                    q += 1
                if q > p:
                    dots(left[i], table, indices[p:q], out[p:q])
                    at[i - base] = q


@_jit
def _column_order(indices: Any, offsets: Any, starts: Any, rows: Any, places: Any) -> None:
    """A counting sort."""
    for j in range(len(starts)):
        starts[j] = 0
    for p in range(len(indices)):
        starts[indices[p] + 1] += 1
    for j in range(len(starts) - 1):
        starts[j + 1] += starts[j]
    for i in range(len(offsets) - 1):
        for p in range(offsets[i], offsets[i + 1]):
            at = starts[indices[p]]
            rows[at], places[at] = i, p
            starts[indices[p]] = at + 1
    for j in range(len(starts) - 1, 0, -1):
        starts[j] = starts[j - 1]
    starts[0] = 0


@_jit
def _gather(values: Any, places: Any, starts: Any, gathered: Any, totals: Any) -> None:
    """Values in the order of the columns, and their sums."""
    for c in range(len(totals)):
        totals[c] = 0
        for p in range(starts[c], starts[c + 1]):
            gathered[p] = values[places[p]]
            totals[c] += gathered[p]


def tiles(entries: float, n_rows: int, row_bytes: int) -> tuple[int, int]:
    """How many rows, with `entries` in each, to process together, and with how many of the table's `n_rows` at a time.

    As many as the second-level cache holds, if they then use each row of the table more than once; else all of the table.
    """
    height, tile = (max(8, size // row_bytes) for size in (HEIGHT, TILE))
    return (height, tile) if height * entries > REUSE * n_rows else (height, max(n_rows, 1))


@_jit
def _rows_in_use(table: Any, used: Any) -> None:
    zero = np.float32(0)
    for i in range(len(table)):
        row, hit, start = table[i], False, 0
        while not hit and start < len(row):
            part = row[start : start + SPAN]
            for k in range(len(part)):
                hit |= part[k] != zero
            start += SPAN
        used[i] = hit


def rows_in_use(table: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows of a table [n, f] have an entry that is not 0."""
    used = np.empty(len(table), np.bool_)
    _rows_in_use(table, used)
    return used


def row_sums(
    values: NDArray[Any],
    indices: NDArray[np.int32],
    offsets: NDArray[np.int64],
    table: NDArray[Any],
    bias: NDArray[Any],
    out: NDArray[Any],
    threads: int,
) -> None:
    """out[i] = bias + sum over the entries p of row i of values[p] table[indices[p]]: a code times its dictionary."""

    _shared_sums(values, indices, offsets, table, bias, out, threads)


def _shared_sums(
    values: NDArray[Any],
    indices: NDArray[np.int32],
    offsets: NDArray[np.int64],
    table: NDArray[Any],
    start: NDArray[Any],
    out: NDArray[Any],
    threads: int,
) -> None:
    height, tile = tiles(len(indices) / max(1, len(out)), len(table), table.strides[0])

    def work(blocks: Iterable[slice]) -> None:
        at = np.empty(height, np.int64)
        for rows in blocks:
            _sums(values, indices, offsets, table, start, rows.start, height, tile, at, out[rows])

    threads = worth(threads, len(indices) * table.shape[1])
    share_out(len(out), min(height, item(len(out), threads)), threads, work)


def row_dots(
    left: NDArray[Any],
    indices: NDArray[np.int32],
    offsets: NDArray[np.int64],
    table: NDArray[Any],
    out: NDArray[Any],
    threads: int,
) -> None:
    """out[p] = left[i] . table[indices[p]] for the entries p of row i."""

    height, tile = tiles(len(indices) / max(1, len(left)), len(table), table.strides[0])

    def work(blocks: Iterable[slice]) -> None:
        at = np.empty(height, np.int64)
        for rows in blocks:
            _row_dots(left[rows], indices, offsets, table, rows.start, height, tile, at, out)

    threads = worth(threads, len(indices) * table.shape[1])
    share_out(len(left), min(height, item(len(left), threads)), threads, work)


def column_order(
    indices: NDArray[np.int32], offsets: NDArray[np.int64], n_columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Sort entries by column: the start of each column [m + 1], and the row and position of every entry [nnz]."""
    starts = np.empty(n_columns + 1, np.int64)
    rows, places = np.empty(len(indices), np.int32), np.empty(len(indices), np.int32)
    _column_order(indices, offsets, starts, rows, places)
    return starts, rows, places


def column_sums(
    values: NDArray[Any],
    order: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]],
    table: NDArray[Any],
    out: NDArray[Any],
    totals: NDArray[Any],
    threads: int,
) -> None:
    """out[j] = sum over the entries p of column j of values[p] table[row of p], each row of `out` written once; totals[j] = sum of values[p]."""
    starts, rows, places = order
    gathered, zeros = np.empty(len(rows), values.dtype), np.zeros(table.shape[1], table.dtype)
    _gather(values, places, starts, gathered, totals)
    _shared_sums(gathered, rows, starts, table, zeros, out, threads)
