"""Coordinate descent for the Lasso and the elastic net, one sample after another, samples spread over threads.

Why it is fast: a sample's code, residual correlations and work list stay in the first-level cache; four coordinates are
changed before the residual correlations are updated in one pass over them and four rows of the Gram matrix;
steps are over-relaxed; and long solves continue in a copy of the Gram matrix that holds only the work list. The sums may
be reordered by the compiler; NaN is never assumed away. Single precision stops by its own gap and then has the gap of its
code computed in double precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecode.kernels.certificate import certify, correlate, correlation, subtract
from sparsecode.kernels.jit import compiled
from sparsecode.kernels.threads import aligned, share_out

__all__ = ["coordinate_descent"]

SMALL = 100_000  # codes times atoms below which threads cost more than they give
BLOCK = 32  # samples per work item of a thread: their costs differ a hundredfold
MOST = 1024  # coordinates whose Gram matrix is copied at most (4 MiB a thread)

SWEEPS = 2  # between two evaluations of the gap and of the work list
FALL = 0.7  # of the threshold, from one sweep of the first pass to the next
CALM = 4  # sweeps before steps are over-relaxed: until then codes change sign
RELAX = 0.4  # share by which a step goes beyond its coordinate's optimum; below 1 the energy falls at every step
WIDE = 8  # a copy pays if the Gram matrix has this many times as many columns as the work list
TRIES = 3  # at what rounding has hidden, before it is left to double precision
ROUNDING = 256  # times eps |x_i| max_j |d_j|: more than a residual correlation is wrong by in single precision
NEAR = 0.95  # share of the weight from which a coordinate is copied, too: it may yet become active

_jit = compiled()


@_jit
def _step(v: Any, old: Any, weight: Any, below: Any, inverse: Any, relax: Any) -> Any:
    """The coordinate's optimum, and `relax` of the way beyond it on the same side of zero."""
    zero = weight - weight
    up, down = v - weight, v + below
    new = ((up if up > zero else zero) + (down if down < zero else zero)) * inverse
    beyond = new + relax * (new - old)
    return beyond if beyond * new > zero else new


@_jit
def _sweep(
    gram: Any, q: Any, code: Any, work: Any, count: Any, diag: Any, inverse: Any, weight: Any, below: Any, relax: Any
) -> None:
    """Move the first `count` coordinates in `work`, four at a time, each using the changes before it."""
    t = 0
    while t + 3 < count:
        j0, j1, j2, j3 = work[t], work[t + 1], work[t + 2], work[t + 3]
        r0, r1, r2 = gram[j0], gram[j1], gram[j2]
        o0, o1, o2, o3 = code[j0], code[j1], code[j2], code[j3]
        n0 = _step(q[j0] + diag[j0] * o0, o0, weight, below, inverse[j0], relax)
        h0 = n0 - o0
        v1 = q[j1] + diag[j1] * o1 - h0 * r0[j1]
        v2 = q[j2] + diag[j2] * o2 - h0 * r0[j2]
        v3 = q[j3] + diag[j3] * o3 - h0 * r0[j3]
        n1 = _step(v1, o1, weight, below, inverse[j1], relax)
        h1 = n1 - o1
        n2 = _step(v2 - h1 * r1[j2], o2, weight, below, inverse[j2], relax)
        h2 = n2 - o2
        n3 = _step(v3 - h1 * r1[j3] - h2 * r2[j3], o3, weight, below, inverse[j3], relax)
        h3 = n3 - o3
        if h0 != 0 or h1 != 0 or h2 != 0 or h3 != 0:
            code[j0], code[j1], code[j2], code[j3] = n0, n1, n2, n3
            subtract(q, gram, j0, j1, j2, j3, h0, h1, h2, h3)
        t += 4
    while t < count:
        j = work[t]
        new = _step(q[j] + diag[j] * code[j], code[j], weight, below, inverse[j], relax)
        change = new - code[j]
        if change != 0:
            code[j], row = new, gram[j]
            for k in range(len(q)):
                q[k] -= change * row[k]
        t += 1


