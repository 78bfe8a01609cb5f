"""The evidence lower bound of perceptrons with a hand-written derivative: the eager one's numbers in a tenth of its operations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sparsecode.nn.gates import SigmoidGate
from sparsecode.nn.likelihoods import Bernoulli
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.posteriors import Gaussian, SpikeSlab
from sparsecode.nn.priors import SpikeSlabPrior, StandardNormal
from sparsecode.specs import Spec

__all__ = ["Plan", "Sums", "fused_bound", "fuses"]


class Plan(NamedTuple):
    """What stands fixed in one step: `layers` of the encoder; of a spike-and-slab posterior also how its gates work.

    `slope` None is a Gaussian posterior; `prior` is the logit of alpha.
    """

    layers: int
    slab_weight: float
    spike_weight: float = 0.0
    negrelu: bool = False
    slope: float | None = None
    warmth: float = 1.0
    prior: float = 0.0


class Sums(NamedTuple):
    """Per sample, mean over the batch, unweighted: nats, and for spike-and-slab posteriors gates above 1/2 and all gates."""

    recon: float
    slab: float
    spike: float = 0.0
    on: float = 0.0
    gates: float = 0.0


def fuses(posterior: Spec, prior: Spec, likelihood: Spec, net: Spec, free_bits: float) -> bool:
    """Whether there is a hand-written derivative for such a model (in float32, on CPUs)."""
    codes = (isinstance(posterior, Gaussian) and isinstance(prior, StandardNormal)) or (
        isinstance(posterior, SpikeSlab)
        and isinstance(posterior.gate, SigmoidGate)
        and isinstance(prior, SpikeSlabPrior)
        and not prior.learned
    )
    relu = isinstance(net, Perceptron) and net.activation == "relu"
    return codes and relu and isinstance(likelihood, Bernoulli) and not free_bits


def fused_bound(
    x: Tensor, normal: Tensor, uniform: Tensor | None, plan: Plan, encoder: list[Tensor], decoder: list[Tensor]
) -> tuple[Tensor, Sums]:
    """The training loss, to be differentiated by the weights, and what it is made of.

    x [B, f] and noise [B, K] in float32 on the CPU; the nets' weights and biases in turn, layer by layer.
    """
    made: list[Sums] = []
    total: Any = _Bound.apply(x, normal, uniform, plan, made, *encoder, *decoder)
    return total, made[0]


class _Bound(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, normal: Tensor, uniform: Tensor | None, plan: Plan, made: list[Sums], *weights: Tensor
    ) -> Tensor:
        from sparsecode.kernels.bound import bernoulli  # numba is slow to import

        n = len(x)
        x = x.contiguous()
        below = _run(x, weights[: 2 * plan.layers])
        z, scale, push, sums = _codes(below.pop(), normal, uniform, plan)
        above = _run(z, weights[2 * plan.layers :])
        logits = above.pop()
        held = torch.abs(logits).neg_().exp_()
        nll = bernoulli(logits.numpy().ravel(), x.numpy().ravel(), held.numpy().ravel(), np.float32(1 / n))
        made.append(Sums(nll / n, *(value / n for value in sums)))
        ctx.plan = plan
        ctx.save_for_backward(scale, push, held, *below, *above, *weights)
        mean = made[0]
        total = mean.recon + plan.slab_weight * mean.slab + plan.spike_weight * mean.spike
        return torch.tensor(total, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        scale, push, held, *rest = ctx.saved_tensors
        half = len(rest) // 3
        inputs, weights, layers = rest[:half], rest[half:], ctx.plan.layers
        (grad,) = grads
        by_z, above = _back(held * grad, inputs[layers:], weights[2 * layers :])
        by_out = torch.addcmul(push * grad, scale, (by_z @ weights[2 * layers])[:, None]).flatten(1)
        _, below = _back(by_out, inputs[:layers], weights[: 2 * layers])
        return (None, None, None, None, None, *below, *above)


def _run(x: Tensor, weights: tuple[Tensor, ...]) -> list[Tensor]:
    """What each layer takes, and what the last puts out."""
    values = [x]
    for i in range(0, len(weights), 2):
        out = torch.addmm(weights[i + 1], values[-1], weights[i].T)
        values.append(out if i == len(weights) - 2 else out.relu_())
    return values


def _back(grad: Tensor, inputs: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """From the derivative by what the last layer puts out to that by what the first does, and those by the weights."""
    found: list[Tensor] = []
    for i in reversed(range(len(inputs))):
        found[:0] = [grad.T @ inputs[i], grad.sum(dim=0)]
        if i:
            grad = torch.ops.aten.threshold_backward(grad @ weights[2 * i], inputs[i], 0)
    return grad, found


def _codes(
    out: Tensor, normal: Tensor, uniform: Tensor | None, plan: Plan
) -> tuple[Tensor, Tensor, Tensor, tuple[float, ...]]:
    """z; the two parts of the derivative by `out`; sums over batch and codes."""
    from sparsecode.kernels.bound import gates, gaussian, spike_slab

    n, k = normal.shape
    z, scale = torch.empty_like(normal), torch.empty(n, out.shape[1] // k, k, dtype=out.dtype)
    push = torch.empty_like(scale)
    logvar = out[:, k : 2 * k]
    deviation, slab_weight = (0.5 * logvar).exp_(), np.float32(plan.slab_weight / n)
    if uniform is None or plan.slope is None:
        arrays = (z.numpy(), scale.numpy(), push.numpy())
        slabs = gaussian(out.numpy(), deviation.numpy(), normal.numpy(), slab_weight, arrays[0], arrays[1], arrays[2])
        return z, scale, push, (slabs,)
    slope, warmth, prior = np.float32(plan.slope), np.float32(plan.warmth), np.float32(plan.prior)
    small = out[:, 2 * k :].abs().neg_().exp_()
    exponent, inside = torch.empty_like(normal), torch.empty_like(normal)
    gates(out.numpy(), small.numpy(), uniform.numpy(), plan.negrelu, slope, exponent.numpy(), inside.numpy())
    draws = normal * (deviation if plan.warmth == 1 else (0.5 * plan.warmth * logvar).exp_())
    exponent.exp_()
    inside.log_()
    sums = spike_slab(
        out.numpy(), small.numpy(), deviation.numpy(), draws.numpy(), exponent.numpy(), inside.numpy(),
        plan.negrelu, slope, warmth, prior, slab_weight, np.float32(plan.spike_weight / n),
        z.numpy(), scale.numpy(), push.numpy(),
    )  # fmt: skip
    return z, scale, push, sums
