"""A Newton step of one code on its support: the minimum of the energy for these active codes and their signs."""

from __future__ import annotations

from typing import Any

from sparsecode.kernels.jit import compiled

__all__ = ["move_along", "newton_cost", "newton_direction", "reach_along"]

PIVOT = 1e-5  # of a diagonal entry: with less left of it, the atoms of the support are dependent, and no step is taken
LANES = 16  # numbers in a register; rows of the factor begin at multiples of it

_jit = compiled(wide=True)


@_jit
def newton_cost(code: Any, width: Any) -> Any:
    """The number of sweeps that take as long as a step, over the support with rows of `width` entries, and a few more."""
    m = 0
    for j in range(len(code)):
        m += code[j] != 0
    return m * (m + 40) // (6 * width) + 4


@_jit
def _eliminate(row: Any, r0: Any, r1: Any, r2: Any, r3: Any, h0: Any, h1: Any, h2: Any, h3: Any) -> None:
    for k in range(len(row)):
        row[k] -= h0 * r0[k] + h1 * r1[k] + h2 * r2[k] + h3 * r3[k]


@_jit
def newton_direction(
    gram: Any, q: Any, code: Any, support: Any, weight: Any, ridge: Any, step: Any, inverse: Any, factor: Any
) -> Any:
    """The number of active codes, and in `step` the way to the minimum for their signs; 0 if there is none to be had.

    With S the support, s its signs and q = c - z G: (G_SS + ridge) d = q_S - ridge z_S - weight s by Cholesky factorisation, four
    rows at a time; the right-hand side is one more column. `factor`, `inverse` and `support`, where S is written, are scratch.
    """
    m = 0
    for j in range(len(code)):
        support[m] = j
        m += code[j] != 0
    width = (m + LANES) // LANES * LANES
    if m == 0 or m * width > len(factor) or m > len(step):
        return 0
    zero, one = weight - weight, weight / weight
    for a in range(m):
        row, source = factor[a * width : a * width + width], gram[support[a]]
        for b in range(a // LANES * LANES, m):
            row[b] = source[support[b]]
        row[a] += ridge
        z = code[support[a]]
        row[m] = q[support[a]] - ridge * z - (weight if z > 0 else -weight)
        for b in range(m + 1, width):
            row[b] = zero
    k = 0
    while k < m:
        last = min(k + 4, m)
        for a in range(k, last):
            begin = a // LANES * LANES
            row = factor[a * width + begin : a * width + width]
            for b in range(k, a):
                other, h = factor[b * width + begin : b * width + width], factor[b * width + a]
                for n in range(len(row)):
                    row[n] -= h * other[n]
            pivot = row[a - begin]
            if not pivot > PIVOT * (gram[support[a], support[a]] + ridge):
                return 0
            inverse[a] = one / pivot**0.5
            for n in range(len(row)):
                row[n] *= inverse[a]
        for a in range(last, m):
            begin = a // LANES * LANES
            k0, k1, k2, k3 = k * width, (k + 1) * width, (k + 2) * width, (k + 3) * width
            _eliminate(
                factor[a * width + begin : a * width + width],
                factor[k0 + begin : k0 + width], factor[k1 + begin : k1 + width],
                factor[k2 + begin : k2 + width], factor[k3 + begin : k3 + width],
                factor[k0 + a], factor[k1 + a], factor[k2 + a], factor[k3 + a],
            )  # fmt: skip
        k = last
    slope = zero
    for back in range(m):
        a = m - 1 - back
        row = factor[a * width : a * width + width]
        total = row[m]
        slope += total * total
        for b in range(a + 1, m):
            total -= row[b] * step[b]
        step[a] = total * inverse[a]
    return m if slope > zero else 0


@_jit
def reach_along(code: Any, support: Any, step: Any, m: Any) -> Any:
    """The largest t <= 1 at which z_S + t d changes no sign, and the place of the code that then reaches 0, or -1."""
    t, first = step[0] - step[0] + 1, -1
    for a in range(m):
        z = code[support[a]]
        if (z + step[a]) * z <= 0:
            reach = -z / step[a]
            if reach < t:
                t, first = reach, a
    return t, first


@_jit
def move_along(code: Any, support: Any, step: Any, start: Any, m: Any, t: Any, first: Any) -> Any:
    """z_S <- `start` + t d, with 0 in the place of codes of another sign and of the `first`; returns how many these are."""
    crossed = 0
    for a in range(m):
        new, old = start[a] + t * step[a], start[a]
        stays = a != first and new * old > 0
        code[support[a]] = new if stays else old - old
        crossed += not stays
    return crossed
