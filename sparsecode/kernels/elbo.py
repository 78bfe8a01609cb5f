"""Elementwise parts of an evidence lower bound: codes with their divergences, and Bernoulli features; with gradients.

Arrays are float32, a column for each sample, which lets the samples of a batch fill vector registers. Sums are computed in float64.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from sparsecode.kernels.jit import compiled

__all__ = ["LOGIT", "NEGRELU", "NORMAL", "ElboObjective", "bernoulli", "gaussian", "spike_slab"]

NORMAL, LOGIT, NEGRELU = 0, 1, 2  # kinds of posterior

_jit = compiled(divide=True)

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)  # a Python float would make everything float64
LOW = np.float32(1e-6)  # as `sparsecode.nn.posteriors.CLAMP`
HIGH = ONE - LOW
LOG_LOW, LOG_HIGH = np.log(LOW), np.log(HIGH)


class ElboObjective(NamedTuple):
    """Weights of the divergences, divided by the batch size; for spikes: slope of the gate, `warmth` of the slabs, logit of alpha."""

    slab: float
    spike: float = 0.0
    slope: float = 1.0
    warmth: float = 1.0
    prior: float = 0.0


@_jit
def _exp(x: Any) -> Any:
    """exp(x) within 1e-7, x clamped to about [-87, 88]; unlike the library's, it is vectorised.

    The polynomial is that of Cephes.
    """
    x = min(max(x, np.float32(-87.3)), np.float32(88.3))
    n = np.floor(x * np.float32(1.44269504088896341) + HALF)
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
    p = ((p * r + np.float32(8.3334519073e-3)) * r + np.float32(4.1665795894e-2)) * r + np.float32(1.6666665459e-1)
    p = (p * r + HALF) * r * r + r + ONE
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@_jit
def _log(x: Any) -> Any:
    """log(x) within 1e-7 for normal numbers x > 0; Cephes' polynomial."""
    bits = np.float32(x).view(np.int32)
    m = np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F000000)).view(np.float32)  # in [1/2, 1)
    low = m < np.float32(0.70710678)
    e = np.float32((bits >> np.int32(23)) - np.int32(126)) - (ONE if low else ZERO)
    m = (m + m if low else m) - ONE
    p = np.float32(7.0376836292e-2) * m - np.float32(1.1514610310e-1)
    p = (p * m + np.float32(1.1676998740e-1)) * m - np.float32(1.2420140846e-1)
    p = (p * m + np.float32(1.4249322787e-1)) * m - np.float32(1.6668057665e-1)
    p = ((p * m + np.float32(2.0000714765e-1)) * m - np.float32(2.4999993993e-1)) * m + np.float32(3.3333331174e-1)
    return m + (m * m * (p * m - HALF) + e * np.float32(6.93147182e-1))


@_jit
def gaussian(objective: Any, out: Any, noise: Any, z: Any, scale: Any, push: Any, n: Any, first: Any, last: Any, sums: Any) -> None:  # fmt: skip
    """Codes `first` to `last` of z [K, L], drawn from N(mu, exp(logvar)), of `out` [2 K, L]; sums[1] += KL(q || N(0, 1)).

    scale, push [2 K, L]: the gradient of the loss with respect to `out` is scale dloss/dz + push; `push` is that of the weighted KL.
    """
    k, weight = len(z), objective.slab
    for i in range(first, last):
        total = ZERO
        for j in range(n):
            mu, logvar = out[i, j], out[k + i, j]
            deviation = _exp(HALF * logvar)
            variance, draw = deviation * deviation, deviation * noise[0, i, j]
            z[i, j] = mu + draw
            scale[i, j], scale[k + i, j] = ONE, HALF * draw
            push[i, j], push[k + i, j] = weight * mu, weight * HALF * (variance - ONE)
            total += HALF * (mu * mu + variance - logvar - ONE)
        sums[1] += total


