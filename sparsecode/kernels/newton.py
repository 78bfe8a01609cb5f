"""A Newton step of one code on its support: the minimum of the energy for these active codes and their signs."""

from __future__ import annotations

from typing import Any

from sparsecode.kernels.jit import compiled

__all__ = ["newton_cost", "newton_step"]

PIVOT = 1e-5  # of a diagonal entry: with less left of it, the atoms of the support are dependent, and no step is taken

_jit = compiled(wide=True)


@_jit
def newton_cost(code: Any, width: Any) -> Any:
    """The number of sweeps after which a step is due: more than it costs, in sweeps over the support with rows of `width` entries."""
    m = 0
    for j in range(len(code)):
        m += code[j] != 0
    return m * m // (2 * width) + 8


@_jit
def newton_step(
    gram: Any, q: Any, code: Any, support: Any, weight: Any, ridge: Any, right: Any, inverse: Any, factor: Any
) -> Any:
    """Move `code` to the minimum for its signs, or as far that way as they hold: 2, or 1; 0 if it was not moved.

    With S the support, s its signs and q = c - z G: (G_SS + ridge) d = q_S - ridge z_S - weight s by Cholesky factorisation, and
    z_S <- z_S + t d with the largest t <= 1 that changes no sign; a code that reaches 0 leaves. The energy falls by
    (t - t^2 / 2) d.g, g the right-hand side. `q` is left as it is. `factor`, `right`, `inverse`, `support` are scratch.
    """
    m = 0
    for j in range(len(code)):
        support[m] = j
        m += code[j] != 0
    if m == 0 or m * m > len(factor) or m > len(right):
        return 0
    zero, one = weight - weight, weight / weight
    for a in range(m):
        row, mine = gram[support[a]], factor[a * m : a * m + m]
        for b in range(a):
            other, total = factor[b * m : b * m + m], row[support[b]]
            for k in range(b):
                total -= mine[k] * other[k]
            mine[b] = total * inverse[b]
        whole = row[support[a]] + ridge
        total = whole
        for k in range(a):
            total -= mine[k] * mine[k]
        if not total > PIVOT * whole:
            return 0
        inverse[a] = one / total**0.5
    slope = zero
    for a in range(m):
        z = code[support[a]]
        right[a] = q[support[a]] - ridge * z - (weight if z > 0 else -weight)
    for a in range(m):
        mine, total = factor[a * m : a * m + m], right[a]
        for k in range(a):
            total -= mine[k] * right[k]
        right[a] = total * inverse[a]
        slope += right[a] * right[a]
    for back in range(m):
        a = m - 1 - back
        right[a] *= inverse[a]
        mine = factor[a * m : a * m + m]
        for k in range(a):
            right[k] -= mine[k] * right[a]
    t, first = one, -1
    for a in range(m):
        z = code[support[a]]
        if (z + right[a]) * z <= 0:
            reach = -z / right[a]
            if reach < t:
                t, first = reach, a
    if not slope > zero:
        return 0
    for a in range(m):
        z = code[support[a]]
        new = z + t * right[a]
        code[support[a]] = new if a != first and new * z > 0 else zero
    return 1 if first >= 0 else 2
