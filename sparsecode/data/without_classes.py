"""Training data that lack some classes, for the detection of anomalies."""

from __future__ import annotations

from typing import Annotated

import torch
from msgspec import Meta

from sparsecode.data.class_tasks import Labelled
from sparsecode.data.splits import Split, Splits
from sparsecode.specs import Spec

__all__ = ["WithoutClasses"]


class WithoutClasses(Spec, tag="without_classes"):
    """The splits of `source`, training and validation samples of `classes` left out; the test split keeps all.

    Raises ValueError for classes that training samples do not have, and if none would be left.
    """

    source: Labelled
    classes: Annotated[tuple[int, ...], Meta(min_length=1, description="classes that training does not see")]

    def load(self) -> Splits:
        splits = self.source.load()
        assert splits.train.label is not None  # all of `Labelled` have labels
        known = set(splits.train.label.unique().tolist())
        if wrong := [c for c in self.classes if c not in known]:
            raise ValueError(
                f"without_classes.classes has {wrong[0]}; choose from {', '.join(str(int(c)) for c in sorted(known))}"
            )
        if known <= set(self.classes):
            raise ValueError("without_classes.classes are all classes of the data; leave at least one for training")
        return splits._replace(train=self._rest(splits.train), valid=self._rest(splits.valid))

    def _rest(self, split: Split) -> Split:
        assert split.label is not None
        return split.take((~torch.isin(split.label, torch.tensor(self.classes))).nonzero()[:, 0])
