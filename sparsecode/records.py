"""Records that several rooms exchange: named tuples without logic."""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple, TypeVar

from torch import Tensor
from torch.nn import Module

__all__ = ["AdamStep", "Batch", "Code", "Event", "Loss", "Solution", "SparseCode"]

ArrayT = TypeVar("ArrayT")


class Batch(NamedTuple):
    """One mini-batch: `x` [B, *F] in data space; where the data have them, the `target` [B, *G] to predict from it, class
    labels `label` [B], and the pass of a network that the rows are from, `host`, in which terms may replace them (`losses.term.HostRun`).
    """

    x: Tensor
    target: Tensor | None = None
    label: Tensor | None = None
    host: Any = None


class Code(NamedTuple):
    """A code in training, [B, n_code] each: `z`; `gate`, which a penalty sees instead of z; `active`, a 0/1 indicator whose
    gradient is estimated; and [B] `logp`, the log density of the random draw behind it, up to a constant.
    """

    z: Tensor
    gate: Tensor | None = None
    active: Tensor | None = None
    logp: Tensor | None = None


class SparseCode(NamedTuple):
    """A batch of codes without zeros, as in a CSR matrix: row i holds `values[p]` at codes `indices[p]`, ascending, for p from
    `offsets[i]` to `offsets[i + 1]`. `values` [nnz], `indices` int32 [nnz], `offsets` int64 [B + 1]; `active` [nnz] as
    in `Code`.
    """

    values: Tensor
    indices: Tensor
    offsets: Tensor
    n_code: int
    active: Tensor | None = None


class Loss(NamedTuple):
    """A training objective: `total` is differentiated and is the sum of `parts`; `stats` are only logged."""

    total: Tensor
    parts: dict[str, Tensor]
    stats: dict[str, Tensor]


class AdamStep(NamedTuple):
    """The numbers of one step of Adam: w <- keep w - rate m / (sqrt(v) root + eps).

    m <- m + fresh (d - m) and v <- v + fresh2 (d^2 - v), with d = scale g + l2 w for gradients g; `fresh` = 1 - beta1 and
    `fresh2` = 1 - beta2. The bias corrections are folded into `rate` and `root`.
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
    """Codes computed by a solver, with a certificate per sample.

    `z` [B, n_code]; `objective` [B], the energy at `z`; `gap` [B], the relative duality gap
    (see `QuadraticEnergy.gap`); `steps` [B], their number; `converged` [B], whether `gap <= tol`.
    """

    z: ArrayT
    objective: ArrayT
    gap: ArrayT
    steps: ArrayT
    converged: ArrayT


class Event(NamedTuple):
    """An event that the training loop reports to its observers.

    `step` counts finished optimiser steps. `values` are plain floats. `model` is the model in training, to be looked at alone.
    """

    kind: Literal["start", "train", "evaluate", "end"]
    step: int
    total_steps: int
    values: dict[str, float]
    model: Module | None = None
