"""Projection of gradients of unit-norm rows onto the tangent space, in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from sparsecode.kernels.jit import compiled
from sparsecode.kernels.threads import share_out, worth

__all__ = ["remove_parallel"]

ROWS = 256  # per work item of a thread

_jit = compiled()


@_jit
def _remove_parallel(grad: Any, rows: Any, tiny: Any) -> None:
    for j in range(len(grad)):
        g, row = grad[j], rows[j]
        along = square = tiny - tiny
        for k in range(len(row)):
            along += g[k] * row[k]
            square += row[k] * row[k]
        along /= max(square, tiny)
        for k in range(len(row)):
            g[k] -= along * row[k]


def remove_parallel(grad: NDArray[Any], rows: NDArray[Any], tiny: float, threads: int) -> None:
    """grad_j -= (grad_j . row_j / max(|row_j|^2, tiny)) row_j in place, [k, f] both."""

    def work(blocks: Iterable[slice]) -> None:
        for part in blocks:
            _remove_parallel(grad[part], rows[part], grad.dtype.type(tiny))

    share_out(len(grad), ROWS, worth(threads, grad.size), work)