@_jit
def _survey(q: Any, code: Any, work: Any, threshold: Any, positive: Any) -> Any:
    """List the coordinates that are active or whose |q| (q if `positive`) exceeds `threshold`; and the largest of it."""
    count, largest = 0, threshold - threshold
    for j in range(len(q)):
        size = q[j] if positive else abs(q[j])
        largest = size if size > largest else largest
        work[count] = j
        count += (size > threshold) | (code[j] != 0)
    return count, largest


@_jit
def _gap(
    c: Any, q: Any, code: Any, largest: Any, half_square: Any, scale: Any, weight: Any, ridge: Any, positive: Any
) -> Any:
    """The duality gap, as in QuadraticEnergy.gap."""
    zero, one = weight - weight, weight / weight
    explained = left = norm = square = conjugate = zero
    for j in range(len(q)):
        explained += code[j] * c[j]
        left += code[j] * q[j]
        norm += abs(code[j])
    if ridge > 0:
        for j in range(len(q)):
            excess = max((q[j] if positive else abs(q[j])) - weight, zero)
            square += code[j] * code[j]
            conjugate += excess * excess
        conjugate = conjugate / (ridge + ridge)
        s = one
    else:
        s = min(weight / largest, one) if largest > 0 else one
    x_dot_r = half_square + half_square - explained
    r_dot_r = max(x_dot_r - left, zero)
    half = one / (one + one)
    return (half * (r_dot_r * (one + s * s) + ridge * square) + weight * norm + conjugate - s * x_dot_r) / scale


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
        copied[count:] = 0


