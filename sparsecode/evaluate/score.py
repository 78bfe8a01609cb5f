"""A coder's scores on a split: reconstruction, sparsity, use of the codes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparsecode.data.splits import Split
from sparsecode.evaluate.metrics import CodeUse, ExplainedVariance, l0, psnr
from sparsecode.models.base import AbstractSparseModel
from sparsecode.specs import Spec

__all__ = ["CHUNK", "Score", "score"]

CHUNK = 1000  # samples coded together


class Score(Spec, tag="score"):
    """Means over the samples of a split; `theta` is the level above which a code counts as active."""

    n: int
    psnr: float
    data_range: float
    explained_variance: float
    objective: float
    l0: float
    theta: float
    active_fraction: float
    dead: int
    always_on: int
    n_code: int


@torch.no_grad()
def score(
    model: AbstractSparseModel,
    coder: Callable[[Tensor], Tensor],
    split: Split,
    data_range: float,
    theta: float = 0.0,
) -> Score:
    """Score one of the model's coders (see `AbstractSparseModel.coders`) on a split, in data space."""
    variance = ExplainedVariance()
    use: CodeUse | None = None
    quality, objective, count = 0.0, 0.0, 0.0
    for start in range(0, split.n, CHUNK):
        x = split.x[start : start + CHUNK]
        z = coder(x)
        y = model.denormalise(model.decode(z))
        use = CodeUse(z.shape[1], theta) if use is None else use
        use.update(z)
        variance.update(x, y)
        quality += float(psnr(x, y, data_range).double().sum())
        objective += float(model.energy(x, z).double().sum())
        count += float(l0(z, theta).double().sum())
    if use is None:
        raise ValueError("split holds no samples; expected at least one")
    usage, n = use.result(), split.n
    return Score(
        n=n,
        psnr=quality / n,
        data_range=data_range,
        explained_variance=variance.result(),
        objective=objective / n,
        l0=count / n,
        theta=theta,
        active_fraction=count / n / len(usage.frequency),
        dead=usage.dead,
        always_on=usage.always_on,
        n_code=len(usage.frequency),
    )
