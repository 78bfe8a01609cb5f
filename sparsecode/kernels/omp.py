"""Orthogonal matching pursuit and least squares on given supports, with or without a sign rule; samples spread over threads.

A chosen atom adds a row to a QR factorisation of the chosen atoms, kept as the correlations of its orthonormal
directions with all atoms: the new row is one row of the Gram matrix less the rows before, all in the first-level cache,
and bringing the residual correlations up to date takes one multiple of it. The triangular factor is read off these rows.

With the sign rule it is the active-set method of Lawson & Hanson (Solving Least Squares Problems, 1974, ch. 23), which adds the
coordinate of the steepest descent, refits and drops what would become negative: stopped at k coordinates it is non-negative
orthogonal matching pursuit, run to its end on a given support it is non-negative least squares.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecode.kernels.certificate import subtract
from sparsecode.kernels.columns import dot, gather, observed_columns, products
from sparsecode.kernels.jit import compiled
from sparsecode.kernels.threads import aligned, on_line, share_out

__all__ = ["pursue", "pursue_observed"]

SMALL = 100_000  # codes times atoms below which threads cost more than they give
BLOCK = 64  # samples per work item of a thread
DEPENDENT = 64  # roundings: how near an atom may be to the span of the chosen ones (squared sine of the angle)
SPAN = 64  # numbers among which the largest is looked for together
TURNS = 4  # times the number of atoms: an upper limit; in exact arithmetic the active-set method terminates

_jit = compiled()


@_jit
def _project(row: Any, best: Any, directions: Any, count: Any) -> None:
    """directions[count] = `row` less its part in the directions before: the correlations of atom `best` outside their span."""
    direction = directions[count]
    for k in range(len(direction)):
        direction[k] = row[k]
    m = 0
    while m + 3 < count:
        s0, s1, s2, s3 = directions[m, best], directions[m + 1, best], directions[m + 2, best], directions[m + 3, best]
        subtract(direction, directions, m, m + 1, m + 2, m + 3, s0, s1, s2, s3)
        m += 4
    while m < count:
        before = directions[m]
        share = before[best]
        for k in range(len(direction)):
            direction[k] -= share * before[k]
        m += 1


@_jit
def _largest(bits: Any, mask: Any) -> Any:
    """The first place of the largest of numbers read as integers, without the bits that `mask` leaves out: vector instructions."""
    largest, first = bits[0] & mask, 0
    for start in range(0, len(bits), SPAN):
        part = bits[start : start + SPAN]
        highest = part[0] & mask
        for j in range(len(part)):
            highest = max(highest, part[j] & mask)
        if highest > largest:
            largest, first = highest, start
    while bits[first] & mask != largest:
        first += 1
    return first


@_jit
def _amplitudes(moves: Any, directions: Any, chosen: Any, count: Any, out: Any) -> None:
    """Back substitution: directions[m][chosen[k]] is the triangular factor."""
    for m in range(count - 1, -1, -1):
        value = moves[m]
        for k in range(m + 1, count):
            value -= directions[m][chosen[k]] * out[k]
        out[m] = value / directions[m][chosen[m]]


@_jit
def _kept(
    gram: Any, corr: Any, chosen: Any, values: Any, trial: Any, count: Any, moves: Any, directions: Any, least: Any
) -> Any:
    """Go from `values` towards `trial` until one reaches 0, drop it and factorise the others anew; how many they are."""
    zero, one = least - least, least / least
    step, blocking = one, -1
    for p in range(count):
        if trial[p] <= zero and values[p] < step * (values[p] - trial[p]):
            step, blocking = values[p] / (values[p] - trial[p]), p
    if blocking < 0:
        return count
    first, kept = count, 0
    for p in range(count):
        value = values[p] + step * (trial[p] - values[p])
        if p != blocking and value > zero:
            chosen[kept], values[kept] = chosen[p], value
            kept += 1
        elif first == count:
            first = p
    for p in range(first, kept):
        best = chosen[p]
        _project(gram[best], best, directions, p)
        direction, value = directions[p], corr[best]
        for m in range(p):
            value -= moves[m] * directions[m][best]
        inverse = one / np.sqrt(direction[best])
        for k in range(len(direction)):
            direction[k] *= inverse
        moves[p] = value * inverse
    return kept


@_jit
def _pursue(
    gram: Any, corr: Any, square: Any, z: Any, most: Any, tol: Any, positive: Any, allowed: Any, least: Any, alpha: Any,
    bits: Any, mask: Any, directions: Any, chosen: Any, moves: Any, values: Any, trial: Any, atoms: Any,
) -> None:  # fmt: skip
    """Solve every row of `z`. With `atoms` (else of length 0) `gram` is scratch: rows of it are made when they are needed."""
    n, n_code = corr.shape
    zero, one = least - least, least / least
    for i in range(n):
        for j in range(n_code):
            alpha[j] = corr[i, j]  # of the atoms with the residual
        left = square[i]
        count, shut = 0, 0  # number of atoms in `chosen`, and with those after them that are dependent or not allowed
        if len(allowed):
            for j in range(n_code):
                if not allowed[i, j]:
                    shut += 1
                    chosen[n_code - shut] = j
                    alpha[j] = zero
        turns = TURNS * n_code
        while count < most[i] and shut < n_code and left > tol * square[i] and turns > 0:
            turns -= 1
            best = _largest(bits, mask)  # without regard to NaN
            size = alpha[best]
            if not size * size > least * least * square[i] or (positive and size < zero):  # rounding, or NaN
                break
            row, direction = gram[best], directions[count]
            if len(atoms):
                products(atoms, atoms[best], row)
            _project(row, best, directions, count)
            shut += 1
            if direction[best] <= DEPENDENT * least * row[best]:
                alpha[best] = zero
                chosen[n_code - (shut - count)] = best
            else:
                inverse = one / np.sqrt(direction[best])
                move = size * inverse
                for k in range(n_code):
                    direction[k] *= inverse
                    alpha[k] -= move * direction[k]
                chosen[count], moves[count], values[count] = best, move, zero
                count += 1
                left -= move * move
                before = count
                while positive:
                    _amplitudes(moves, directions, chosen, count, trial)
                    kept = _kept(gram, corr[i], chosen, values, trial, count, moves, directions, least)
                    if kept == count:
                        break
                    shut -= count - kept
                    count = kept
                if positive:
                    for m in range(count):
                        values[m] = trial[m]
                if count < before:
                    for j in range(n_code):
                        alpha[j] = corr[i, j]
                    left = square[i]
                    for m in range(count):
                        move, direction = moves[m], directions[m]
                        left -= move * move
                        for k in range(n_code):
                            alpha[k] -= move * direction[k]
            for m in range(count):
                alpha[chosen[m]] = zero
            for m in range(n_code - (shut - count), n_code):
                alpha[chosen[m]] = zero
        if not positive:
            _amplitudes(moves, directions, chosen, count, values)
        for m in range(count):
            z[i, chosen[m]] = values[m]


@_jit
def _pursue_observed(
    x: Any, observed: Any, all_atoms: Any, z: Any, most: Any, tol: Any, positive: Any, allowed: Any, least: Any, tiny: Any,
    alpha: Any, bits: Any, mask: Any, directions: Any, chosen: Any, moves: Any, values: Any, trial: Any, gram: Any,
    corr: Any, square: Any, inverse: Any, gathered: Any, columns: Any, y: Any, unexplained: Any,
) -> None:  # fmt: skip
    """Solve every row of `z` by its observed entries; from `alpha` on scratch."""
    for i in range(len(z)):
        n = observed_columns(observed[i], columns)
        if n == 0:
            continue
        atoms, sample = gathered[: len(all_atoms) * n].reshape(len(all_atoms), n), y[:n]
        gather(x[i], columns, sample)
        square[0] = dot(sample, sample) - unexplained[i]
        for j in range(len(all_atoms)):
            atom = atoms[j]
            gather(all_atoms[j], columns, atom)
            size = dot(atom, atom)
            inverse[j] = 1 / np.sqrt(size) if size >= tiny else tiny - tiny
            for m in range(n):
                atom[m] *= inverse[j]
        products(atoms, sample, corr[0])
        _pursue(
            gram, corr, square, z[i : i + 1], most[i : i + 1], tol, positive, allowed[i : i + 1], least, alpha, bits, mask,
            directions, chosen, moves, values, trial, atoms,
        )  # fmt: skip
        for j in range(len(all_atoms)):
            z[i, j] *= inverse[j]


def pursue(
    gram: NDArray[Any],
    corr: NDArray[Any],
    square: NDArray[Any],
    z: NDArray[Any],
    most: NDArray[np.int64],
    tol: float,
    threads: int,
    *,
    positive: bool = False,
    allowed: NDArray[np.bool_] | None = None,
    eps: float | None = None,
) -> None:
    """Fill rows of zeros `z` with the codes of orthogonal matching pursuit, of codes >= 0 if `positive`.

    `gram` [k, k] of atoms of norm one (or zero), `corr` [n, k], `square` |x|^2 [n], `z` [n, k]: C-contiguous, of one
    float dtype. A row stops at `most` [n] atoms, when |r|^2 <= `tol` |x|^2, or when no atom lowers its error, of those that are
    `allowed` [n, k] (default all). `eps` is the rounding of x and of the atoms, default that of the dtype.
    """
    dtype, n_code = z.dtype, len(gram)
    gram = on_line(gram)
    integer = np.dtype(f"i{dtype.itemsize}")
    mask = integer.type(-1 if positive else np.iinfo(integer).max)  # all bits, or all but the sign
    least = dtype.type(np.finfo(dtype).eps if eps is None else eps)
    deepest = max(1, min(int(most.max(initial=0)), n_code))

    def solve(blocks: Iterable[slice]) -> None:
        directions = aligned((deepest, n_code), dtype)
        alpha = aligned((n_code,), dtype)
        chosen, (moves, values, trial) = np.empty(n_code + 1, np.int64), np.empty((3, deepest), dtype)
        for rows in blocks:
            _pursue(
                gram, corr[rows], square[rows], z[rows], most[rows], dtype.type(tol), positive,
                np.empty((0, 0), np.bool_) if allowed is None else allowed[rows], least, alpha, alpha.view(integer),
                mask, directions, chosen, moves, values, trial, np.empty((0, 0), dtype),
            )  # fmt: skip

    share_out(len(z), BLOCK, threads if z.size >= SMALL else 1, solve)


def pursue_observed(
    x: NDArray[Any],
    observed: NDArray[np.bool_],
    atoms: NDArray[Any],
    z: NDArray[Any],
    most: NDArray[np.int64],
    tol: float,
    threads: int,
    *,
    positive: bool = False,
    allowed: NDArray[np.bool_] | None = None,
    unexplained: NDArray[Any] | None = None,
) -> None:
    """`pursue` by the `observed` [n, f] entries of `x` [n, f] alone, of `atoms` [k, f] of any norm, whose codes `z` then hold.

    Rows without an observed entry keep their zeros. Only the rows of a sample's Gram matrix that belong to chosen atoms are made.
    So much of |x|^2 as `unexplained` [n] says is left to the residual.
    """
    dtype, (n_code, n_features), kind = z.dtype, atoms.shape, np.finfo(z.dtype)
    integer = np.dtype(f"i{dtype.itemsize}")
    mask = integer.type(-1 if positive else np.iinfo(integer).max)
    rest = np.zeros(len(z), dtype) if unexplained is None else unexplained
    deepest = max(1, min(int(most.max(initial=0)), n_code))

    def solve(blocks: Iterable[slice]) -> None:
        directions, gram = aligned((deepest, n_code), dtype), aligned((n_code, n_code), dtype)
        alpha, inverse, corr = aligned((n_code,), dtype), aligned((n_code,), dtype), aligned((1, n_code), dtype)
        gathered, y = aligned((n_code * n_features,), dtype), aligned((n_features,), dtype)
        chosen, (moves, values, trial) = np.empty(n_code + 1, np.int64), np.empty((3, deepest), dtype)
        for rows in blocks:
            _pursue_observed(
                x[rows], observed[rows], atoms, z[rows], most[rows], dtype.type(tol), positive,
                np.empty((0, 0), np.bool_) if allowed is None else allowed[rows], kind.eps, kind.tiny, alpha,
                alpha.view(integer), mask, directions, chosen, moves, values, trial, gram, corr, np.empty(1, dtype), inverse,
                gathered, np.empty(n_features, np.int64), y, rest[rows],
            )  # fmt: skip

    share_out(len(z), BLOCK, threads if z.size >= SMALL else 1, solve)
