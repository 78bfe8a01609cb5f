"""The records that cross the seams between rooms: named tuples, no logic."""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar

from torch import Tensor

__all__ = ["AdamStep", "Batch", "Code", "Event", "Loss", "Solution", "SparseCode"]

ArrayT = TypeVar("ArrayT")


class Batch(NamedTuple):
    """One mini-batch: `x` [B, *F] in data space; where the data have them, what is to be predicted from it, `target` [B, *G],
    and class labels [B].
    """

    x: Tensor
    target: Tensor | None = None
    label: Tensor | None = None


class Code(NamedTuple):
    """A code in training, [B, n_code] each: `z`; what a penalty sees in its place, `gate`; a 0/1 indicator whose
    derivative is estimated, `active`; the log density [B] of what was drawn to make it, up to a constant, `logp`.
    """

    z: Tensor
    gate: Tensor | None = None
    active: Tensor | None = None
    logp: Tensor | None = None


class SparseCode(NamedTuple):
    """A batch of codes, row by row, zeros left out: row i holds `values[p]` at codes `indices[p]`, rising, for p from
    `offsets[i]` to `offsets[i + 1]`. `values` [nnz], `indices` int32 [nnz], `offsets` int64 [B + 1]; `active` [nnz] as
    in `Code`.
    """

    values: Tensor
    indices: Tensor
    offsets: Tensor
    n_code: int
    active: Tensor | None = None


class Loss(NamedTuple):
    """A training objective: `total` is differentiated and is the sum of `parts`; `stats` are only watched."""

    total: Tensor
    parts: dict[str, Tensor]
    stats: dict[str, Tensor]


class AdamStep(NamedTuple):
    """What Adam does to all weights in one step: w <- keep w - rate m / (sqrt(v) root + eps).

    The moments m and v take shares `fresh` and `fresh2` of new ones, those of `scale` g + l2 w, g the gradients; both
    corrections of their start at 0 are in `rate` and `root`.
    """

    rate: float
    fresh: float
    fresh2: float
    root: float
    eps: float
    l2: float = 0.0
    keep: float = 1.0
    scale: float = 1.0


class Solution(NamedTuple, Generic[ArrayT]):
    """Codes found by a solver, with a certificate per sample.

    `z` [B, n_code]; `objective` [B], the energy at `z`; `gap` [B], the relative duality gap
    (see `QuadraticEnergy.gap`); `steps` [B] taken; `converged` [B], whether `gap <= tol`.
    """

    z: ArrayT
    objective: ArrayT
    gap: ArrayT
    steps: ArrayT
    converged: ArrayT


class Event(NamedTuple):
    """What the training loop tells its observers.

    `step` counts finished optimiser steps. `values` are plain floats, ready to be written down.
    """

    kind: Literal["start", "train", "evaluate", "end"]
    step: int
    total_steps: int
    values: dict[str, float]
