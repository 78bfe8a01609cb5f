"""Greedy codes and least squares on given supports, with or without a sign rule; samples spread over threads.

The active-set method of Lawson & Hanson (Solving Least Squares Problems, 1974, ch. 23) adds the coordinate of the
steepest descent and refits: stopped at k coordinates it is non-negative orthogonal matching pursuit, run to its end on a
given support it is non-negative least squares, and without the sign rule it is orthogonal matching pursuit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecode.kernels.jit import compiled
from sparsecode.kernels.threads import share_out

__all__ = ["active_set"]

SMALL = 100_000  # codes times atoms below which threads cost more than they give
BLOCK = 16  # samples per work item of a thread
DEPENDENT = 64  # roundings: how near an atom may be to the span of the chosen ones (squared sine of the angle)


@compiled(reorder=False)
def _append(gram: Any, chosen: Any, count: Any, new: Any, factor: Any, least: Any) -> Any:
    """A row of the Cholesky factor for atom `new`; False if the chosen ones span it."""
    for i in range(count):
        value = float(gram[new, chosen[i]])
        for j in range(i):
            value -= factor[i, j] * factor[count, j]
        factor[count, i] = value / factor[i, i]
    rest = float(gram[new, new])
    for i in range(count):
        rest -= factor[count, i] * factor[count, i]
    if not rest > DEPENDENT * least * gram[new, new]:
        return False
    factor[count, count] = np.sqrt(rest)
    chosen[count] = new
    return True


@compiled(reorder=False)
def _solve(corr: Any, chosen: Any, count: Any, factor: Any, out: Any) -> None:
    for i in range(count):
        value = float(corr[chosen[i]])
        for j in range(i):
            value -= factor[i, j] * out[j]
        out[i] = value / factor[i, i]
    for i in range(count - 1, -1, -1):
        value = out[i]
        for j in range(i + 1, count):
            value -= factor[j, i] * out[j]
        out[i] = value / factor[i, i]


@compiled(reorder=False)
def _active_set(
    gram: Any, corr: Any, square: Any, z: Any, most: Any, allowed: Any, positive: Any, least: Any, factor: Any,
    chosen: Any, values: Any, trial: Any, alpha: Any, shut: Any,
) -> None:  # fmt: skip
    n, n_code = corr.shape
    for i in range(n):
        count = 0
        for j in range(n_code):
            alpha[j] = corr[i, j]
            shut[j] = gram[j, j] <= 0 or not allowed[i, j]
        floor = least * least * square[i]
        for _ in range(4 * min(most[i], n_code) + 4):  # an upper limit; in exact arithmetic the method terminates
            if count >= min(most[i], n_code):
                break
            best, largest = -1, floor
            for j in range(n_code):
                if not shut[j] and (alpha[j] > 0 or not positive):
                    gain = alpha[j] * alpha[j] / gram[j, j]
                    if gain > largest:
                        best, largest = j, gain
            if best < 0:
                break
            shut[best] = True
            if not _append(gram, chosen, count, best, factor, least):
                continue
            values[count] = 0
            count += 1
            _solve(corr[i], chosen, count, factor, trial)
            if positive and trial[count - 1] <= 0:  # only rounding made it a descent direction
                count -= 1
                continue
            while positive:
                step, blocking = 1.0, -1
                for p in range(count):
                    if trial[p] <= 0 and values[p] < step * (values[p] - trial[p]):
                        step, blocking = values[p] / (values[p] - trial[p]), p
                if blocking < 0:
                    break
                kept = 0
                for p in range(count):
                    value = values[p] + step * (trial[p] - values[p])
                    if p == blocking or value <= 0:
                        shut[chosen[p]] = False
                    else:
                        chosen[kept], values[kept] = chosen[p], value
                        kept += 1
                count = kept
                for p in range(count):
                    _append(gram, chosen, p, chosen[p], factor, least)
                _solve(corr[i], chosen, count, factor, trial)
            for p in range(count):
                values[p] = max(trial[p], 0.0) if positive else trial[p]
            for j in range(n_code):
                alpha[j] = corr[i, j]
            for p in range(count):
                row, value = gram[chosen[p]], values[p]
                for j in range(n_code):
                    alpha[j] -= value * row[j]
        for p in range(count):
            z[i, chosen[p]] = values[p]


def active_set(
    gram: NDArray[Any],
    corr: NDArray[Any],
    square: NDArray[Any],
    z: NDArray[Any],
    most: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    positive: bool,
    threads: int,
) -> None:
    """Fill rows of zeros `z` [n, k] with codes of at most `most` [n] entries, all of them in `allowed` [n, k].

    `gram` [k, k] of atoms of any norm, `corr` [n, k], `square` |x|^2 [n]. A row also ends when no atom left lowers its
    error. Factorisations are in float64 whatever the arrays are.
    """
    n_code = len(gram)
    least = float(np.finfo(gram.dtype).eps)
    deepest = max(1, int(min(most.max(initial=0), n_code)))

    def solve(blocks: Iterable[slice]) -> None:
        factor = np.zeros((deepest, deepest))
        chosen, shut = np.empty(deepest, np.int64), np.empty(n_code, np.bool_)
        values, trial, alpha = np.empty(deepest), np.empty(deepest), np.empty(n_code)
        for rows in blocks:
            _active_set(
                gram, corr[rows], square[rows], z[rows], most[rows], allowed[rows], positive, least, factor, chosen,
                values, trial, alpha, shut,
            )  # fmt: skip

    share_out(len(z), BLOCK, threads if z.size >= SMALL else 1, solve)