@_jit
def _logit_gates(s: Any, gamma: Any, by_s: Any, logit: Any, n: Any) -> Any:
    """For one code's `s` [L]: gamma = sigmoid(s), dgamma/ds in `by_s`, and its logit; returns the sum of softplus(logit)."""
    total = ZERO
    for j in range(n):
        small = _exp(-abs(s[j]))
        part = ONE / (ONE + small)
        gamma[j] = (ONE if s[j] >= ZERO else small) * part
        by_s[j] = small * part * part
        logit[j] = s[j]
        total += max(s[j], ZERO) + _log(ONE + small)
    return total


@_jit
def _negrelu_gates(s: Any, gamma: Any, by_s: Any, logit: Any, n: Any) -> Any:
    """The same for gamma = exp(min(s, 0)), clamped for the logit."""
    total = ZERO
    for j in range(n):
        small = _exp(min(s[j], ZERO))
        log = _log(ONE - min(max(small, LOW), HIGH))
        gamma[j] = small
        by_s[j] = ZERO if s[j] >= ZERO else small
        logit[j] = min(max(s[j], LOG_LOW), LOG_HIGH) - log
        total -= log
    return total


@_jit
def spike_slab(kind: Any, objective: Any, out: Any, noise: Any, z: Any, scale: Any, push: Any, n: Any, first: Any, last: Any, sums: Any) -> None:  # fmt: skip
    """Codes `first` to `last` of z [K, L] from `out` [3 K, L]; sums[1:] += slab KL, spike KL, number of gamma > 1/2, gamma.

    scale, push [3 K, L]: the gradient of the loss with respect to `out` is scale dloss/dz + push; `push` is that of the weighted KLs.
    """
    k, slope, warmth, prior, slab_weight, spike_weight = (
        len(z), objective.slope, objective.warmth, objective.prior, objective.slab, objective.spike,
    )  # fmt: skip
    prior_softplus = max(prior, ZERO) + np.float32(math.log1p(math.exp(-abs(prior))))
    for i in range(first, last):
        s, gammas, by_s, logits = out[2 * k + i], z[i], scale[2 * k + i], push[2 * k + i]
        if kind == LOGIT:
            softplus = _logit_gates(s, gammas, by_s, logits, n)
        else:
            softplus = _negrelu_gates(s, gammas, by_s, logits, n)
        slabs = spikes = on = total = ZERO
        for j in range(n):
            mu, logvar, gamma, beyond = out[i, j], out[k + i, j], z[i, j], push[2 * k + i, j] - prior
            deviation = _exp(HALF * logvar)
            variance = deviation * deviation
            draw = noise[0, i, j] * _exp(HALF * warmth * logvar)
            value = warmth * mu + draw
            gate = ONE / (ONE + _exp(-slope * (gamma + (noise[1, i, j] - ONE))))
            slab = HALF * (mu * mu + variance - logvar - ONE)
            by = scale[2 * k + i, j]
            z[i, j] = gate * value
            scale[i, j], scale[k + i, j] = gate * warmth, gate * HALF * warmth * draw
            scale[2 * k + i, j] = gate * (ONE - gate) * slope * value * by
            push[i, j] = slab_weight * gamma * mu
            push[k + i, j] = slab_weight * gamma * HALF * (variance - ONE)
            push[2 * k + i, j] = by * (slab_weight * slab + spike_weight * beyond)
            slabs += gamma * slab
            spikes += gamma * beyond + prior_softplus
            on += ONE if gamma > HALF else ZERO
            total += gamma
        sums[1] += slabs
        sums[2] += spikes - softplus
        sums[3] += on
        sums[4] += total


@_jit
def bernoulli(logits: Any, x: Any, n: Any, first: Any, last: Any, sums: Any) -> None:
    """sums[0] += softplus(a) - x a over rows `first` to `last` of [f, L]; `logits` are replaced by the gradient of the mean over samples."""
    weight = ONE / np.float32(n)
    for i in range(first, last):
        total = ZERO
        for j in range(n):
            a = logits[i, j]
            small = _exp(-abs(a))
            total += max(a, ZERO) - x[i, j] * a + _log(ONE + small)
            logits[i, j] = weight * ((ONE if a >= ZERO else small) / (ONE + small) - x[i, j])
        sums[0] += total
