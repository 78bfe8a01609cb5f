"""The KL divergence of mean activations from a target mean: a sparsity term that couples a batch."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.losses.term import Forward
from sparsecode.losses.weighted import Weighted, WeightedTerm
from sparsecode.ops.collective import mean_over_ranks, world_size

__all__ = ["KL", "KLTerm", "kl_divergence"]

TINY = 1e-6  # mean activations are kept this far from 0 and 1, where the KL divergence is infinite


class KL(Weighted, tag="kl"):
    """weight * sum_j KL(rho | rho_j) = weight * sum_j rho log(rho / rho_j) + (1 - rho) log((1 - rho) / (1 - rho_j)), rho_j = mean of z_j.

    For codes in [0, 1]; 0 where every code's mean is rho, which many small activations meet as well as few large ones.
    rho_j is the batch's mean; with `decay` a running mean of batches; with `window` the mean over the last whole window
    of that many samples (the training set's size: the whole set). Then the value is that of the longer memory, and the
    gradient flows through the batch, in full size. Source: Ng, "Sparse autoencoder", CS294A lecture notes, 2011.
    """

    rho: Annotated[float, Meta(gt=0, lt=1, description="target mean of every code")] = 0.05
    decay: Annotated[float, Meta(ge=0, lt=1, description="of the running mean, per step; 0: the batch alone")] = 0.0
    window: Annotated[int, Meta(ge=0, description="samples behind the mean; 0: see decay")] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay and self.window:
            raise ValueError(f"KL: decay is {self.decay} and window {self.window}; expected one of them")

    @property
    def needs(self) -> dict[str, str]:
        return {"bounded": "", **super().needs}

    def build(self, n_code: int) -> KLTerm:
        return KLTerm(self, n_code)


def kl_divergence(rho: float, mean: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """KL(rho | mean_j) of two Bernoulli variables in nats, mean clamped to [1e-6, 1 - 1e-6] to keep it finite."""
    inside = mean.clamp(TINY, 1 - TINY)
    return rho * (math.log(rho) - inside.log()) + (1 - rho) * (math.log(1 - rho) - torch.log1p(-inside))


class KLTerm(WeightedTerm):
    """The module of `KL`; state: `mean` [n_code] of earlier batches, and the sums of the current window."""

    spec: KL

    def __init__(self, spec: KL, n_code: int) -> None:
        super().__init__(spec)
        self.register_buffer("mean", torch.full((n_code,), spec.rho))
        self.register_buffer("total", torch.zeros(n_code, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.mean: Tensor
        self.total: Tensor
        self.count: Tensor
        self.seen: Tensor

    def cost(self, forward: Forward) -> Tensor:
        return self.divergence(forward.z, forward.training)

    def divergence(self, z: Float[Tensor, "b k"], training: bool) -> Tensor:
        """sum_j KL(rho | rho_j) of a batch; training batches update the state."""
        batch = z.mean(dim=0)
        with torch.no_grad():
            mean = mean_over_ranks(batch.detach())
            if self.spec.decay:
                decay = self.spec.decay if int(self.seen) else 0.0
                mean = decay * self.mean + (1 - decay) * mean
            elif self.spec.window and int(self.seen):
                mean = self.mean.clone()
            if training:
                self._remember_(batch, mean, len(z) * world_size())
        # the value of the running mean, with the gradient of the batch mean
        return kl_divergence(self.spec.rho, mean + batch - batch.detach()).sum()

    def _remember_(self, batch: Tensor, mean: Tensor, n: int) -> None:
        if not self.spec.window:
            self.mean.copy_(mean)
            self.seen += 1
            return
        self.total += mean_over_ranks(batch.detach()).double() * n
        self.count += n
        if int(self.count) >= self.spec.window:
            self.mean.copy_(self.total / self.count)
            self.total.zero_()
            self.count.zero_()
            self.seen += 1
