"""A network trained for a moment on noisy digits, without the runner."""

from functools import cache
from typing import Any

import msgspec
import torch

from sparsecode.data import Digits, Splits
from sparsecode.models.amortised import AmortisedModel
from sparsecode.ops.rng import Stream
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch


@cache
def digits() -> Splits:
    return Digits().load()


def noisy_network(steps: int, **settings: Any) -> AmortisedModel:
    """100 rectified units of `noise-digits` after some steps of 200 samples; `settings` replace fields of the model's spec."""
    spec = msgspec.structs.replace(RECIPES["noise-digits"]().model, n_code=100, arithmetic="dense", **settings)
    x = digits().train.x
    model = spec.build(tuple(x.shape[1:]), 0)
    assert isinstance(model, AmortisedModel)
    model.initialise_(x)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(steps):
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(step))[:200]
        adam.zero_grad()
        model.loss(Batch(x[rows]), step, Stream(0, step)).total.backward()
        adam.step()
        model.constrain_()
    return model.eval()


@cache
def trained_network() -> AmortisedModel:
    return noisy_network(150)
