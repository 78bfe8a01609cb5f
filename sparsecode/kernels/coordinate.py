"""Coordinate descent for the Lasso and the elastic net, one sample after another, samples spread over threads.

Why it is fast: a sample's code, residual correlations and work list stay in the first-level cache; four coordinates are
changed before the residual correlations are updated in one pass over them and four rows of the Gram matrix;
steps are over-relaxed; long solves continue in a copy of the Gram matrix that holds only the work list; and Newton steps on
the support (`newton.py`) end those that correlated atoms make long; cosines of the atoms tell when, too. The sums may
be reordered by the compiler; NaN is never assumed away. Single precision stops by its own gap and then has the gap of its
code computed in double precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecode.kernels.certificate import certify, correlate, correlation
from sparsecode.kernels.descent import CALM, FALL, MOST, NEAR, RELAX, SWEEPS, TRIES, gap_of, reach_of, survey, sweep
from sparsecode.kernels.jit import compiled
from sparsecode.kernels.newton import DEPENDENT, FAR, newton_cost, newton_steps
from sparsecode.kernels.threads import aligned, on_line, share_out

__all__ = ["coordinate_descent"]

SMALL = 100_000  # codes times atoms below which threads cost more than they give
BLOCK = 32  # samples per work item of a thread: their costs differ a hundredfold
ANEW = 3  # times the cost of a Newton step: steps that begin from zeros, if few coordinates join
CROWD = 4  # times the weight: where half as many coordinates as features exceed it, few of them stay active
PERIODS = 6  # as long as the last one: steps are taken where sweeps would not suffice in these
WIDE = 8  # a copy pays if the Gram matrix has this many times as many columns as the work list

_jit = compiled(wide=True)


@_jit
def _objective(x: Any, atoms: Any, z: Any, weight: Any, ridge: Any, out: Any, work: Any, scratch: Any) -> None:
    """The energy of each row from the residual itself: sums of Gram products would cancel in float32."""
    r = scratch[: x.shape[1]]
    half = weight / (weight + weight)
    for i in range(len(z)):
        code = z[i]
        correlate(atoms, x[i], code, work, r)
        total = norm = square = weight - weight
        for k in range(len(r)):
            total += r[k] * r[k]
        for j in range(len(code)):
            norm += abs(code[j])
            square += code[j] * code[j]
        out[i] = half * (total + ridge * square) + weight * norm


@_jit
def _copy(gram: Any, work: Any, count: Any, out: Any) -> None:
    for a in range(count):
        row, copied = gram[work[a]], out[a]
        for b in range(count):
            copied[b] = row[work[b]]
        for b in range(count, len(copied)):
            copied[b] = 0


@_jit
def _slow(gap: Any, before: Any, tol: Any, rounds: Any) -> Any:
    """Whether `gap`, which was `before`, will not be `tol` after so many rounds more."""
    fall = gap / before
    for _ in range(rounds):
        if gap <= tol:
            return False
        gap *= fall
    return True


@_jit
def _descend(
    gram: Any, diag: Any, inverse: Any, corr: Any, half_square: Any, scale: Any, z: Any, weight: Any, ridge: Any,
    positive: Any, tol: Any, max_sweeps: Any, knobs: Any, gaps: Any, sweeps_taken: Any, floats: Any, ints: Any, small: Any,
    x: Any, atoms: Any, target: Any, constants: Any, objectives: Any, wide: Any,
) -> None:  # fmt: skip
    """Solve every row of `z`; `floats`, `ints`, `small` and `wide` are scratch. Without `wide` no certificate is computed."""
    n, n_code = corr.shape
    fall, near, relaxed, zero = knobs[0], knobs[1], knobs[2], knobs[3]
    below = knobs[4] if positive else weight
    c, q = floats[0][:n_code], floats[1][:n_code]
    work, part = ints[0], ints[1]
    most = int(np.sqrt(len(small)))
    for i in range(n):
        code = z[i]
        for j in range(n_code):
            c[j] = corr[i, j]
        correlate(gram, c, code, work, q)
        count, largest = survey(q, code, work, weight, positive)
        gap = gap_of(c, q, code, largest, half_square[i], scale[i], weight, ridge, positive)
        sweeps, before, threshold = 0, gap, largest
        likely = n_code if ridge > 0 or constants[0] > 0 else x.shape[1] // 2  # active codes in the end, or fewer
        crowd, crowded = likely, False
        while gap > tol:  # the first pass: large correlations explain small ones away
            while threshold > weight and sweeps < max_sweeps:
                lower = max(threshold * fall, weight)
                count, largest = survey(q, code, work, lower, positive)
                if count > crowd and lower > CROWD * weight:
                    break
                threshold = lower
                sweep(gram, q, code, work, count, diag, inverse, weight, below, ridge, zero)
                sweeps += 1
            count, largest = survey(q, code, work, weight, positive)
            gap = gap_of(c, q, code, largest, half_square[i], scale[i], weight, ridge, positive)
            if not threshold > weight or sweeps >= max_sweeps:
                break
            crowd, crowded = n_code, _slow(gap, before, tol, newton_cost(code, n_code, likely))
            if crowded:
                break
        crowded |= gap > tol and _slow(gap, gap / constants[4], tol, PERIODS * newton_cost(code, n_code, likely))
        patience, width = 1, n_code if n_code < WIDE * count else count + 1
        due, soon = sweeps + newton_cost(code, width, n_code), sweeps + ANEW * newton_cost(code, width, likely)
        before = gap
        while gap > tol and sweeps < max_sweeps:
            late = sweeps >= (soon if gap > FAR else due)
            stepped, crowded = crowded or (late and _slow(gap, before, tol, PERIODS)), False
            if late and not stepped:
                before = gap
                soon = due = sweeps + newton_cost(code, width, n_code)
            copied = not stepped and sweeps >= CALM and n_code >= WIDE * count and count <= most
            if copied:
                count, largest = survey(q, code, work, near * weight, positive)
            if stepped:
                sweeps += newton_steps(
                    gram, c, q, code, part, work, weight, ridge, positive, tol, half_square[i], scale[i], gap, knobs[5],
                    max_sweeps - sweeps, floats, small,
                )  # fmt: skip
                patience *= 2
                soon = due = sweeps + patience * newton_cost(code, width, n_code)
            elif not copied or count > most:
                for _ in range(min(SWEEPS, max_sweeps - sweeps)):
                    sweep(
                        gram, q, code, work, count, diag, inverse, weight, below, ridge,
                        relaxed if sweeps >= CALM else zero,
                    )  # fmt: skip
                    sweeps += 1
            else:
                stride = (count + 15) // 16 * 16
                sub = small[: count * stride].reshape(count, stride)
                _copy(gram, work, count, sub)
                sub_c, sub_q, sub_z = floats[2][:stride], floats[3][:stride], floats[4][:stride]
                sub_diag, sub_inverse = floats[5][:stride], floats[6][:stride]
                for a in range(count, stride):
                    sub_c[a], sub_q[a], sub_z[a] = zero, zero, zero
                for a in range(count):
                    j = work[a]
                    sub_c[a], sub_q[a], sub_z[a], sub_diag[a], sub_inverse[a] = c[j], q[j], code[j], diag[j], inverse[j]
                goal = max(tol, gap / 16)  # no closer to the optimum: the list is not final
                until = min(max_sweeps, soon if gap > FAR else due)
                while gap > goal and sweeps < until:
                    inner, largest = survey(sub_q, sub_z, part, weight, positive)
                    for _ in range(min(SWEEPS, max_sweeps - sweeps)):
                        sweep(
                            sub, sub_q, sub_z, part, inner, sub_diag, sub_inverse, weight, below, ridge,
                            relaxed if sweeps >= CALM else zero,
                        )  # fmt: skip
                        sweeps += 1
                    inner, largest = survey(sub_q, sub_z, part, weight, positive)
                    gap = gap_of(sub_c, sub_q, sub_z, largest, half_square[i], scale[i], weight, ridge, positive)
                for a in range(count):
                    code[work[a]] = sub_z[a]
                correlate(gram, c, code, work, q)
            count, largest = survey(q, code, work, weight, positive)
            gap = gap_of(c, q, code, largest, half_square[i], scale[i], weight, ridge, positive)
            if stepped:
                before = gap
                if wide is not None and gap > tol and patience > 2:
                    break  # steps have stopped short twice: rounding hides the rest, which is left to double precision
        gaps[i] = gap if gap != gap else max(gap, zero)
        if wide is not None:
            tries, claimed = 0, gap <= tol
            while True:
                objectives[i], gaps[i] = certify(
                    x[i], atoms, code, q, target[i], constants[0], constants[1], constants[2], positive, constants[3],
                    wide, work,
                )  # fmt: skip
                if not (claimed and gaps[i] > tol and tries < TRIES and sweeps < max_sweeps):
                    break
                r, exact = wide[0][: x.shape[1]], wide[1][:n_code]
                for j in range(n_code):  # without the rounding that hid the rest of the gap
                    q[j] = correlation(r, exact, atoms, target[i], constants[0], j)
                count, largest = survey(q, code, work, weight, positive)
                for _ in range(min(SWEEPS, max_sweeps - sweeps)):
                    sweep(gram, q, code, work, count, diag, inverse, weight, below, ridge, zero)
                    sweeps += 1
                tries += 1
        sweeps_taken[i] = sweeps


def _fall_of(gram: NDArray[Any], curved: NDArray[Any]) -> float:
    """The share of a gap that a sweep leaves to two coordinates whose atoms have a cosine as large as the median, over 16 to 31
    atoms, of the largest with another.
    """
    rows = np.arange(0, len(gram), max(len(gram) // 16, 1))
    length = np.sqrt(np.maximum(curved, np.finfo(gram.dtype).tiny))
    cosines = np.abs(gram[rows]) / length / length[rows, None]
    cosines[np.arange(len(rows)), rows] = 0
    return float(np.clip(np.median(cosines.max(axis=1)), 0.1, 1) ** 2)


def coordinate_descent(
    gram: NDArray[Any],
    corr: NDArray[Any],
    half_square: NDArray[Any],
    scale: NDArray[Any],
    x: NDArray[Any],
    atoms: NDArray[Any],
    z: NDArray[Any],
    weight: float,
    ridge: float,
    positive: bool,
    tol: float,
    max_sweeps: int,
    threads: int,
    target: NDArray[Any] | None = None,
    stiffness: float = 0.0,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Minimise 1/2 |x|^2 - c.z + 1/2 z G z + weight |z|_1 + ridge / 2 |z|^2 per row, in place in `z`.

    Returns 1/2 |x - z D|^2 + weight |z|_1 + ridge / 2 |z|^2, gaps relative to `scale` (infinite where `half_square` underflows
    and a code of zeros is not the optimum; of float32 codes, too, in float64) and sweeps taken, each [n]. With a `target` [n, k],
    G, c and `half_square` hold stiffness / 2 |z - target|^2, which the first of the three leaves out.

    `gram` G [k, k], `corr` c [n, k], `half_square` 1/2 |x|^2 [n], `scale` [n], `x` [n, f], `atoms` D [k, f],
    `z` [n, k]: C-contiguous, of one float dtype.
    """
    dtype, n_code = z.dtype, len(gram)
    objectives, gaps, sweeps = np.empty(len(z), dtype), np.empty(len(z)), np.empty(len(z), np.int64)
    gram = on_line(gram)
    diag = np.ascontiguousarray(np.diag(gram))
    curved = diag + dtype.type(ridge)
    inverse = np.divide(1, curved, out=np.zeros(n_code, dtype), where=curved >= np.finfo(dtype).tiny)
    faint = half_square < np.finfo(dtype).tiny / np.finfo(dtype).eps
    scale = np.maximum(scale, np.finfo(dtype).tiny)
    knobs = np.array([FALL, NEAR, RELAX, 0, np.inf, DEPENDENT * np.finfo(dtype).eps], dtype)
    number, certified = dtype.type, dtype == np.float32
    target = z if target is None else target
    constants = np.array([stiffness, weight, ridge, reach_of(dtype, diag.max(initial=0)), _fall_of(gram, curved)])

    def solve(blocks: Iterable[slice]) -> None:
        floats, ints = aligned((8, n_code + 16), dtype), np.empty((2, n_code + 16), np.int64)
        residual = aligned((x.shape[1],), dtype)
        small = aligned((min(n_code + 31, MOST) ** 2,), dtype)
        wide = aligned((2, max(x.shape[1], n_code)), np.dtype(np.float64)) if certified else None
        for rows in blocks:
            _descend(
                gram, diag, inverse, corr[rows], half_square[rows], scale[rows], z[rows], number(weight), number(ridge),
                positive, number(tol), max_sweeps, knobs, gaps[rows], sweeps[rows], floats, ints, small,
                x[rows], atoms, target[rows], constants, objectives[rows], wide,
            )  # fmt: skip
            if not certified:
                _objective(x[rows], atoms, z[rows], number(weight), number(ridge), objectives[rows], ints[0], residual)

    share_out(len(z), BLOCK, threads if z.size >= SMALL else 1, solve)
    if faint.any():  # squares have underflowed: only a code of zeros can be recognised as the optimum
        size = corr[faint] if positive else np.abs(corr[faint])
        optimal = (z[faint] == 0).all(axis=1) & (size <= weight).all(axis=1)
        gaps[faint] = np.where(optimal, 0, np.inf)
    return objectives, gaps, sweeps
