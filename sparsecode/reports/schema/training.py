"""The training of a run: every logged point, and what changed by plan."""

from __future__ import annotations

from typing import Literal

from sparsecode.reports.schema.arrays import PackedArray
from sparsecode.specs import Spec

__all__ = ["Phase", "Series", "Training"]


class Series(Spec, tag="series"):
    """One logged quantity at every point at which it was logged: `steps` [n] (i4), `values` [n] (f8; NaN: not defined then).

    `key` is its name in `metrics.jsonl`, `kind` whether it was measured on training batches or on validation samples; series of one
    `group` belong into one plot, whose title is their `label`; `line` tells them apart there ("training", "validation, encode"). `definition` is a key of
    `Document.definitions`, "" if there is none. `positive`: all values are above 0, so that a logarithmic axis is possible.
    `better`: "higher", "lower", or "" where neither is better by itself.
    """

    key: str
    kind: Literal["train", "validation"]
    label: str
    group: str
    line: str
    unit: str
    definition: str
    positive: bool
    better: Literal["higher", "lower", ""]
    steps: PackedArray
    values: PackedArray


class Phase(Spec, tag="phase"):
    """A stretch of training, from step `first` to step `last`, in which `what` (a path in the config) changes by plan.

    `kind`: schedule (a number that moves from `start` to `stop`), extension (a finished run trained further), stop (an early end).
    `text` says it in words.
    """

    kind: Literal["schedule", "extension", "stop"]
    what: str
    text: str
    first: float
    last: float
    start: float | None = None
    stop: float | None = None


class Training(Spec, tag="training"):
    """`step` of `total` steps, of which `steps_per_epoch` make an epoch; `series` in the order in which they should be shown.

    `selected_by` is the validation value by which the model was chosen ("last": the latest one), `selected_step` the step of its best
    value (None if it is not known).
    """

    step: int
    total: int
    steps_per_epoch: float
    selected_by: str
    selected_step: int | None
    series: tuple[Series, ...]
    phases: tuple[Phase, ...]
