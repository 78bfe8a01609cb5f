"""Distributions p(z) of codes: the reference of the KL divergence, and the source of new codes.

A prior's module has `divergence(q, x, infer)`, `sample(n, rng, infer)`, `initialise_` and `param_groups`; `infer` is the
model's encoder, from samples [n, f] in model space to `Parameters`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.nn.init import uniform_fan_in
from sparsecode.nn.posteriors import Parameters, bernoulli_kl, gaussian_kl
from sparsecode.specs import Count, Positive, Spec

__all__ = ["Divergence", "Prior", "PriorModule", "PseudoInputs", "SpikeSlabPrior", "StandardNormal"]

Infer = Callable[[Tensor], Parameters]
Alpha = Annotated[float, Meta(gt=0, lt=1, description="chance of a code to be on")]


class Divergence(NamedTuple):
    """KL(q(z | x) || p(z)) in nats: of the slabs [B, K], of the spikes [B, K] and of the choice among a prior's components [B].

    `aggregate`, a number, is a separate regulariser that keeps the gates of the prior's components near alpha.
    """

    slab: Tensor
    spike: Tensor | None = None
    choice: Tensor | None = None
    aggregate: Tensor | None = None

    def per_sample(self) -> Tensor:
        """The total divergence [B]."""
        total = self.slab.sum(dim=1)
        total = total if self.spike is None else total + self.spike.sum(dim=1)
        return total if self.choice is None else total + self.choice


class StandardNormal(Spec, tag="standard_normal"):
    """p(z) = N(0, 1)."""

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> PriorModule:  # noqa: ARG002 - the contract
        return StandardNormalModule(n_code)


class SpikeSlabPrior(Spec, tag="spike_slab"):
    """p(z) = prod_j alpha N(0, 1) + (1 - alpha) delta_0, alpha fixed, or learned for each code from there.

    Source: Tonolini, Jensen & Murray-Smith, "Variational sparse coding", UAI 2019.
    """

    alpha: Alpha = 0.5
    learned: bool = False

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> PriorModule:  # noqa: ARG002 - the contract
        return SpikeSlabPriorModule(self, n_code)


class PseudoInputs(Spec, tag="pseudo_inputs"):
    """p(z) = 1/U sum_u q_u(z), q_u the posterior of learned input u of U, with sharpened spikes.

    gamma_u becomes sigmoid(sharpness (gamma_u - 1/2)). A selector w(x) (linear, sigmoid, divided by its sum) says which
    component is near: sum_u w_u KL(q || q_u) + KL(w || 1/U) is a bound on KL(q || p). K KL(Bern(mean gamma_u) || Bern(alpha))
    holds the components to alpha. The inputs start as training samples.
    The source divides w by its 2-norm and leaves KL(w || 1/U) out, which is no bound: its sum of weights is up to sqrt(U).
    Source: code of Tonolini, Jensen & Murray-Smith, UAI 2019; the idea: Tomczak & Welling, "VAE with a VampPrior", 2018.
    """

    n: Annotated[Count, Meta(description="learned inputs, U")] = 20
    alpha: Alpha = 0.1
    sharpness: Positive = 20.0

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> PriorModule:
        return PseudoInputsModule(self, n_code, math.prod(shape), rng)


Prior = StandardNormal | SpikeSlabPrior | PseudoInputs


class PriorModule(nn.Module):
    """The base class of priors."""

    def __init__(self, n_code: int) -> None:
        super().__init__()
        self.n_code = n_code

    def divergence(self, q: Parameters, x: Float[Tensor, "b f"], infer: Infer) -> Divergence:
        """KL(q || p) of the posteriors of x, in parts."""
        raise NotImplementedError

    def sample(self, n: int, rng: torch.Generator, infer: Infer) -> Tensor:
        """n codes [n, K], drawn on the CPU."""
        raise NotImplementedError

    def initialise_(self, rows: Float[Tensor, "n f"]) -> None:
        """Initialise from training samples in model space."""

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {}


class StandardNormalModule(PriorModule):
    """The module of `StandardNormal`."""

    def divergence(self, q: Parameters, x: Float[Tensor, "b f"], infer: Infer) -> Divergence:  # noqa: ARG002 - the contract
        return Divergence(gaussian_kl(q.mu, q.logvar))

    def sample(self, n: int, rng: torch.Generator, infer: Infer) -> Tensor:  # noqa: ARG002 - the contract
        return torch.randn(n, self.n_code, generator=rng)


class SpikeSlabPriorModule(PriorModule):
    """The module of `SpikeSlabPrior`: `logit` of alpha, [1] or [K]."""

    def __init__(self, spec: SpikeSlabPrior, n_code: int) -> None:
        super().__init__(n_code)
        start = torch.tensor(math.log(spec.alpha) - math.log1p(-spec.alpha), dtype=torch.float32)
        self.logit: Tensor
        if spec.learned:
            self.logit = nn.Parameter(start.repeat(n_code))
        else:
            self.register_buffer("logit", start.reshape(1))

    def divergence(self, q: Parameters, x: Float[Tensor, "b f"], infer: Infer) -> Divergence:  # noqa: ARG002 - the contract
        gamma, logit = _spikes(q)
        return Divergence(gamma * gaussian_kl(q.mu, q.logvar), bernoulli_kl(gamma, logit, self.logit))

    def sample(self, n: int, rng: torch.Generator, infer: Infer) -> Tensor:  # noqa: ARG002 - the contract
        alpha = torch.sigmoid(self.logit.detach()).cpu()
        on = torch.rand(n, self.n_code, generator=rng) < alpha
        return torch.where(on, torch.randn(n, self.n_code, generator=rng), 0.0)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"alpha": [self.logit]} if isinstance(self.logit, nn.Parameter) else {}


class PseudoInputsModule(PriorModule):
    """The module of `PseudoInputs`: `inputs` [U, f]; the selector's `weight` [U, f] and `bias` [U]."""

    def __init__(self, spec: PseudoInputs, n_code: int, n_features: int, rng: torch.Generator) -> None:
        super().__init__(n_code)
        self.spec = spec
        self.inputs = nn.Parameter(torch.rand(spec.n, n_features, generator=rng))
        self.weight = nn.Parameter(uniform_fan_in((spec.n, n_features), n_features, rng))
        self.bias = nn.Parameter(torch.zeros(spec.n))

    @torch.no_grad()
    def initialise_(self, rows: Float[Tensor, "n f"]) -> None:
        chosen = torch.linspace(0, len(rows) - 1, self.spec.n).long()  # the rows are in random order
        self.inputs.copy_(rows[chosen.to(rows.device)])

    def components(self, infer: Infer) -> tuple[Tensor, Tensor, Tensor]:
        """mu, logvar and the sharpened logit of gamma of each component, [U, K]."""
        result = infer(self.inputs)
        gamma, _ = _spikes(result)
        return result.mu, result.logvar, self.spec.sharpness * (gamma - 0.5)

    def divergence(self, q: Parameters, x: Float[Tensor, "b f"], infer: Infer) -> Divergence:
        gamma, logit = _spikes(q)
        mu, logvar, sharp = self.components(infer)
        raw = torch.sigmoid(torch.addmm(self.bias, x, self.weight.T))
        weights = raw / raw.sum(dim=1, keepdim=True)
        precision = torch.exp(-logvar)
        # sum_u w_u [logvar_u - logvar + (sigma^2 + (mu - mu_u)^2) / sigma_u^2 - 1] / 2, as three products
        quadratic = (q.logvar.exp() + q.mu.square()) * (weights @ precision) - 2 * q.mu * (weights @ (precision * mu))
        slab = 0.5 * (quadratic + weights @ (precision * mu.square() + logvar) - q.logvar - 1)
        softplus = torch.nn.functional.softplus
        spike = gamma * (logit - weights @ sharp) - softplus(logit) + weights @ softplus(sharp)
        choice = (weights * (weights.clamp(min=torch.finfo(weights.dtype).tiny) * self.spec.n).log()).sum(dim=1)
        mean = torch.sigmoid(sharp).mean()
        alpha = mean.new_tensor(math.log(self.spec.alpha) - math.log1p(-self.spec.alpha))
        return Divergence(gamma * slab, spike, choice, self.n_code * bernoulli_kl(mean, torch.logit(mean), alpha))

    def sample(self, n: int, rng: torch.Generator, infer: Infer) -> Tensor:
        mu, logvar, sharp = (value.detach().cpu() for value in self.components(infer))
        of = torch.randint(self.spec.n, (n,), generator=rng)
        on = torch.rand(n, self.n_code, generator=rng) < torch.sigmoid(sharp)[of]
        slab = mu[of] + (0.5 * logvar).exp()[of] * torch.randn(n, self.n_code, generator=rng)
        return torch.where(on, slab, 0.0)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"inputs": [self.inputs], "selector": [self.weight, self.bias]}


def _spikes(q: Parameters) -> tuple[Tensor, Tensor]:
    assert q.gamma is not None
    assert q.logit is not None
    return q.gamma, q.logit
