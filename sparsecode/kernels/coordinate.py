"""Coordinate descent for the Lasso, one sample after another, samples spread over threads.

Why it is fast: a sample's code, residual correlations and work list stay in the first-level cache, an update costs one
row of the Gram matrix, and the duality gap is read off what is there anyway. The sums may be reordered by the compiler;
NaN is never assumed away.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["lasso_coordinate_descent"]

SMALL = 100_000  # codes times atoms below which threads cost more than they give
SWEEPS = 2  # between two looks at the gap and at the work list


@numba.njit(fastmath={"reassoc", "contract", "nsz", "arcp"}, cache=True, nogil=True)
def _descend(
    gram: Any,
    inverse: Any,
    corr: Any,
    half_square: Any,
    scale: Any,
    z: Any,
    weight: Any,
    positive: Any,
    tol: Any,
    max_sweeps: Any,
    gaps: Any,
    sweeps_taken: Any,
) -> None:
    n, n_code = corr.shape
    zero = weight - weight  # of the dtype of everything else
    tiny = np.finfo(gram.dtype).tiny
    for i in range(n):
        code, c = z[i], corr[i]
        q = c.copy()  # correlations of the atoms with the residual
        for j in range(n_code):
            if code[j] != 0:
                value, row = code[j], gram[j]
                for k in range(n_code):
                    q[k] -= value * row[k]
        work = np.empty(n_code, np.int32)
        sweeps = 0
        while True:
            # The duality gap, as in QuadraticEnergy.gap.
            explained = left = norm = highest = lowest = zero
            for j in range(n_code):
                explained += code[j] * c[j]
                left += code[j] * q[j]
                norm += abs(code[j])
                highest = max(highest, q[j])
                lowest = min(lowest, q[j])
            largest = highest if positive else max(highest, -lowest)
            x_dot_r = 2.0 * half_square[i] - explained
            r_dot_r = max(x_dot_r - left, 0.0)
            s = min(weight / largest, 1.0) if largest > 0 else 1.0
            gap = r_dot_r / 2 + weight * norm - s * x_dot_r + s * s * r_dot_r / 2
            gap = gap / max(scale[i], tiny)
            if gap <= tol or sweeps >= max_sweeps or gap != gap:
                break
            count = 0
            for j in range(n_code):
                if code[j] != 0 or q[j] > weight or (q[j] < -weight and not positive):
                    work[count] = j
                    count += 1
            burst = min(SWEEPS, max_sweeps - sweeps)
            for _ in range(burst):
                for w in range(count):
                    j = work[w]
                    old, threshold = code[j], weight * inverse[j]
                    v = old + q[j] * inverse[j]
                    if v > threshold:
                        new = v - threshold
                    elif v < -threshold and not positive:
                        new = v + threshold
                    else:
                        new = zero
                    change = new - old
                    if change != 0:
                        code[j] = new
                        row = gram[j]
                        for k in range(n_code):
                            q[k] -= change * row[k]
            sweeps += burst
        gaps[i] = gap if gap != gap else max(gap, 0.0)
        sweeps_taken[i] = sweeps


def lasso_coordinate_descent(
    gram: NDArray[Any],
    corr: NDArray[Any],
    half_square: NDArray[Any],
    scale: NDArray[Any],
    z: NDArray[Any],
    weight: float,
    positive: bool,
    tol: float,
    max_sweeps: int,
    threads: int,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Minimise 1/2 |x|^2 - c.z + 1/2 z G z + weight |z|_1 per row, in place in `z`.

    Returns gaps relative to `scale` and sweeps taken, each [n].

    `gram` G [k, k], `corr` c [n, k], `half_square` 1/2 |x|^2 [n], `scale` [n], `z` [n, k]: C-contiguous, of one
    float dtype.
    """
    gaps, sweeps = np.empty(len(z), z.dtype), np.empty(len(z), np.int64)
    inverse = np.divide(1, np.diag(gram), out=np.zeros(len(gram), z.dtype), where=np.diag(gram) > 0)

    def part(rows: slice) -> None:
        _descend(
            gram, inverse, corr[rows], half_square[rows], scale[rows], z[rows], z.dtype.type(weight), positive, tol,
            max_sweeps, gaps[rows], sweeps[rows],
        )  # fmt: skip

    if threads == 1 or z.size < SMALL:
        part(slice(None))
    else:
        # Plain threads: numba's own pool would set torch's number of threads and quarrel with it for the cores.
        edges = np.linspace(0, len(z), 4 * threads + 1).astype(int)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, map(slice, edges[:-1], edges[1:])))
    return gaps, sweeps
