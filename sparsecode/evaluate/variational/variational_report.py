"""Report on a variational model's codes on a split: bounds, gates and disentanglement."""

from __future__ import annotations

import torch

from sparsecode.data.splits import Factor, Split
from sparsecode.evaluate.base import in_parts
from sparsecode.evaluate.variational.disentanglement import Disentanglement, disentanglement
from sparsecode.evaluate.variational.elbo import Bound, bounds
from sparsecode.evaluate.variational.gate_use import GateUse, gate_use
from sparsecode.evaluate.variational.iwae import Importance, importance_bound
from sparsecode.models.variational import VariationalModel
from sparsecode.specs import Spec

__all__ = ["Latents", "latents"]


class Latents(Spec, tag="latents"):
    """`bounds` by kind of gate and `use` on the whole split, `importance` and `disentanglement` on samples spread over it.

    `disentanglement` is that of the posterior's mean (gamma mu); None where factors are not known.
    """

    split: str
    bounds: dict[str, Bound]
    importance: Importance
    use: GateUse
    disentanglement: Disentanglement | None = None


@torch.no_grad()
def latents(
    model: VariationalModel,
    split: Split,
    data_range: float,
    factors: tuple[Factor, ...] = (),
    name: str = "test",
    samples: int = 2000,
    draws: int = 50,
    seed: int = 0,
) -> Latents:
    """Bounds, use of the codes and, where the split has `factors`, scores of disentanglement; a function of the seed.

    The importance-weighted bound, with so many `draws` of each sample, and the scores take at most `samples` samples.
    """
    some = split.take(torch.linspace(0, split.n - 1, min(samples, split.n)).long())
    scored = None
    if some.factors is not None and model.spec.n_code > 1 and len(factors) > 1:
        z = in_parts(lambda x: model.mean_code(x.to(next(model.parameters()))), some.x, model.spec.n_code)
        scored = disentanglement(z, some.factors, factors, seed)
    return Latents(
        split=name,
        bounds=bounds(model, split, seed),
        importance=importance_bound(model, some, draws, seed),
        use=gate_use(model, split, data_range, seed),
        disentanglement=scored,
    )
