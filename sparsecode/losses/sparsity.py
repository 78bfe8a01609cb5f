"""Penalties that make an encoder's codes sparse: functions of a training step's `Code`.

`build(n_code)` gives a module whose `forward(code, moving)` is the penalty of each sample [B], or one number for the
batch (KL); it moves its state, if it has any, only if `moving`.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.ops.collective import mean_over_ranks, world_size
from sparsecode.penalties import L1, LogSum
from sparsecode.specs import Positive, Spec
from sparsecode.types import Code

__all__ = ["KL", "L0", "Hoyer", "Sparsity", "SparsityModule", "Tanh", "build_sparsity", "kl_divergence"]

TINY = 1e-6  # mean activations are kept this far from 0 and 1, where the KL divergence is infinite


class Tanh(Spec, tag="tanh"):
    """sum_j tanh(|z_j| / scale): |z_j| / scale for small codes, 1 for large ones, so that it does not shrink those.

    Source: Jermyn et al., "Tanh penalty in dictionary learning", Transformer Circuits, February 2024.
    """

    scale: Positive = 1.0

    def value(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        return torch.tanh(z.abs() / self.scale).sum(dim=1)


class Hoyer(Spec, tag="hoyer"):
    """(sum_j |z_j|)^2 / sum_j z_j^2: the number of active codes, were they all of one size; 0 for a code of zeros.

    Between 1 and n_code, and the same for c z: it asks for few codes, not for small ones.
    Source: Hoyer, JMLR 2004; as a penalty, Yang, Wen & Li, ICLR 2020.
    """

    def value(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        square = z.square().sum(dim=1)
        return z.abs().sum(dim=1).square() / square.clamp(min=torch.finfo(z.dtype).tiny)


class L0(Spec, tag="l0"):
    """The number of active codes, with the activation's estimate of its derivative: for `JumpReLU`.

    Source: Rajamanoharan et al., "Jumping Ahead", 2024, equation 9.
    """


class KL(Spec, tag="kl"):
    """sum_j KL(rho | rho_j) = sum_j rho log(rho / rho_j) + (1 - rho) log((1 - rho) / (1 - rho_j)), rho_j = mean of z_j.

    For codes in [0, 1]; 0 where every code's mean is rho, which many small activations meet as well as few large ones.
    rho_j is the batch's mean; with `decay` a running mean of batches; with `window` the mean over the last whole window
    of that many samples (the training set's size: the whole set). Then the value is that of the longer memory, and the
    gradient flows through the batch, in full size. Source: Ng, "Sparse autoencoder", CS294A lecture notes, 2011.
    """

    rho: Annotated[float, Meta(gt=0, lt=1, description="wanted mean of every code")] = 0.05
    decay: Annotated[float, Meta(ge=0, lt=1, description="of the running mean, per step; 0: the batch alone")] = 0.0
    window: Annotated[int, Meta(ge=0, description="samples behind the mean; 0: see decay")] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay and self.window:
            raise ValueError(f"KL: decay is {self.decay} and window {self.window}; expected one of them")


def kl_divergence(rho: float, mean: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """KL(rho | mean_j) of two Bernoulli variables in nats, mean kept within [1e-6, 1 - 1e-6] so that it is finite."""
    inside = mean.clamp(TINY, 1 - TINY)
    return rho * (math.log(rho) - inside.log()) + (1 - rho) * (math.log(1 - rho) - torch.log1p(-inside))


class SparsityModule(nn.Module):
    """A penalty without state: its `value` of the gate, if there is one, else of the code."""

    def __init__(self, spec: L1 | LogSum | Tanh | Hoyer) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, code: Code, moving: bool) -> Tensor:  # noqa: ARG002 - the contract
        return self.spec.value(code.z if code.gate is None else code.gate)


class L0Module(nn.Module):
    """Of an `L0`."""

    def forward(self, code: Code, moving: bool) -> Tensor:  # noqa: ARG002 - the contract
        if code.active is None:
            raise ValueError(
                "penalty is 'l0', and the activation gives no derivative of its count; expected 'jumprelu'"
            )
        return code.active.sum(dim=1)


class KLModule(nn.Module):
    """State of a `KL`: `mean` [n_code] of earlier batches, sums of the window under way."""

    def __init__(self, spec: KL, n_code: int) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("mean", torch.full((n_code,), spec.rho))
        self.register_buffer("total", torch.zeros(n_code, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.mean: Tensor
        self.total: Tensor
        self.count: Tensor
        self.seen: Tensor

    def forward(self, code: Code, moving: bool) -> Tensor:
        batch = code.z.mean(dim=0)
        with torch.no_grad():
            mean = mean_over_ranks(batch.detach())
            if self.spec.decay:
                decay = self.spec.decay if int(self.seen) else 0.0
                mean = decay * self.mean + (1 - decay) * mean
            elif self.spec.window and int(self.seen):
                mean = self.mean.clone()
            if moving:
                self._remember_(batch, mean, len(code.z) * world_size())
        # its value, with the batch's derivative
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


Sparsity = L1 | LogSum | Tanh | Hoyer | L0 | KL


def build_sparsity(spec: Sparsity, n_code: int) -> nn.Module:
    """The penalty's module."""
    if isinstance(spec, KL):
        return KLModule(spec, n_code)
    return L0Module() if isinstance(spec, L0) else SparsityModule(spec)
