"""Residuals of sparse codes, and the duality gap of a code in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsecode.kernels.jit import compiled

__all__ = ["certify", "correlate", "correlation", "subtract"]

TINY = float(np.finfo(np.float64).tiny)

_jit = compiled(wide=True)


@_jit
def subtract(q: Any, gram: Any, j0: Any, j1: Any, j2: Any, j3: Any, h0: Any, h1: Any, h2: Any, h3: Any) -> None:
    """Subtract the effect of four changes h of coordinates j from q."""
    r0, r1, r2, r3 = gram[j0], gram[j1], gram[j2], gram[j3]
    for k in range(len(q)):
        q[k] -= h0 * r0[k] + h1 * r1[k] + h2 * r2[k] + h3 * r3[k]


@_jit
def correlate(gram: Any, c: Any, code: Any, work: Any, q: Any) -> None:
    """q = c - z G, recomputed to avoid accumulated rounding; or x - z D of a sample."""
    for k in range(len(q)):
        q[k] = c[k]
    zero, count, t = code[0] - code[0], 0, 0
    for j in range(len(code)):
        work[count] = j
        count += code[j] != 0
    while t + 3 < count:
        j0, j1, j2, j3 = work[t], work[t + 1], work[t + 2], work[t + 3]
        subtract(q, gram, j0, j1, j2, j3, code[j0], code[j1], code[j2], code[j3])
        t += 4
    while t < count:
        j = work[t]
        subtract(q, gram, j, j, j, j, code[j], zero, zero, zero)
        t += 1


@_jit
def correlation(r: Any, z: Any, atoms: Any, target: Any, stiffness: Any, j: Any) -> Any:
    """The residual r of the code z correlated with an atom, in double precision."""
    total, atom = 0.0, atoms[j]
    for k in range(len(r)):
        total += r[k] * atom[k]
    return total + stiffness * (target[j] - z[j])


@_jit
def certify(
    x: Any, atoms: Any, code: Any, q: Any, target: Any, stiffness: Any, weight: Any, ridge: Any, positive: Any,
    reach: Any, wide: Any, work: Any,
) -> Any:  # fmt: skip
    """The energy and the duality gap of a code in double precision, from the residual itself.

    Atoms whose |q_j| (q_j if `positive`) is below the weight by more than rounding meet their constraint in the dual whatever
    their exact correlation is, and need none; without a `ridge` the largest is all that is needed of the others, which rounding
    moves by no more than `reach` |x| either way.
    """
    r, z = wide[0][: len(x)], wide[1][: len(code)]
    for j in range(len(z)):
        z[j] = code[j]
    correlate(atoms, x, z, work, r)
    r_dot_r = x_dot_r = x_dot_x = norm = square = largest = conjugate = 0.0
    for k in range(len(r)):
        r_dot_r += r[k] * r[k]
        x_dot_r += x[k] * r[k]
        x_dot_x += np.float64(x[k]) * np.float64(x[k])
    for j in range(len(z)):
        norm += abs(z[j])
        square += z[j] * z[j]
    energy = (r_dot_r + ridge * square) / 2 + weight * norm
    pull, size_squared = 0.0, x_dot_x
    if stiffness > 0:
        for j in range(len(z)):
            apart = np.float64(target[j]) - z[j]
            pull += stiffness * apart * apart
            x_dot_r += stiffness * target[j] * apart
            size_squared += stiffness * target[j] * target[j]
    hidden = reach * np.sqrt(size_squared)
    cut = weight - hidden
    if not ridge > 0:
        peak = cut
        for j in range(len(z)):
            peak = max(peak, np.float64(q[j] if positive else abs(q[j])))
        cut = max(cut, peak - 2 * hidden)
    count = 0
    for j in range(len(z)):
        work[count] = j
        count += not (q[j] if positive else abs(q[j])) <= cut
    for t in range(count):
        exact = correlation(r, z, atoms, target, stiffness, work[t])
        exact = exact if positive else abs(exact)
        largest = exact if exact > largest else largest
        conjugate += max(exact - weight, 0.0) ** 2
    r_dot_r += pull
    primal = energy + pull / 2
    s = 1.0 if ridge > 0 or not largest > weight else weight / largest
    dual = s * x_dot_r - s * s * r_dot_r / 2 - (conjugate / (2 * ridge) if ridge > 0 else 0.0)
    gap = primal - dual
    return energy, (gap if not gap < 0 else 0.0) / max(x_dot_x / 2, TINY)
