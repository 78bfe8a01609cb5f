"""The total correlation of codes: against exhaustive computation, closed forms, and in training."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from sparsecode.data import Digits
from sparsecode.losses import TotalCorrelation, total_correlation
from sparsecode.models.variational import Variational
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.posteriors import Gaussian, SpikeSlab
from sparsecode.nn.priors import SpikeSlabPrior, StandardNormal
from sparsecode.ops.rng import Stream
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch
from sparsecode.schedules import Linear


@pytest.fixture
def posteriors() -> tuple[Tensor, Tensor, Tensor]:
    """A draw from each of 7 posteriors of 3 codes, means and log-variances, in float64."""
    rng = torch.Generator().manual_seed(0)
    mu, logvar, noise = (torch.randn(7, 3, generator=rng, dtype=torch.float64) for _ in range(3))
    return mu + (logvar / 2).exp() * noise, mu, logvar


def exhaustive(z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """q(z_i) and q(z_ij) as means over all posteriors, one at a time."""
    each = torch.stack([Normal(m, (v / 2).exp()).log_prob(z).exp() for m, v in zip(mu, logvar, strict=True)])
    return each.prod(dim=2).mean(dim=0), each.mean(dim=0)


@pytest.mark.parametrize("estimate", ["stratified", "weighted"])
def test_a_batch_of_all_samples_gives_the_total_correlation_itself(estimate: Any, posteriors: Any) -> None:
    z, mu, logvar = posteriors
    joint, marginals = exhaustive(z, mu, logvar)
    expected = joint.log() - marginals.log().sum(dim=1)
    if estimate == "weighted":  # all weights are N times too small
        expected = expected + 2 * torch.tensor(7.0).log()
    torch.testing.assert_close(total_correlation(z, mu, logvar, 7, estimate), expected)


def test_stratified_densities_are_unbiased_over_all_batches(posteriors: Any) -> None:
    """The estimate of q(z_0), which `total_correlation` of two codes reveals where the second is the same for all."""
    z, mu, logvar = (part[:, :2].clone() for part in posteriors)
    joint, _ = exhaustive(z, mu, logvar)
    result: list[Tensor] = []
    for others in combinations(range(1, 7), 2):
        rows = [0, *others]
        n, log_q = 7, Normal(mu[rows], (logvar[rows] / 2).exp()).log_prob(z[0]).sum(dim=1)
        weights = torch.tensor([1 / n, (n - 1) / (n * 2), (n - 1) / (n * 2)], dtype=torch.float64)
        result.append((log_q.exp() * weights).sum())
        marginals = (Normal(mu[rows], (logvar[rows] / 2).exp()).log_prob(z[0]).exp() * weights[:, None]).sum(dim=0)
        expected = result[-1].log() - marginals.log().sum()
        torch.testing.assert_close(total_correlation(z[rows], mu[rows], logvar[rows], 7)[0], expected)
    torch.testing.assert_close(torch.stack(result).mean(), joint[0])


def test_independent_codes_have_none() -> None:
    """Posteriors on a grid: what one code says, the other does not."""
    axis = torch.linspace(-2, 2, 9, dtype=torch.float64)
    mu = torch.cartesian_prod(axis, axis)
    z = mu + 0.1 * torch.randn(mu.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = total_correlation(z, mu, torch.full_like(mu, -4.6), len(mu))
    torch.testing.assert_close(result, torch.zeros_like(result), atol=1e-10, rtol=0)


def test_a_correlated_normal_has_its_closed_form() -> None:
    """Means drawn from N(0, S) and small noise: TC = -1/2 log det of the correlation matrix, here -1/2 log(1 - 0.8^2)."""
    rng = torch.Generator().manual_seed(0)
    cov = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    chol = torch.linalg.cholesky(cov)
    noise = 0.3
    mu = torch.randn(700, 2, generator=rng, dtype=torch.float64) @ chol.T
    z = mu + noise * torch.randn(mu.shape, generator=rng, dtype=torch.float64)
    result = float(total_correlation(z, mu, torch.full_like(mu, 2 * math.log(noise)), len(mu)).mean())
    whole = cov + noise**2 * torch.eye(2)
    normal, variance = MultivariateNormal(torch.zeros(2).double(), whole), whole[0, 0]
    expected = float(normal.log_prob(z).mean() - Normal(0, variance.sqrt()).log_prob(z).sum(dim=1).mean())
    assert result == pytest.approx(expected, abs=0.05)
    assert expected == pytest.approx(-0.5 * float(torch.log(1 - (0.8 / variance) ** 2)), abs=0.1)


@pytest.mark.parametrize("sizes", [(1, 10), (7, 6)])
def test_batches_without_an_estimate_are_refused(sizes: tuple[int, int], posteriors: Any) -> None:
    z, mu, logvar = posteriors
    with pytest.raises(
        ValueError, match=rf"a batch of {sizes[0]} .* and n_samples {sizes[1]}; expected 2 to n_samples"
    ):
        total_correlation(z[: sizes[0]], mu[: sizes[0]], logvar[: sizes[0]], sizes[1])


def test_gates_have_no_density() -> None:
    with pytest.raises(
        ValueError, match=r"total_correlation is given and posterior is 'spike_slab'; expected 'gaussian'"
    ):
        Variational(
            n_code=4, posterior=SpikeSlab(), prior=SpikeSlabPrior(), total_correlation=TotalCorrelation(n_samples=9)
        )


@torch.no_grad()
def test_the_loss_has_the_term_and_its_weight() -> None:
    x = Digits().load().train.x[:20]
    weight = Linear(start=0.0, stop=4.0, length=10)
    plain = Variational(n_code=3, posterior=Gaussian(), prior=StandardNormal(), net=Perceptron(hidden=(9,)))
    models = [
        msgspec.structs.replace(plain, total_correlation=term).build((8, 8), seed=0)
        for term in (
            None,
            TotalCorrelation(n_samples=1437, weight=weight),
            TotalCorrelation(n_samples=1437, weight=0.0),
        )
    ]
    without, with_it, free = (m.loss(Batch(x), 5, Stream(0, 5)) for m in models)
    assert models[0].fused
    assert not models[1].fused
    part = with_it.parts["total_correlation"]
    assert float(part) == pytest.approx(2.0 * float(with_it.stats["tc"]))
    assert float(with_it.total - without.total) == pytest.approx(float(part), rel=1e-2)
    assert float(free.total) == pytest.approx(float(without.total))


def test_the_recipe_knows_its_training_samples() -> None:
    run = RECIPES["shapes-tcvae"]()
    assert isinstance(run.model, Variational)
    assert run.model.total_correlation is not None
    assert run.model.total_correlation.n_samples == getattr(run.data, "n_train", None)
