"""Newton steps of one code on a support that coordinates join and leave, one at a time, with the factor of its Gram matrix.

Sweeps are many where atoms are correlated, and their codes have several times too many active coordinates, since each undoes a
part of what others do. These steps are as many as coordinates join, leave, or change their sign, however much atoms are correlated.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsecode.kernels.certificate import correlate
from sparsecode.kernels.descent import gap_of, survey
from sparsecode.kernels.jit import compiled

__all__ = ["DEPENDENT", "FAR", "newton_cost", "newton_steps"]

LANES = 16  # numbers in a register; rows of the factor are read to multiples of it
FAR = 5e-3  # a relative gap above which a support is so wrong that one from nothing is found sooner
DEPENDENT = 16  # times eps: the share of an atom's square that others may leave unexplained, more than rounding does
BAND = 2  # parts of the largest violation of a condition of optimality: coordinates with more than one join the support
SHARE = 10  # one in so many of the support, and one, join it at once: others may then not have to
STEPS = 4  # of a round at most, for each coordinate
STALE = 20  # rounds without a lower gap, after which rounding hides the rest

_jit = compiled(wide=True)


@_jit
def newton_cost(code: Any, width: Any, most: Any) -> Any:
    """The number of sweeps that take as long as a step, over the support, at most `most`, with rows of `width` entries, and a few more."""
    m = 0
    for j in range(len(code)):
        m += code[j] != 0
    m = min(m, most)
    return m * (m + 40) // (6 * width) + 4


@_jit
def _forward(factor: Any, stride: Any, inverse: Any, m: Any, right: Any, out: Any, total: Any) -> Any:
    """Solve R^T out = right, R the upper triangle in `factor`, four rows at a time; returns `total` + |out|^2. `right` is lost."""
    width, k = (m + LANES - 1) // LANES * LANES, 0
    while k < m:
        last = min(k + 4, m)
        for a in range(k, last):
            value = right[a]
            for b in range(k, a):
                value -= factor[b * stride + a] * out[b]
            out[a] = value * inverse[a]
            total += out[a] * out[a]
        if last < m:
            begin, k0 = last // LANES * LANES, k * stride
            k1, k2, k3 = k0 + stride, k0 + 2 * stride, k0 + 3 * stride
            _eliminate(
                right[begin:width], factor[k0 + begin : k0 + width], factor[k1 + begin : k1 + width],
                factor[k2 + begin : k2 + width], factor[k3 + begin : k3 + width],
                out[k], out[k + 1], out[k + 2], out[k + 3],
            )  # fmt: skip
        k = last
    return total


@_jit
def _eliminate(row: Any, r0: Any, r1: Any, r2: Any, r3: Any, h0: Any, h1: Any, h2: Any, h3: Any) -> None:
    for k in range(len(row)):
        row[k] -= h0 * r0[k] + h1 * r1[k] + h2 * r2[k] + h3 * r3[k]


@_jit
def _backward(factor: Any, stride: Any, inverse: Any, m: Any, out: Any) -> None:
    """Solve R out = out, in place."""
    width = (m + LANES - 1) // LANES * LANES
    for k in range(m, width):
        out[k] = out[0] - out[0]
    for back in range(m):
        a = m - 1 - back
        row, solved = factor[a * stride + a + 1 : a * stride + width], out[a + 1 : width]
        total = out[a]
        for k in range(len(row)):
            total -= row[k] * solved[k]
        out[a] = total * inverse[a]


@_jit
def _join(
    factor: Any, stride: Any, inverse: Any, m: Any, gram: Any, support: Any, j: Any, ridge: Any, least: Any, right: Any, out: Any
) -> Any:  # fmt: skip
    """Coordinate j becomes the last of the support. Returns whether its atom depends on the others, to a `least` share of its square:
    it then counts as so much more, and the next step is long and ends where a code is 0.
    """  # fmt: skip
    row = gram[j]
    for b in range(m):
        right[b] = row[support[b]]
    diagonal = row[j] + ridge
    pivot, least = diagonal - _forward(factor, stride, inverse, m, right, out, ridge - ridge), least * diagonal
    dependent = not pivot > least
    pivot = np.sqrt(least if dependent else pivot)
    width = m // LANES * LANES + LANES
    if m % LANES == 0:
        for a in range(m):
            for b in range(m, width):
                factor[a * stride + b] = pivot - pivot
    for a in range(m):
        factor[a * stride + m] = out[a]
    for b in range(m, width):
        factor[m * stride + b] = pivot - pivot
    factor[m * stride + m], inverse[m], support[m] = pivot, 1 / pivot, j
    return dependent


@_jit
def _leave(factor: Any, stride: Any, inverse: Any, m: Any, support: Any, place: Any, carry: Any) -> None:
    """The coordinate in a `place` of the support leaves it; rotations restore the triangle."""
    zero = inverse[0] - inverse[0]
    for a in range(place):
        row = factor[a * stride : a * stride + m]
        for b in range(place, m - 1):
            row[b] = row[b + 1]
        row[m - 1] = zero
    for b in range(place, m):
        carry[b] = factor[place * stride + b]
    for a in range(place, m - 1):
        row, below = (
            factor[a * stride + a : a * stride + m - 1],
            factor[(a + 1) * stride + a + 1 : (a + 1) * stride + m],
        )
        rest = carry[a + 1 : m]
        length = np.sqrt(below[0] * below[0] + rest[0] * rest[0])
        cosine, sine = below[0] / length, rest[0] / length
        for b in range(len(row)):
            lower, upper = below[b], rest[b]
            row[b] = cosine * lower + sine * upper
            rest[b] = cosine * upper - sine * lower
        factor[a * stride + m - 1] = zero
        inverse[a], support[a] = 1 / length, support[a + 1]


@_jit
def _energy(c: Any, q: Any, code: Any, weight: Any, ridge: Any) -> Any:
    """Of a code, less that of zeros, from its correlations."""
    smooth = norm = square = weight - weight
    for j in range(len(code)):
        smooth += code[j] * (c[j] + q[j])
        norm += abs(code[j])
        square += code[j] * code[j]
    return (ridge * square - smooth) * (weight / (weight + weight)) + weight * norm


@_jit
def _least_along(code: Any, support: Any, step: Any, sign: Any, m: Any, slope: Any, weight: Any, positive: Any) -> Any:
    """The minimum of the energy along a step: its place t, and whose code is 0 there, or -1.

    The energy falls by `slope` (1 - t), and by 2 weight |step_a| less after code a has changed its sign. Signs of these become +-2.
    """
    zero, one = weight - weight, weight / weight
    bend = zero
    while True:
        t, first = one, -1
        for a in range(m):
            z = code[support[a]]
            if (z + step[a]) * sign[a] <= 0:
                reach = -z / step[a] if z * sign[a] > 0 else zero
                if reach < t:
                    t, first = reach, a
        turn = one - bend / slope
        if first < 0 or t >= turn:
            return turn, -1
        more = (weight + weight) * abs(step[first])
        if positive or not more > zero or bend + more >= slope * (one - t):
            return t, first
        bend += more
        sign[first] = -(sign[first] + sign[first])


@_jit
def _newcomers(q: Any, code: Any, work: Any, weight: Any, positive: Any, most: Any) -> Any:
    """List the coordinates that violate their condition of optimality most, at most so many; returns their number."""
    largest = weight
    for j in range(len(code)):
        size = q[j] if positive else abs(q[j])
        largest = size if size > largest and code[j] == 0 else largest
    threshold, count = weight + (largest - weight) / BAND, 0
    for j in range(len(code)):
        work[count] = j
        count += (code[j] == 0) & ((q[j] if positive else abs(q[j])) > threshold)
    for t in range(min(count, most)):
        worst = t
        for u in range(t + 1, count):
            worst = u if abs(q[work[u]]) > abs(q[work[worst]]) else worst
        work[t], work[worst] = work[worst], work[t]
    return min(count, most)


@_jit
def _settle(
    q: Any, code: Any, support: Any, m: Any, weight: Any, ridge: Any, positive: Any, stride: Any, inverse: Any,
    right: Any, step: Any, sign: Any, slope: Any, factor: Any,
) -> Any:  # fmt: skip
    """Minimise over the support, which coordinates leave whose code becomes 0; returns its size.

    `slope` is less the derivative of the energy on the support: the right-hand side of a step.
    """
    zero, one = weight - weight, weight / weight
    for a in range(m):
        slope[a] = q[support[a]] - ridge * code[support[a]] - weight * sign[a]
    for _ in range(STEPS * len(code)):
        for a in range(m):
            right[a] = slope[a]
        fall = _forward(factor, stride, inverse, m, right, step, zero)
        if not fall > zero:
            break
        _backward(factor, stride, inverse, m, step)
        t, first = _least_along(code, support, step, sign, m, fall, weight, positive)
        turned = False
        for a in range(m):
            code[support[a]] += t * step[a]
            slope[a] *= one - t
            if abs(sign[a]) > one:
                slope[a] -= weight * sign[a]
                sign[a] /= 2
                turned = True
        if first >= 0:
            code[support[first]] = zero
            _leave(factor, stride, inverse, m, support, first, right)
            m -= 1
            for a in range(first, m):
                sign[a], slope[a] = sign[a + 1], slope[a + 1]
        elif not turned:
            break
    return m


@_jit
def newton_steps(
    gram: Any, c: Any, q: Any, code: Any, support: Any, work: Any, weight: Any, ridge: Any, positive: Any, tol: Any,
    half_square: Any, scale: Any, gap: Any, least: Any, rounds: Any, floats: Any, factor: Any,
) -> Any:  # fmt: skip
    """Move `code`, whose `gap` is known, until its gap is at most tol, for so many `rounds` at most, and q with it.

    A round lets coordinates join the support, minimises over it, G_SS d = q_S - ridge z_S - weight s_S until all signs s hold, and
    updates the correlations of all atoms. Returns the rounds taken, each about as long as a sweep. A code with a large gap is begun
    anew from zeros, and taken again if that ends at a higher energy. The last six rows of `floats` and the rest are scratch.
    """
    zero, one = weight - weight, weight / weight
    inverse, right, step, sign, slope, before = floats[2], floats[3], floats[4], floats[5], floats[6], floats[7]
    stride = int(np.sqrt(len(factor))) // LANES * LANES
    stride -= LANES * (stride // LANES % 2 == 0)  # columns of the factor would else share a set of the cache
    n_code, energy, fresh, count = len(code), _energy(c, q, code, weight, ridge), gap > FAR, 0
    for j in range(n_code):
        before[j], work[count] = code[j], j
        count += code[j] != 0
    m = n_code - n_code  # of the type of others, to numba
    fresh |= count > stride
    for j in range(n_code if fresh else 0):
        code[j], q[j] = zero, c[j]
    rounds_taken, idle, lowest = 0, 0, gap
    while rounds_taken < rounds:
        if rounds_taken > 0 or fresh:
            _, largest = survey(q, code, work, weight, positive)
            gap = gap_of(c, q, code, largest, half_square, scale, weight, ridge, positive)
            idle = 0 if gap < lowest or rounds_taken < 2 else idle + 1  # a start's gap says nothing of those from zeros
            lowest = gap if idle == 0 else lowest
            if gap <= tol or idle > STALE:
                break
            count = _newcomers(q, code, work, weight, positive, min(1 + m // SHARE, stride - m))
            if count == 0 and idle > 0:
                break
        for t in range(count):
            j = work[t]
            sign[m] = one if (code[j] if code[j] != 0 else q[j]) > 0 else -one
            dependent = _join(factor, stride, inverse, m, gram, support, j, ridge, least, right, step)
            if dependent and code[j] != 0:  # of a start: others take its part
                part, row, code[j] = code[j], gram[j], zero
                for k in range(n_code):
                    q[k] += part * row[k]
                continue
            m += 1
            if dependent:
                break
        m = _settle(q, code, support, m, weight, ridge, positive, stride, inverse, right, step, sign, slope, factor)
        correlate(gram, c, code, work, q)
        rounds_taken += 1
    if not gap <= tol and not _energy(c, q, code, weight, ridge) <= energy:
        for j in range(len(code)):
            code[j] = before[j]
        correlate(gram, c, code, work, q)
    return rounds_taken
