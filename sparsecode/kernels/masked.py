"""Coordinate descent where entries of samples are missing and every sample may have other ones; samples spread over threads.

Each sample would need a Gram matrix of its entries, n_code^2 n_observed operations; only the part between coordinates that may
be active is made. The observed columns of the atoms are gathered once per sample, a first pass descends on the residual itself,
and the rest is the restricted problem's, in the small Gram matrix of the work list, until the whole problem's gap is at most tol.
Gaps are computed in double precision from the residual.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecode.kernels.certificate import certify, correlate
from sparsecode.kernels.columns import dot, gather, observed_columns, products
from sparsecode.kernels.descent import (
    CALM,
    FALL,
    MOST,
    NEAR,
    RELAX,
    SWEEPS,
    TRIES,
    gap_of,
    reach_of,
    step,
    survey,
    sweep,
)
from sparsecode.kernels.jit import compiled
from sparsecode.kernels.threads import aligned, share_out

__all__ = ["masked_coordinate_descent"]

SMALL = 1000  # samples times codes below which threads cost more than they give
BLOCK = 8  # samples per work item of a thread

_jit = compiled(wide=True)


@_jit
def _sweep_residual(
    atoms: Any, r: Any, q: Any, code: Any, work: Any, count: Any, diag: Any, inverse: Any, weight: Any, below: Any,
    ridge: Any, relax: Any,
) -> None:  # fmt: skip
    """Move the first `count` coordinates in `work`, each by its correlation with the residual `r`, which is kept up to date."""
    for t in range(count):
        j = work[t]
        atom, old = atoms[j], code[j]
        change = step(dot(atom, r), old, diag[j], weight, below, ridge, inverse[j], relax)
        if change != 0:
            code[j] = old + change
            for m in range(len(r)):
                r[m] -= change * atom[m]
    products(atoms, r, q)


@_jit
def _descend(
    x: Any, observed: Any, all_atoms: Any, z: Any, weight: Any, ridge: Any, positive: Any, tol: Any, max_sweeps: Any,
    knobs: Any, constants: Any, floats: Any, ints: Any, gathered: Any, small: Any, wide: Any,
    objectives: Any, gaps: Any, sweeps_taken: Any,
) -> None:  # fmt: skip
    """Solve every row of `z`; from `floats` to `wide` scratch."""
    n_code = len(all_atoms)
    fall, near, relaxed, zero = knobs[0], knobs[1], knobs[2], knobs[3]
    below = knobs[4] if positive else weight
    tiny, half = knobs[5], knobs[6]
    work, part, columns = ints[0], ints[1], ints[2]
    q, diag, inverse = floats[0][:n_code], floats[1][:n_code], floats[2][:n_code]
    most = int(np.sqrt(len(small)))
    for i in range(len(z)):
        code, n = z[i], observed_columns(observed[i], columns)
        if n == 0:
            for j in range(n_code):
                code[j] = zero
            objectives[i], gaps[i], sweeps_taken[i] = 0.0, 0.0, 0
            continue
        atoms = gathered[: n_code * n].reshape(n_code, n)
        y, r = floats[3][:n], floats[4][:n]
        gather(x[i], columns, y)
        for j in range(n_code):
            atom = atoms[j]
            gather(all_atoms[j], columns, atom)
            diag[j] = dot(atom, atom)
            curved = diag[j] + ridge
            inverse[j] = 1 / curved if curved >= tiny else zero
        half_square = half * dot(y, y)
        scale = max(half_square, tiny)
        sweeps, tries = 0, 0
        while True:
            correlate(atoms, y, code, work, r)
            products(atoms, r, q)
            objectives[i], gaps[i] = certify(
                y, atoms, code, q, code, 0.0, constants[0], constants[1], positive, constants[2], wide, work
            )
            if gaps[i] <= tol or sweeps >= max_sweeps or tries >= TRIES:
                break
            count, largest = survey(q, code, work, weight, positive)
            if sweeps == 0:  # the first pass: large correlations explain small ones away
                threshold = largest
                while threshold > weight and sweeps < max_sweeps:
                    threshold = max(threshold * fall, weight)
                    count, largest = survey(q, code, work, threshold, positive)
                    _sweep_residual(atoms, r, q, code, work, count, diag, inverse, weight, below, ridge, zero)
                    sweeps += 1
            count, largest = survey(q, code, work, near * weight, positive)
            if count > most:
                count, largest = survey(q, code, work, weight, positive)
                for _ in range(min(SWEEPS, max_sweeps - sweeps)):
                    _sweep_residual(
                        atoms, r, q, code, work, count, diag, inverse, weight, below, ridge,
                        relaxed if sweeps >= CALM else zero,
                    )  # fmt: skip
                    sweeps += 1
                continue
            width = (count + 15) // 16 * 16
            sub = small[: count * width].reshape(count, width)
            sub_c, sub_q, sub_z = floats[5][:width], floats[6][:width], floats[7][:width]
            sub_diag, sub_inverse = floats[8][:width], floats[9][:width]
            for a in range(count, width):
                sub_c[a], sub_q[a], sub_z[a] = zero, zero, zero
            for a in range(count):
                j = work[a]
                atom = atoms[j]
                sub_c[a], sub_q[a], sub_z[a] = dot(atom, y), q[j], code[j]
                sub_diag[a], sub_inverse[a] = diag[j], inverse[j]
                for b in range(a):
                    sub[a, b] = dot(atom, atoms[work[b]])
                    sub[b, a] = sub[a, b]
                sub[a, a] = diag[j]
                for b in range(count, width):
                    sub[a, b] = zero
            inner, largest = survey(sub_q, sub_z, part, weight, positive)
            gap = gap_of(sub_c, sub_q, sub_z, largest, half_square, scale, weight, ridge, positive)
            tries += gap <= tol  # rounding hides what is left
            goal = max(tol, gap / 16)  # no closer to the optimum: the list is not final
            while True:
                for _ in range(min(SWEEPS, max_sweeps - sweeps)):
                    sweep(
                        sub, sub_q, sub_z, part, inner, sub_diag, sub_inverse, weight, below, ridge,
                        relaxed if sweeps >= CALM else zero,
                    )  # fmt: skip
                    sweeps += 1
                inner, largest = survey(sub_q, sub_z, part, weight, positive)
                gap = gap_of(sub_c, sub_q, sub_z, largest, half_square, scale, weight, ridge, positive)
                if not gap > goal or sweeps >= max_sweeps:
                    break
            for a in range(count):
                code[work[a]] = sub_z[a]
        sweeps_taken[i] = sweeps


def masked_coordinate_descent(
    x: NDArray[Any],
    observed: NDArray[np.bool_],
    atoms: NDArray[Any],
    z: NDArray[Any],
    weight: float,
    ridge: float,
    positive: bool,
    tol: float,
    max_sweeps: int,
    threads: int,
) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.int64]]:
    """Minimise 1/2 |m (x - z D)|^2 + weight |z|_1 + ridge / 2 |z|^2 per row, m its row of `observed`, in place in `z`.

    Returns the objectives, gaps relative to 1/2 |m x|^2 (in float64 from the residual; infinite where that underflows and a
    code of zeros is not the optimum) and sweeps taken, each [n]. A row without an observed entry has a code of zeros.

    `x` [n, f], 0 where not `observed` [n, f]; `atoms` D [k, f], `z` [n, k]: C-contiguous, of one float dtype.
    """
    dtype, (n_code, n_features) = z.dtype, atoms.shape
    kind = np.finfo(dtype)
    objectives, gaps, sweeps = np.empty(len(z), dtype), np.empty(len(z)), np.empty(len(z), np.int64)
    half_square = np.square(x).sum(axis=1) / 2
    knobs = np.array([FALL, NEAR, RELAX, 0, np.inf, kind.tiny, 0.5], dtype)
    largest = float(np.square(atoms).sum(axis=1).max(initial=0))
    constants = np.array([weight, ridge, reach_of(dtype, largest)])
    number = dtype.type

    def solve(blocks: Iterable[slice]) -> None:
        width = max(n_code, n_features) + 16
        floats, ints = aligned((10, width), dtype), np.empty((3, width), np.int64)
        gathered = aligned((n_code * n_features,), dtype)
        small = aligned((min(n_code + 15, MOST) ** 2,), dtype)
        wide = aligned((2, width), np.dtype(np.float64))
        for rows in blocks:
            _descend(
                x[rows], observed[rows], atoms, z[rows], number(weight), number(ridge), positive, number(tol), max_sweeps,
                knobs, constants, floats, ints, gathered, small, wide, objectives[rows], gaps[rows], sweeps[rows],
            )  # fmt: skip

    share_out(len(z), BLOCK, threads if z.size >= SMALL else 1, solve)
    faint = (half_square < kind.tiny / kind.eps) & observed.any(axis=1)
    if faint.any():  # squares have underflowed: only a code of zeros can be recognised as the optimum
        corr = x[faint] @ atoms.T
        optimal = (z[faint] == 0).all(axis=1) & ((corr if positive else np.abs(corr)) <= weight).all(axis=1)
        gaps[faint] = np.where(optimal, 0, np.inf)
    return objectives, gaps, sweeps
