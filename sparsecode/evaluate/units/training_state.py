"""Present values of what schedules or training change: noise, numbers of active codes, gates, inhibition."""

from __future__ import annotations

from typing import Annotated

import torch
from msgspec import Meta

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import WHOLE, KnownMeasure, MeasureSettings, Result
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_activation
from sparsecode.nn.activations import ActivationModule
from sparsecode.nn.corruptions import Corruptor
from sparsecode.specs import Count

__all__ = ["StateValues", "TrainingState"]


class StateValues(Result, tag="state_values"):
    """Present `values` by name, those that the model has.

    - `sigma`: standard deviation of the noise in model space at the next training step, of noise with a schedule.
    - `k`: number of active codes per sample, of the latest step, or learned; of `sampled_k` at the mean of log k, whose standard
      deviation is `k_deviation`. `threshold`: of `batch_topk`. `beta`: of `softmax`.
    - `gate`: mean over units of g_j of `gaba_switch`; `gate_inhibits`: share of units with g_j > 0.
    - `inhibition`: mean, over samples and units, of what is subtracted from the pre-activations: I of `subtract_topk`, g_j I of
      `gaba_switch`, m_0 - m_T of `inhibition`.
    """

    values: dict[str, float]

    def means(self) -> dict[str, float]:
        return dict(self.values)


class TrainingState(KnownMeasure, tag="training_state"):
    """What a schedule or training changes in the noise and in how pre-activations become codes: `StateValues`."""

    samples: Annotated[Count, Meta(description="number of samples behind the inhibition")] = 500

    @torch.no_grad()
    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, StateValues]:
        values: dict[str, float] = {}
        corruption = getattr(model, "corruption", None)
        if isinstance(corruption, Corruptor) and corruption.anneals:
            values["sigma"] = corruption.sigma
        if has_activation(model) and type(model.activation).present is not ActivationModule.present:  # most have none
            values |= model.activation.present(model.pre_activations(split.x[: self.samples]))
        return {WHOLE: StateValues(values)} if values else {}
