"""Importance-weighted bounds of variational models: closer to log p(x) than the evidence lower bound."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.data.splits import Split
from sparsecode.models.variational import VariationalModel
from sparsecode.nn.posteriors import Parameters
from sparsecode.nn.priors import PseudoInputsModule, SpikeSlabPriorModule
from sparsecode.ops.rng import generator
from sparsecode.specs import Count, Spec

__all__ = ["Importance", "importance_bound", "log_density", "log_weights"]

ROWS = 1000  # codes decoded together


class Importance(Spec, tag="importance"):
    """Means over the n samples of a split, in nats, of `k` draws each: `bound` = log 1/k sum_i w_i, `elbo` = 1/k sum_i log w_i.

    w_i = p(x | z_i) p(z_i) / q(z_i | x), z_i ~ q(z | x) with gates that are 0 or 1: both bound log p(x) from below, and
    elbo <= bound for any draws. `error` is the standard error of `bound` from the choice of samples.
    Source: Burda, Grosse & Salakhutdinov, ICLR 2016.
    """

    n: int
    k: Annotated[int, Meta(ge=1)]
    bound: float
    elbo: float
    error: float


@torch.no_grad()
def importance_bound(model: VariationalModel, split: Split, k: Count = 50, seed: int = 0) -> Importance:
    """The importance-weighted bound by k draws per sample, a function of the seed. Raises ValueError for k below 1."""
    if k < 1:
        raise ValueError(f"k: got {k}; expected at least 1 draw per sample")
    size = max(1, ROWS // k)
    bounds, means = list[Tensor](), list[Tensor]()
    for start, part in split.chunks(size):
        x = part.x.to(next(model.parameters()))
        result = log_weights(model, x, k, generator(seed, "importance", start)).double()
        bounds.append(torch.logsumexp(result, dim=1) - math.log(k))
        means.append(result.mean(dim=1))
    bound = torch.cat(bounds)
    error = float(bound.std() / math.sqrt(len(bound))) if len(bound) > 1 else 0.0
    return Importance(split.n, k, float(bound.mean()), float(torch.cat(means).mean()), error)


@torch.no_grad()
def log_weights(
    model: VariationalModel, x: Float[Tensor, "b *f"], k: int, rng: torch.Generator
) -> Float[Tensor, "b {k}"]:
    """log p(x | z) + log p(z) - log q(z | x) in nats of k draws z for each x, gates 0 or 1."""
    many, q = x.repeat_interleave(k, dim=0), _repeated(model.posterior(x), k)
    posterior, step = model.spec.posterior, int(model.latest)
    z = posterior.sample(q, rng, step, hard=True)
    return (model.log_likelihood(many, z) + _log_prior(model, z) - log_density(q, z)).reshape(-1, k)


def _repeated(q: Parameters, k: int) -> Parameters:
    mu, logvar = q.mu.repeat_interleave(k, dim=0), q.logvar.repeat_interleave(k, dim=0)
    if q.gamma is None or q.logit is None:
        return Parameters(mu, logvar)
    return Parameters(mu, logvar, q.gamma.repeat_interleave(k, dim=0), q.logit.repeat_interleave(k, dim=0))


def log_density(q: Parameters, z: Float[Tensor, "*n k"]) -> Float[Tensor, "*m"]:
    """log q(z) of codes [..., K], which and what parameters of q [..., K] are broadcast.

    Of a spike and slab the density is with respect to Lebesgue measure plus a point mass at 0 in each coordinate: a code that is 0
    counts as log(1 - gamma), another one as log gamma + log N(z; mu, sigma^2). In a ratio of two such densities that is exact.
    """
    slab = -0.5 * ((z - q.mu).square() * torch.exp(-q.logvar) + q.logvar + math.log(2 * math.pi))
    if q.logit is None:
        return slab.sum(dim=-1)
    logsigmoid = torch.nn.functional.logsigmoid
    return torch.where(z == 0, logsigmoid(-q.logit), logsigmoid(q.logit) + slab).sum(dim=-1)


def _log_prior(model: VariationalModel, z: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """log p(z), of a prior with components the log of their mean density."""
    prior, zeros = model.prior, z.new_zeros(1)
    if isinstance(prior, PseudoInputsModule):
        mu, logvar, logit = prior.components(lambda rows: model.spec.posterior.parameters(model.encoder(rows)))
        each = log_density(Parameters(mu, logvar, torch.sigmoid(logit), logit), z.unsqueeze(1))
        return torch.logsumexp(each, dim=1) - math.log(len(mu))
    logit = prior.logit if isinstance(prior, SpikeSlabPriorModule) else None
    return log_density(Parameters(zeros, zeros, None if logit is None else torch.sigmoid(logit), logit), z)