@_jit
def _descend(
    gram: Any, diag: Any, inverse: Any, corr: Any, half_square: Any, scale: Any, z: Any, weight: Any, ridge: Any,
    positive: Any, tol: Any, max_sweeps: Any, knobs: Any, gaps: Any, sweeps_taken: Any, floats: Any, ints: Any, small: Any,
    certified: Any, x: Any, atoms: Any, target: Any, constants: Any, objectives: Any, wide: Any,
) -> None:  # fmt: skip
    """Solve every row of `z`; `floats`, `ints`, `small` and `wide` are scratch. Objectives are written if `certified`."""
    n, n_code = corr.shape
    fall, near, relaxed, zero = knobs[0], knobs[1], knobs[2], knobs[3]
    below = knobs[4] if positive else weight
    c, q = floats[0][:n_code], floats[1][:n_code]
    work, part = ints[0], ints[1]
    most = int(np.sqrt(len(small)))
    for i in range(n):
        code = z[i]
        c[:] = corr[i]
        correlate(gram, c, code, work, q)
        count, largest = _survey(q, code, work, weight, positive)
        gap = _gap(c, q, code, largest, half_square[i], scale[i], weight, ridge, positive)
        sweeps = 0
        if gap > tol:  # the first pass: large correlations explain small ones away
            threshold = largest
            while threshold > weight and sweeps < max_sweeps:
                threshold = max(threshold * fall, weight)
                count, largest = _survey(q, code, work, threshold, positive)
                _sweep(gram, q, code, work, count, diag, inverse, weight, below, zero)
                sweeps += 1
            count, largest = _survey(q, code, work, weight, positive)
            gap = _gap(c, q, code, largest, half_square[i], scale[i], weight, ridge, positive)
        while gap > tol and sweeps < max_sweeps:
            copied = sweeps >= CALM and n_code >= WIDE * count and count <= most
            if copied:
                count, largest = _survey(q, code, work, near * weight, positive)
            if not copied or count > most:
                for _ in range(min(SWEEPS, max_sweeps - sweeps)):
                    _sweep(
                        gram, q, code, work, count, diag, inverse, weight, below, relaxed if sweeps >= CALM else zero
                    )
                    sweeps += 1
            else:
                width = (count + 15) // 16 * 16
                sub = small[: count * width].reshape(count, width)
                _copy(gram, work, count, sub)
                sub_c, sub_q, sub_z = floats[2][:width], floats[3][:width], floats[4][:width]
                sub_diag, sub_inverse = floats[5][:width], floats[6][:width]
                sub_c[count:], sub_q[count:], sub_z[count:] = zero, zero, zero
                for a in range(count):
                    j = work[a]
                    sub_c[a], sub_q[a], sub_z[a], sub_diag[a], sub_inverse[a] = c[j], q[j], code[j], diag[j], inverse[j]
                goal = max(tol, gap / 16)  # no closer to the optimum: the list is not final
                while gap > goal and sweeps < max_sweeps:
                    inner, largest = _survey(sub_q, sub_z, part, weight, positive)
                    for _ in range(min(SWEEPS, max_sweeps - sweeps)):
                        _sweep(
                            sub, sub_q, sub_z, part, inner, sub_diag, sub_inverse, weight, below,
                            relaxed if sweeps >= CALM else zero,
                        )  # fmt: skip
                        sweeps += 1
                    inner, largest = _survey(sub_q, sub_z, part, weight, positive)
                    gap = _gap(sub_c, sub_q, sub_z, largest, half_square[i], scale[i], weight, ridge, positive)
                for a in range(count):
                    code[work[a]] = sub_z[a]
                correlate(gram, c, code, work, q)
            count, largest = _survey(q, code, work, weight, positive)
            gap = _gap(c, q, code, largest, half_square[i], scale[i], weight, ridge, positive)
        gaps[i] = gap if gap != gap else max(gap, zero)
        if certified:
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
                count, largest = _survey(q, code, work, weight, positive)
                for _ in range(min(SWEEPS, max_sweeps - sweeps)):
                    _sweep(gram, q, code, work, count, diag, inverse, weight, below, zero)
                    sweeps += 1
                tries += 1
        sweeps_taken[i] = sweeps


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
    gram = aligned(gram.shape, dtype, gram)
    diag = np.ascontiguousarray(np.diag(gram))
    curved = diag + dtype.type(ridge)
    inverse = np.divide(1, curved, out=np.zeros(n_code, dtype), where=curved >= np.finfo(dtype).tiny)
    faint = half_square < np.finfo(dtype).tiny / np.finfo(dtype).eps
    scale = np.maximum(scale, np.finfo(dtype).tiny)
    knobs = np.array([FALL, NEAR, RELAX, 0, np.inf], dtype)
    number, certified = dtype.type, dtype == np.float32
    target = z if target is None else target
    reach = ROUNDING * np.finfo(dtype).eps * float(np.sqrt(diag.max(initial=0), dtype=np.float64))
    constants = np.array([stiffness, weight, ridge, reach])

    def solve(blocks: Iterable[slice]) -> None:
        floats, ints = aligned((7, n_code + 16), dtype), np.empty((2, n_code + 16), np.int64)
        residual = aligned((x.shape[1],), dtype)
        small = aligned((min(n_code + 15, MOST) ** 2,), dtype)
        wide = aligned((2, max(x.shape[1], n_code)), np.dtype(np.float64))
        for rows in blocks:
            _descend(
                gram, diag, inverse, corr[rows], half_square[rows], scale[rows], z[rows], number(weight), number(ridge),
                positive, number(tol), max_sweeps, knobs, gaps[rows], sweeps[rows], floats, ints, small,
                certified, x[rows], atoms, target[rows], constants, objectives[rows], wide,
            )  # fmt: skip
            if not certified:
                _objective(x[rows], atoms, z[rows], number(weight), number(ridge), objectives[rows], ints[0], residual)

    share_out(len(z), BLOCK, threads if z.size >= SMALL else 1, solve)
    if faint.any():  # squares have underflowed: only a code of zeros can be recognised as the optimum
        size = corr[faint] if positive else np.abs(corr[faint])
        optimal = (z[faint] == 0).all(axis=1) & (size <= weight).all(axis=1)
        gaps[faint] = np.where(optimal, 0, np.inf)
    return objectives, gaps, sweeps
