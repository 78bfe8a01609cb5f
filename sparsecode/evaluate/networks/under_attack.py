"""Errors and accuracy under the adversarial changes of `PGD`, computed without another package, in training too."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import torch
from msgspec import Meta

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import WHOLE, KnownMeasure, MeasureSettings, Result
from sparsecode.losses.task import Classify
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_activation
from sparsecode.nn.adversarial import PGD
from sparsecode.ops.rng import generator
from sparsecode.records import Batch
from sparsecode.schedules import at
from sparsecode.specs import Count

__all__ = ["Attacked", "UnderAttack"]

BLOCK = 250  # samples at a time, each block with a start of its own


class Attacked(Result, tag="attacked"):
    """The task's error (cross-entropy in nats, or squared error in model space) of `n` samples as they are and attacked, and the
    share that is classified right; None for models that do not classify.
    """

    n: int
    eps: float
    clean_error: float
    attacked_error: float
    clean_accuracy: float | None
    attacked_accuracy: float | None


class UnderAttack(KnownMeasure, tag="under_attack"):
    """`Attacked`: what the gradients of the network itself find within `attack.eps`, with its noise off. Not in evaluations by default.

    Values stay in the range of the samples, if `attack.clip`. Not for models with a projection. A classifier is compared by accuracy; an autoencoder by its error
    against the clean sample. Source: the "Adv_Robustness" experiments of the first code of Bricken et al., ICML 2023: PGD with 10
    steps at each validation. `sparsecode attack` has stronger attacks, and averages over noise.
    """

    attack: PGD = PGD(steps=10, clip=True)
    samples: Annotated[Count, Meta(description="at most so many")] = 1000

    def applies(self, model: AbstractSparseModel) -> bool:
        return has_activation(model) and not model.spec.projection

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, Attacked]:
        assert has_activation(model)
        split, eps, task = split.take(slice(self.samples)), at(self.attack.eps, 0), model.spec.task
        if (model.n_classes and split.label is None) or (model.predict is not None and split.target is None):
            return {}
        low, high = (float(value) for value in model.normalise(split.x).aminmax())
        errors, hits = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        for start, part in split.chunks(BLOCK):
            batch, x = Batch(part.x, part.target, part.label), model.normalise(part.x)
            error = partial(model.error, batch=batch)
            worst = self.attack.attack(x, error, eps, (low, high), generator(seed, "under_attack", start))
            with torch.no_grad():
                errors += torch.stack([error(rows).double().sum() for rows in (x, worst)]).cpu()
                if isinstance(task, Classify) and part.label is not None:
                    hits += torch.stack(
                        [task.hits(model.answer(r), part.label).double().sum() for r in (x, worst)]
                    ).cpu()
        right, still_right = (hits / split.n).tolist() if isinstance(task, Classify) else (None, None)
        clean, attacked = (errors / split.n).tolist()
        return {WHOLE: Attacked(split.n, eps, clean, attacked, right, still_right)}
