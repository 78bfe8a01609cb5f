"""Fused training steps of variational models: the gradient of the bound and Adam's update in one pass, where faster."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.fused_elbo import MOST, BoundUpdates, ElboSums, Plan
from sparsecode.models.variational import VariationalModel
from sparsecode.nn.gates import SigmoidGate
from sparsecode.nn.perceptron import PerceptronModule
from sparsecode.nn.posteriors import SpikeSlab
from sparsecode.nn.priors import SpikeSlabPriorModule
from sparsecode.ops.rng import Stream, drawn_rows
from sparsecode.records import AdamStep, Batch, Loss
from sparsecode.schedules import at

__all__ = ["MomentsOf", "Update", "bound_updates"]

Update = Callable[[Batch, int, Stream, AdamStep], Loss]
MomentsOf = Callable[[Tensor], tuple[Tensor, Tensor]]  # of a parameter: those of its gradients and of their squares


def bound_updates(model: AbstractSparseModel, n: int, moments: MomentsOf) -> Update | None:
    """`loss`, its gradient and Adam's step in one pass for batches of n; None for models without such a pass.

    In float32 on CPUs, all weights trained, in small batches.
    """
    if not isinstance(model, VariationalModel) or not model.fused or n > MOST:
        return None
    if not all(_plain(param) and param.requires_grad for param in model.parameters()):
        return None
    assert isinstance(model.encoder, PerceptronModule)
    assert isinstance(model.decoder, PerceptronModule)
    step_down = BoundUpdates(n, model.encoder.layers(), model.decoder.layers(), moments)

    def update(batch: Batch, step: int, rng: Stream, adam: AdamStep) -> Loss:
        x, noise = model.observed(batch, step, rng), rng("posterior")
        like = x.new_empty(n, 0)
        normal, uniform = drawn_rows(like, (model.n_code,), noise, "normal"), None
        if isinstance(model.spec.posterior, SpikeSlab):
            uniform = drawn_rows(like, (model.n_code,), noise, "uniform")
        plan = _plan(model, step)
        return _loss(model, step_down(x, normal, uniform, plan, adam), plan, step)

    return update


def _plan(model: VariationalModel, step: int) -> Plan:
    spec, posterior, slab_weight = model.spec, model.spec.posterior, at(model.spec.slab_weight, step)
    if not isinstance(posterior, SpikeSlab):
        return Plan(slab_weight)
    assert isinstance(posterior.gate, SigmoidGate)
    assert isinstance(model.prior, SpikeSlabPriorModule)
    return Plan(
        slab_weight,
        spike_weight=at(spec.spike_weight, step),
        negrelu=posterior.spike == "negrelu",
        slope=at(posterior.gate.slope, step),
        warmth=at(posterior.warm_up, step),
        prior=float(model.prior.logit),
    )


def _loss(model: VariationalModel, sums: ElboSums, plan: Plan, step: int) -> Loss:
    """The result of `VariationalModel.loss`."""
    parts = {"recon": sums.recon, "kl_slab": plan.slab_weight * sums.slab}
    stats = {"elbo": -(sums.recon + sums.slab + sums.spike)}
    scheduled = {"slab_weight": plan.slab_weight}
    if plan.slope is not None:
        parts["kl_spike"] = plan.spike_weight * sums.spike
        stats |= {"l0": sums.on, "gates": sums.gates}
        scheduled["spike_weight"] = plan.spike_weight
    stats |= scheduled | model.spec.posterior.settings(step)
    values = {"total": sums.total(plan)} | parts | stats
    total, *rest = torch.tensor([*values.values()], dtype=torch.float64).unbind()
    named = dict(zip([*parts, *stats], rest, strict=True))
    return Loss(total, {name: named[name] for name in parts}, {name: named[name] for name in stats})


def _plain(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
