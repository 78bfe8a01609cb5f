"""What of an evidence lower bound goes number by number: codes with their divergences, Bernoulli features; with derivatives.

Arrays are float32. Sums are made in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

__all__ = ["bernoulli", "gates", "gaussian", "spike_slab"]

_jit = numba.njit(fastmath={"reassoc", "contract", "nsz", "arcp"}, cache=True, nogil=True)

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)  # a Python float would make everything float64
LOW = np.float32(1e-6)  # as `sparsecode.nn.posteriors.CLAMP`
HIGH = ONE - LOW
LOG_LOW, LOG_HIGH = np.log(LOW), np.log(HIGH)
RUN = 64  # factors of a product in [1, 2^64]


@_jit
def gaussian(out: Any, deviation: Any, normal: Any, weight: Any, z: Any, scale: Any, push: Any) -> Any:
    """Draws z [B, K] of N(mu, exp(logvar)) from `out` [B, 2 K] and exp(logvar / 2); the sum of KL(q || N(0, 1)).

    scale, push [B, 2, K]: the loss's derivative by `out` is scale dloss/dz + push, push that of weight times the sum.
    """
    n, k = z.shape
    total = 0.0
    for i in range(n):
        for j in range(k):
            mu, logvar, variance = out[i, j], out[i, k + j], deviation[i, j] * deviation[i, j]
            noise = deviation[i, j] * normal[i, j]
            z[i, j] = mu + noise
            scale[i, 0, j], scale[i, 1, j] = ONE, HALF * noise
            push[i, 0, j], push[i, 1, j] = weight * mu, weight * HALF * (variance - ONE)
            total += HALF * (mu * mu + variance - logvar - ONE)
    return total


@_jit
def gates(out: Any, small: Any, uniform: Any, negrelu: bool, slope: Any, exponent: Any, inside: Any) -> None:
    """What exponentials and logarithms are taken of, many at a time: sigmoid gates are 1 / (1 + exp(exponent)), and
    log(inside) is what `spike_slab` needs. `out` [B, 3 K]; small [B, K] is exp(-|s|), s its last third.
    """
    n, k = small.shape
    for i in range(n):
        for j in range(k):
            s, e = out[i, 2 * k + j], small[i, j]
            if negrelu:
                gamma = ONE if s >= ZERO else e
                inside[i, j] = ONE - min(max(gamma, LOW), HIGH)
            else:
                gamma = (ONE if s >= ZERO else e) / (ONE + e)
                inside[i, j] = ONE + e
            exponent[i, j] = -slope * (gamma + (uniform[i, j] - ONE))


@_jit
def spike_slab(
    out: Any,
    small: Any,
    deviation: Any,
    draws: Any,
    closed: Any,
    logs: Any,
    negrelu: bool,
    slope: Any,
    warmth: Any,
    prior: Any,
    slab_weight: Any,
    spike_weight: Any,
    z: Any,
    scale: Any,
    push: Any,
) -> Any:
    """Codes z [B, K] from `out` [B, 3 K]; sums of both divergences, of gates on, and of gamma.

    `small` as in `gates`; `deviation` is exp(logvar / 2), `draws` the noise times exp(warmth logvar / 2); `closed` and
    `logs` are exp(exponent) and log(inside). `prior` is the logit of alpha. scale, push [B, 3, K]: the loss's derivative by
    `out` is scale dloss/dz + push, push that of the weighted sums.
    """
    n, k = z.shape
    slabs = spikes = on = gammas = 0.0
    prior_softplus = max(prior, ZERO) + np.float32(math.log1p(math.exp(-abs(prior))))
    for i in range(n):
        for j in range(k):
            mu, logvar, s, e = out[i, j], out[i, k + j], out[i, 2 * k + j], small[i, j]
            if negrelu:
                gamma = ONE if s >= ZERO else e
                by_s = ZERO if s >= ZERO else e
                logit = min(max(s, LOG_LOW), LOG_HIGH) - logs[i, j]
                softplus = -logs[i, j]
            else:
                gamma = (ONE if s >= ZERO else e) / (ONE + e)
                by_s = e / ((ONE + e) * (ONE + e))
                logit, softplus = s, max(s, ZERO) + logs[i, j]
            variance = deviation[i, j] * deviation[i, j]
            draw = warmth * mu + draws[i, j]
            gate = ONE / (ONE + closed[i, j])
            slab = HALF * (mu * mu + variance - logvar - ONE)
            z[i, j] = gate * draw
            scale[i, 0, j], scale[i, 1, j] = gate * warmth, gate * HALF * warmth * draws[i, j]
            scale[i, 2, j] = gate * (ONE - gate) * slope * draw * by_s
            push[i, 0, j] = slab_weight * gamma * mu
            push[i, 1, j] = slab_weight * gamma * HALF * (variance - ONE)
            push[i, 2, j] = by_s * (slab_weight * slab + spike_weight * (logit - prior))
            slabs += gamma * slab
            spikes += gamma * (logit - prior) - softplus + prior_softplus
            on += gamma > HALF
            gammas += gamma
    return slabs, spikes, on, gammas


@_jit
def bernoulli(logits: Any, x: Any, held: Any, weight: Any) -> Any:
    """The sum of softplus(a) - x a over flat arrays; `held` is exp(-|a|) and becomes weight times the derivative by a.

    Logarithms are those of products, one for 64 numbers.
    """
    total = 0.0
    for start in range(0, len(logits), RUN):
        product, linear = ONE, ZERO
        for i in range(start, min(start + RUN, len(logits))):
            a, small = logits[i], held[i]
            product *= ONE + small
            linear += max(a, ZERO) - x[i] * a
            held[i] = weight * ((ONE if a >= ZERO else small) / (ONE + small) - x[i])
        total += linear + math.log(np.float64(product))
    return total
