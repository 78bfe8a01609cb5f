"""The sequential part of the dictionary update: atoms of one block, each after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsecode.kernels.jit import compiled

__all__ = ["update_block"]


@compiled()
def update_block(
    atoms: Any, codes: Any, residual: Any, change: Any, first: Any, floor: Any, least: Any, greatest: Any, positive: Any
) -> None:
    """d_j <- project(d_j + r_j / a_jj) for the atoms from `first` on, in place, as many as `residual` has rows.

    `atoms` D [k, f], `codes` A [k, k], `residual` R = B - A D [b, f] of these atoms at the start; it is overwritten, and so is
    `change` [f].
    The projection drops negative entries if `positive` and rescales the norm into [`least`, `greatest`]. Atoms with
    a_jj <= `floor` stay. C-contiguous, of one float dtype.
    """
    n_features = atoms.shape[1]
    zero = floor - floor  # of the dtype of everything else
    for i in range(len(residual)):
        j = first + i
        diagonal = codes[j, j]
        if diagonal <= floor:
            continue
        atom, pull, square = atoms[j], residual[i], zero
        for m in range(n_features):
            v = atom[m] + pull[m] / diagonal
            if positive:
                v = max(v, zero)
            change[m] = v
            square += v * v
        norm = np.sqrt(square)
        scale = min(max(norm, least), greatest) / norm if norm > 0 else zero
        for m in range(n_features):
            v = change[m] * scale
            change[m] = v - atom[m]
            atom[m] = v
        for later in range(i + 1, len(residual)):
            shared, row = codes[first + later, j], residual[later]
            if shared != 0:
                for m in range(n_features):
                    row[m] -= shared * change[m]
