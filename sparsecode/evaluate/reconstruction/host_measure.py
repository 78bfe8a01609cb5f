"""Loss recovered as a measure: the language model that the data are from, run on the documents of a split."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor

from sparsecode.data.recorded_host import RecordedHost
from sparsecode.data.splits import Split
from sparsecode.data.text import TokenBatch
from sparsecode.data.text_host import TextHost
from sparsecode.evaluate.base import KnownMeasure, MeasureSettings
from sparsecode.evaluate.reconstruction.host_loss import HostBatch, RecoveredLoss, recovered_losses
from sparsecode.models.base import AbstractSparseModel
from sparsecode.specs import Count, Positive

__all__ = ["LossRecovered"]


class LossRecovered(KnownMeasure, tag="loss_recovered"):
    """Cross-entropy and KL of the language model with activations replaced by reconstructions: see `RecoveredLoss`.

    The model runs on the first `spans` spans of the text whose documents are in the split, for data that know their model
    (`Splits.host`): shards of `sparsecode extract`. A model whose folder or text is not there any more, or with more than `gigabytes` of
    weights, is left out with a warning that says so. Computed after training wherever the data know their model, named or not.
    """

    spans: Annotated[Count, Meta(description="spans of text at most")] = 64
    batch_size: Annotated[Count, Meta(description="spans at a time")] = 16
    gigabytes: Annotated[Positive, Meta(description="of the model's weights at most")] = 2.0

    def applies(self, model: AbstractSparseModel) -> bool:
        """Models that reconstruct their samples, or predict a target."""
        return model.reconstructs or model.target_shape is not None

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, RecoveredLoss]:
        recorded = settings.host
        if recorded is None or split.tokens is None:
            return {}
        problem = recorded.missing(self.gigabytes)
        if problem is None:
            try:
                return self._losses(recorded, model, split)
            except (OSError, ValueError, ImportError) as error:
                problem = str(error)
        warnings.warn(f"loss recovered is left out: {problem}; sparsecode recovered measures it", stacklevel=2)
        return {}

    def _losses(self, recorded: RecordedHost, model: AbstractSparseModel, split: Split) -> dict[str, RecoveredLoss]:
        host = recorded.run(str(next(model.parameters()).device))
        assert split.tokens is not None
        groups = split.tokens.group.unique()
        batches = list(self._batches(host, recorded, groups))
        if not batches:
            raise ValueError(f"{recorded.text}: has no document of this split any more")
        return recovered_losses(host.network, model, host.hook_points, lambda: batches)

    def _batches(self, host: TextHost, recorded: RecordedHost, groups: Tensor) -> Iterator[HostBatch]:
        """The first spans of these groups; those beside them in a batch are left out."""
        wanted = self.spans
        with closing(host.batches(Path(recorded.text), self.batch_size, recorded.column)) as stream:
            for batch in stream:
                rows = torch.isin(batch.group, groups).nonzero()[:wanted, 0]
                if len(rows):
                    wanted -= len(rows)
                    part = _rows(batch, rows)
                    yield HostBatch(host.model.inputs_of(part), part.ids, part.real, host.choice.chosen(part)[0])
                if not wanted:
                    return


def _rows(batch: TokenBatch, rows: Tensor) -> TokenBatch:
    inputs = {name: value[rows] for name, value in batch.inputs.items()}
    return TokenBatch(inputs, *(value[rows] for value in batch[1:]))
