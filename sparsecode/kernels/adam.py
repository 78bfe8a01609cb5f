"""Adam in one pass over a parameter, its gradient and its moments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sparsecode.kernels.jit import compiled

__all__ = ["adam", "squares"]

ZERO = np.float32(0)

_jit = compiled(divide=True)


@_jit
def adam(w: Any, grad: Any, first: Any, second: Any, numbers: Any) -> None:
    """w, `first` and `second` [n] after a step along `grad` [n]; `numbers` are those of `types.AdamStep`, in float32."""
    rate, fresh, fresh2, root = numbers[0], numbers[1], numbers[2], numbers[3]
    eps, l2, keep, scale = numbers[4], numbers[5], numbers[6], numbers[7]
    for i in range(len(w)):
        g = scale * grad[i] + l2 * w[i]
        m = first[i] + fresh * (g - first[i])
        v = second[i] + fresh2 * (g * g - second[i])
        first[i], second[i] = m, v
        w[i] = keep * w[i] - rate * m / (math.sqrt(v) * root + eps)


@_jit
def squares(grad: Any) -> float:
    """The sum of the squares of `grad` [n], float32."""
    total: Any = 0.0
    for start in range(0, len(grad), 4096):
        part, result = grad[start : start + 4096], ZERO
        for i in range(len(part)):
            result += part[i] * part[i]
        total += result
    return total
