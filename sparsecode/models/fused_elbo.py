"""The evidence lower bound of perceptrons with a hand-written gradient and Adam's update: a faster equivalent of the eager step.

In float32 on CPUs. `sparsecode.kernels.elbo_step` does the work; it is imported on use, because numba is slow to load.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsecode.nn.gates import SigmoidGate
from sparsecode.nn.likelihoods import Bernoulli
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.posteriors import Gaussian, SpikeSlab
from sparsecode.nn.priors import SpikeSlabPrior, StandardNormal
from sparsecode.records import AdamStep
from sparsecode.specs import Spec

__all__ = ["MOST", "BoundUpdates", "ElboSums", "Plan", "fuses"]

MOST = 256  # samples of a batch: with more, a step is limited by arithmetic, and products that repack are as good
MEMBERS = 8  # threads, of which each has its part of every layer
ENDLESS = 2**62


AdamMoments = tuple[Tensor, Tensor]


class Plan(NamedTuple):
    """Constants of one step: weights of the divergences; for a spike-and-slab posterior also the parameters of its gates.

    `slope` None is a Gaussian posterior; `prior` is the logit of alpha.
    """

    slab_weight: float
    spike_weight: float = 0.0
    negrelu: bool = False
    slope: float | None = None
    warmth: float = 1.0
    prior: float = 0.0


class ElboSums(NamedTuple):
    """Per sample, mean over the batch, unweighted: nats, and for spike-and-slab posteriors gates above 1/2 and all gates."""

    recon: float
    slab: float
    spike: float
    on: float
    gates: float

    def total(self, plan: Plan) -> float:
        """The loss, in nats per sample."""
        return self.recon + plan.slab_weight * self.slab + plan.spike_weight * self.spike


def fuses(posterior: Spec, prior: Spec, likelihood: Spec, net: Spec, free_bits: float) -> bool:
    """Whether such a model has a hand-written gradient (in float32, on CPUs, in small batches)."""
    codes = (isinstance(posterior, Gaussian) and isinstance(prior, StandardNormal)) or (
        isinstance(posterior, SpikeSlab)
        and isinstance(posterior.gate, SigmoidGate)
        and isinstance(prior, SpikeSlabPrior)
        and not prior.learned
    )
    relu = isinstance(net, Perceptron) and net.activation == "relu"
    return codes and relu and isinstance(likelihood, Bernoulli) and not free_bits


class BoundUpdates:
    """Steps of Adam on the negative bound, which update weights and `moments` in place.

    For batches of n. The nets' weights and biases come in turn, layer by layer, in float32 on the CPU.
    """

    def __init__(
        self, n: int, encoder: Sequence[Tensor], decoder: Sequence[Tensor], moments: Callable[[Tensor], AdamMoments]
    ) -> None:
        from sparsecode.kernels.barrier import CAN_WAIT, signals
        from sparsecode.kernels.elbo import ElboObjective
        from sparsecode.kernels.elbo_step import Layer, Orders, steps
        from sparsecode.kernels.small_gemm import BLOCK, row_length
        from sparsecode.kernels.threads import aligned

        def zeros(*shape: int) -> Any:
            return aligned(shape, np.dtype(np.float32), np.zeros(shape, np.float32))

        self._team = team = min(torch.get_num_threads(), MEMBERS) if CAN_WAIT else 1
        width, weights = row_length(n), [*encoder, *decoder]
        kept_alive: list[Any] = []  # what the layers hold addresses of
        layers: list[Layer] = []
        for weight, bias in zip(weights[::2], weights[1::2], strict=True):
            m, k = weight.shape
            first, second = moments(weight)
            bias_first, bias_second = moments(bias)
            given = [weight, bias, first, second, bias_first, bias_second]
            assert all(tensor.is_contiguous() and tensor.dtype == torch.float32 for tensor in given)
            shapes = (n, k), (k, width), (m, width), (team, k, width), (team, BLOCK, k)
            scratch = [zeros(*shape) for shape in shapes]
            layers.append(Layer(m, k, *(t.data_ptr() for t in given), *(a.ctypes.data for a in scratch)))
            kept_alive += [*given, *scratch]
        n_out, n_code = layers[len(encoder) // 2 - 1].m, layers[len(encoder) // 2].k
        self._kept_alive, self._signals = kept_alive, signals(team)
        self._orders = Orders(
            x=zeros(n, layers[0].k),
            normal=zeros(n, n_code),
            uniform=zeros(n, n_code),
            kind=np.zeros(1, np.int64),
            numbers=zeros(len(ElboObjective._fields) + len(AdamStep._fields)),
            noise=zeros(2, n_code, width),
            scale=zeros(n_out, width),
            push=zeros(n_out, width),
            by_bias=zeros(team, BLOCK),
            sums=np.zeros((team, len(ElboSums._fields))),
        )
        self._pool = ThreadPoolExecutor(team - 1, "bound") if team > 1 else None
        self._rest = self._signals, np.array(layers, np.int64), len(encoder) // 2, self._orders
        steps(0, team, *self._rest, 0, 0)  # no step, but compiled, while nobody waits for it

    def __call__(self, x: Tensor, normal: Tensor, uniform: Tensor | None, plan: Plan, adam: AdamStep) -> ElboSums:
        """The parts of the loss before the update; the update is skipped if one is not finite.

        x [B, f] and noise [B, K].
        """
        from sparsecode.kernels.barrier import asleep, call
        from sparsecode.kernels.elbo import LOGIT, NEGRELU, NORMAL, ElboObjective
        from sparsecode.kernels.elbo_step import steps

        n, orders = len(x), self._orders
        kind, objective = NORMAL, ElboObjective(plan.slab_weight / n)
        if plan.slope is not None:
            kind = NEGRELU if plan.negrelu else LOGIT
            objective = ElboObjective(objective.slab, plan.spike_weight / n, plan.slope, plan.warmth, plan.prior)
        orders.x[...], orders.normal[...] = x.numpy(), normal.numpy()
        if uniform is not None:
            orders.uniform[...] = uniform.numpy()
        orders.kind[0], orders.numbers[...] = kind, (*objective, *adam)
        done = call(self._signals)
        if self._pool is not None:
            for member in range(1, self._team):
                if asleep(self._signals, member):
                    self._pool.submit(steps, member, self._team, *self._rest, done, ENDLESS)
        steps(0, self._team, *self._rest, done, 1)
        return ElboSums(*(sum(parts) / n for parts in zip(*orders.sums.tolist(), strict=True)))
