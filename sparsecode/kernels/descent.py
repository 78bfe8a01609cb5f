"""What coordinate descent does to one sample, given a Gram matrix or a part of one: steps, sweeps, the work list, the gap."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsecode.kernels.certificate import subtract
from sparsecode.kernels.jit import compiled

__all__ = ["CALM", "FALL", "MOST", "NEAR", "RELAX", "SWEEPS", "TRIES", "gap_of", "reach_of", "step", "survey", "sweep"]

SWEEPS = 2  # between two evaluations of the gap and of the work list
FALL = 0.7  # of the threshold, from one sweep of the first pass to the next
CALM = 4  # sweeps before steps are over-relaxed: until then codes change sign
RELAX = 0.4  # share by which a step goes beyond its coordinate's optimum; below 1 the energy falls at every step
TRIES = 3  # at what rounding has hidden, before it is left to double precision
ROUNDING = 256  # times eps |x_i| max_j |d_j|: more than a residual correlation is wrong by in single precision
NEAR = 0.95  # share of the weight from which a coordinate is copied, too: it may yet become active
MOST = 1024  # coordinates whose Gram matrix is copied at most (4 MiB a thread)

_jit = compiled(wide=True)


def reach_of(dtype: np.dtype[Any], largest: float) -> float:
    """What a residual correlation may be wrong by at most, relative to |x_i|, where the largest |d_j|^2 is `largest`."""
    return ROUNDING * float(np.finfo(dtype).eps) * float(np.sqrt(largest, dtype=np.float64))


@_jit
def step(g: Any, old: Any, diag: Any, weight: Any, below: Any, ridge: Any, inverse: Any, relax: Any) -> Any:
    """The change of a code: to its coordinate's optimum, and `relax` of the way beyond it, but not across zero.

    Written for a short chain of operations after `g`, the residual correlation, on which steps of a sweep wait for each other: all
    else is known beforehand. A code is positive if g + diag old > weight, then its change is (1 + relax) (g - weight - ridge old)
    inverse, or to zero if that is less far.
    """
    longer, curved, none = inverse + relax * inverse, diag * old, -old
    up = g * longer - (weight + ridge * old) * longer
    down = g * longer + (below - ridge * old) * longer
    up = up if up > none else none
    down = down if down < none else none
    change = up if g > weight - curved else none
    return down if g < -below - curved else change


@_jit
def sweep(
    gram: Any, q: Any, code: Any, work: Any, count: Any, diag: Any, inverse: Any, weight: Any, below: Any, ridge: Any,
    relax: Any,
) -> None:  # fmt: skip
    """Move the first `count` coordinates in `work`, four at a time, each using the changes before it."""
    t = 0
    while t + 3 < count:
        j0, j1, j2, j3 = work[t], work[t + 1], work[t + 2], work[t + 3]
        r0, r1, r2 = gram[j0], gram[j1], gram[j2]
        o0, o1, o2, o3 = code[j0], code[j1], code[j2], code[j3]
        h0 = step(q[j0], o0, diag[j0], weight, below, ridge, inverse[j0], relax)
        q1, q2, q3 = q[j1] - h0 * r0[j1], q[j2] - h0 * r0[j2], q[j3] - h0 * r0[j3]
        h1 = step(q1, o1, diag[j1], weight, below, ridge, inverse[j1], relax)
        q2, q3 = q2 - h1 * r1[j2], q3 - h1 * r1[j3]
        h2 = step(q2, o2, diag[j2], weight, below, ridge, inverse[j2], relax)
        h3 = step(q3 - h2 * r2[j3], o3, diag[j3], weight, below, ridge, inverse[j3], relax)
        if h0 != 0 or h1 != 0 or h2 != 0 or h3 != 0:
            code[j0], code[j1], code[j2], code[j3] = o0 + h0, o1 + h1, o2 + h2, o3 + h3
            subtract(q, gram, j0, j1, j2, j3, h0, h1, h2, h3)
        t += 4
    while t < count:
        j = work[t]
        change = step(q[j], code[j], diag[j], weight, below, ridge, inverse[j], relax)
        if change != 0:
            code[j], row = code[j] + change, gram[j]
            for k in range(len(q)):
                q[k] -= change * row[k]
        t += 1


@_jit
def survey(q: Any, code: Any, work: Any, threshold: Any, positive: Any) -> Any:
    """List the coordinates that are active or whose |q| (q if `positive`) exceeds `threshold`; and the largest of it."""
    count, largest = 0, threshold - threshold
    for j in range(len(q)):
        size = q[j] if positive else abs(q[j])
        largest = size if size > largest else largest
        work[count] = j
        count += (size > threshold) | (code[j] != 0)
    return count, largest


@_jit
def gap_of(
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
