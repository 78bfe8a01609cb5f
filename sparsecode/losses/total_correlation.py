"""The total correlation of codes, estimated from a minibatch: the extra penalty of a beta-TCVAE."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.schedules import Schedule
from sparsecode.specs import Spec

__all__ = ["TotalCorrelation", "total_correlation"]

Estimate = Literal["stratified", "weighted"]
LOG_2_PI = math.log(2 * math.pi)


class TotalCorrelation(Spec, tag="total_correlation"):
    """weight KL(q(z) || prod_j q(z_j)), q(z) = 1/N sum_n q(z | x_n) over the N training samples: 0 where codes are independent.

    The mean divergence of a VAE from a normal prior is I(x; z) + KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j)): weight = beta - 1,
    with `slab_weight` 1, is beta-TCVAE, which leaves the first and the third as they are, where beta-VAE weights all three.
    Densities of a draw z ~ q(z | x_i) are estimated from its batch of B, as sum_m w_m q(z | x_m): `stratified`, w_i = 1/N and
    (N - 1) / (N (B - 1)) for the others, which is unbiased; `weighted`, 1 / (N B) for all, biased, with the least variance.
    Both logarithms are biased in small batches; each process takes its part of a batch.
    Source: Chen, Li, Grosse & Duvenaud, "Isolating sources of disentanglement in variational autoencoders", NeurIPS 2018, equations 2,
    4 and S3 (their stratified weights single out one sample of the batch at random; these are the mean over that choice).
    """

    n_samples: Annotated[int, Meta(ge=2, description="training samples, N")]
    weight: Annotated[
        Annotated[float, Meta(ge=0)] | Schedule, Meta(description="beta - 1, of the total correlation")
    ] = 5.0
    estimate: Annotated[Estimate, Meta(description="weights of a batch's samples in the densities")] = "stratified"


def total_correlation(
    z: Float[Tensor, "b k"],
    mu: Float[Tensor, "b k"],
    logvar: Float[Tensor, "b k"],
    n_samples: int,
    estimate: Estimate = "stratified",
) -> Float[Tensor, " b"]:
    """log q(z_i) - sum_j log q(z_ij) in nats for draws z_i ~ N(mu_i, exp(logvar_i)): its mean estimates the total correlation.

    By weights as in `TotalCorrelation`, over the batch; memory B B K. Raises ValueError for a batch of 1, or one larger than `n_samples`.
    """
    n = len(z)
    if not 2 <= n <= n_samples:
        raise ValueError(
            f"a batch of {n} (of one process) and n_samples {n_samples}; expected 2 to n_samples samples: change batch_size or "
            "TotalCorrelation.n_samples, which is the number of training samples"
        )
    log_weight = z.new_full((n, n), -math.log(n_samples * n))
    if estimate == "stratified":
        log_weight = z.new_full((n, n), math.log((n_samples - 1) / (n_samples * (n - 1))))
        log_weight.fill_diagonal_(-math.log(n_samples))
    difference = z[:, None] - mu[None]
    log_q = -0.5 * (difference.square() * torch.exp(-logvar)[None] + logvar[None] + LOG_2_PI)
    joint = torch.logsumexp(log_q.sum(dim=2) + log_weight, dim=1)
    return joint - torch.logsumexp(log_q + log_weight[:, :, None], dim=1).sum(dim=1)
