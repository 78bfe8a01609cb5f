"""The effect on L0 and explained variance of calibrating thresholds after training."""

from __future__ import annotations

import math

import torch

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import rows_together
from sparsecode.evaluate.metrics import ExplainedVariance
from sparsecode.evaluate.reconstruction.score import wanted_of
from sparsecode.losses.target_l0 import TOLERANCE, remedy
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import trained_l0
from sparsecode.specs import Spec

__all__ = ["Calibration", "calibrated_", "l0_and_variance"]


class Calibration(Spec, tag="calibration"):
    """L0 (mean count of codes other than 0) and explained variance of `n` validation samples before and after calibration.

    `wanted` is the L0 that thresholds were moved to, `trained` its running mean on training samples at the end of training
    (None without a `target_l0`). Explained variance is None for models that classify and for data that do not vary.
    """

    n: int
    wanted: float
    l0_before: float
    l0_after: float
    explained_variance_before: float | None = None
    explained_variance_after: float | None = None
    trained: float | None = None

    def line(self) -> str:
        """In words."""
        moved = (
            f"calibration moved thresholds from L0 {self.l0_before:.4g} to {self.l0_after:.4g} ({self.wanted:g} wanted)"
        )
        before, after = self.explained_variance_before, self.explained_variance_after
        if before is not None and after is not None:
            moved += f", and explained variance from {before:.3f} to {after:.3f}"
        return f"{moved}, on {self.n} validation samples"

    def warnings(self) -> list[str]:
        """A line if L0 before calibration was more than 5 % off the wanted one."""
        off = self.l0_before / self.wanted - 1
        if abs(off) <= TOLERANCE:
            return []
        trained = self.wanted if self.trained is None else self.trained
        return [f"L0 before calibration was {off:+.0%} off: {self.line()}; {remedy(trained, self.wanted)}"]


@torch.no_grad()
def calibrated_(model: AbstractSparseModel, split: Split) -> Calibration | None:
    """Calibrate a model by samples and report what changed; None if there was nothing to calibrate."""
    before = l0_and_variance(model, split)
    wanted = model.calibrate_(split.x)
    if wanted is None:
        return None
    after = l0_and_variance(model, split)
    return Calibration(split.n, wanted, before[0], after[0], before[1], after[1], trained_l0(model))


@torch.no_grad()
def l0_and_variance(model: AbstractSparseModel, split: Split) -> tuple[float, float | None]:
    """The mean count of codes other than 0, and the explained variance (None where it is not defined), of samples of a split."""
    variance, count = ExplainedVariance(), 0.0
    for _, part in split.chunks(rows_together(model.n_code)):
        z = model.encode(part.x)
        count += float((z != 0).sum())
        if model.n_classes is None:
            variance.update(wanted_of(model, part), model.output(part.x, z))
    explained = variance.result()
    return count / split.n, None if math.isnan(explained) else explained
