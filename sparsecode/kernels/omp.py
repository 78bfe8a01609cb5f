"""Batch orthogonal matching pursuit, one sample after another, samples spread over threads.

A chosen atom adds a row to a QR factorisation of the chosen atoms, kept as the correlations of its orthonormal
directions with all atoms: the new row is one row of the Gram matrix less the rows before, all in the first-level cache,
and bringing the residual correlations up to date takes one multiple of it. The triangular factor is read off these rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecode.kernels.jit import compiled
from sparsecode.kernels.threads import aligned, share_out

__all__ = ["pursue"]

SMALL = 100_000  # codes times atoms below which threads cost more than they give
BLOCK = 64  # samples per work item of a thread
DEPENDENT = 64  # roundings: how near an atom may be to the span of the chosen ones (squared sine of the angle)


@compiled()
def _pursue(
    gram: Any, corr: Any, square: Any, z: Any, n_nonzero: Any, tol: Any, least: Any, alpha: Any, bits: Any, mask: Any,
    directions: Any, chosen: Any, moves: Any,
) -> None:  # fmt: skip
    n, n_code = corr.shape
    zero = least - least
    for i in range(n):
        alpha[:] = corr[i]  # of the atoms with the residual
        left = square[i]
        count, shut = 0, 0  # number of atoms in `chosen`, and of dependent ones after them
        while count < n_nonzero and shut < n_code and left > tol * square[i]:
            # Magnitudes are compared as integers, without regard to NaN, which compiles to vector instructions.
            largest = bits[0] & mask
            for j in range(n_code):
                largest = max(largest, bits[j] & mask)
            best = 0
            while bits[best] & mask != largest:
                best += 1
            size = alpha[best]
            if not size * size > least * least * square[i]:  # rounding, or NaN
                break
            row, direction = gram[best], directions[count]
            direction[:] = row
            for m in range(count):
                before = directions[m]
                share = before[best]
                for k in range(n_code):
                    direction[k] -= share * before[k]
            shut += 1
            if direction[best] <= DEPENDENT * least * row[best]:
                alpha[best] = zero
                chosen[n_code - (shut - count)] = best
            else:
                root = np.sqrt(direction[best])
                move = size / root
                for k in range(n_code):
                    direction[k] /= root
                    alpha[k] -= move * direction[k]
                chosen[count], moves[count] = best, move
                count += 1
                left -= move * move
            for m in range(count):
                alpha[chosen[m]] = zero
            for m in range(n_code - (shut - count), n_code):
                alpha[chosen[m]] = zero
        for m in range(count - 1, -1, -1):  # back substitution: directions[m][chosen[k]] is the triangular factor
            value = moves[m]
            for k in range(m + 1, count):
                value -= directions[m][chosen[k]] * z[i, chosen[k]]
            z[i, chosen[m]] = value / directions[m][chosen[m]]


def pursue(
    gram: NDArray[Any],
    corr: NDArray[Any],
    square: NDArray[Any],
    z: NDArray[Any],
    n_nonzero: int,
    tol: float,
    threads: int,
) -> None:
    """Fill rows of zeros `z` with the codes of orthogonal matching pursuit.

    `gram` [k, k] of atoms of norm one (or zero), `corr` [n, k], `square` |x|^2 [n], `z` [n, k]: C-contiguous, of one
    float dtype. A row stops at `n_nonzero` atoms, or when |r|^2 <= `tol` |x|^2.
    """
    dtype, n_code = z.dtype, len(gram)
    gram = aligned(gram.shape, dtype, gram)
    integer = np.dtype(f"i{dtype.itemsize}")
    mask = integer.type(np.iinfo(integer).max)  # all but the sign
    least = np.finfo(dtype).eps

    def solve(blocks: Iterable[slice]) -> None:
        directions = aligned((n_nonzero, n_code), dtype)
        alpha = aligned((n_code,), dtype)
        chosen, moves = np.empty(n_code + 1, np.int64), np.empty(n_nonzero, dtype)
        for rows in blocks:
            _pursue(
                gram, corr[rows], square[rows], z[rows], n_nonzero, dtype.type(tol), least, alpha, alpha.view(integer),
                mask, directions, chosen, moves,
            )  # fmt: skip

    share_out(len(z), BLOCK, threads if z.size >= SMALL else 1, solve)
