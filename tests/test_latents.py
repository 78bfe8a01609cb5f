"""How variational models are judged: importance-weighted bounds, use of the gates, disentanglement."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from sparsecode.data import Digits, Factor, Shapes, Split
from sparsecode.evaluate.metrics import hoyer, psnr, ssim
from sparsecode.evaluate.reconstruction.score import score, validated
from sparsecode.evaluate.variational.disentanglement import Disentanglement, disentanglement
from sparsecode.evaluate.variational.elbo import bound
from sparsecode.evaluate.variational.gate_use import gate_use
from sparsecode.evaluate.variational.iwae import importance_bound, log_density, log_weights
from sparsecode.models.variational import Variational, VariationalModel
from sparsecode.nn.likelihoods import Normal
from sparsecode.nn.perceptron import Perceptron, PerceptronModule
from sparsecode.nn.posteriors import Gaussian, Parameters, SpikeSlab
from sparsecode.nn.priors import PseudoInputs, PseudoInputsModule, SpikeSlabPrior, SpikeSlabPriorModule, StandardNormal
from sparsecode.ops.rng import generator

SIGMA, N_CODE, N_FEATURES = 1.0, 3, 6
KINDS: dict[str, dict[str, Any]] = {
    "vae": {"posterior": Gaussian(), "prior": StandardNormal()},
    "vsc": {"posterior": SpikeSlab(), "prior": SpikeSlabPrior(alpha=0.3, learned=True)},
    "negrelu": {"posterior": SpikeSlab(spike="negrelu"), "prior": SpikeSlabPrior(alpha=0.3)},
    "warming up": {"posterior": SpikeSlab(warm_up=0.5), "prior": SpikeSlabPrior(alpha=0.3)},
    "pseudo-inputs": {"posterior": SpikeSlab(), "prior": PseudoInputs(n=4, sharpness=3.0)},
}


def _affine(net: object) -> tuple[Tensor, Tensor]:
    """The weights and biases of a net without hidden layers."""
    assert isinstance(net, PerceptronModule)
    return net.weights[0].detach(), net.biases[0].detach()


def linear(kind: str) -> VariationalModel:
    """A model without hidden layers, whose log p(x) is known: a mixture of Gaussians over all sets of codes that are on."""
    spec = Variational(n_code=N_CODE, likelihood=Normal(sigma=SIGMA), net=Perceptron(hidden=()), **KINDS[kind])
    model = spec.build((N_FEATURES,), seed=0).double()
    for i, weights in enumerate(model.parameters()):
        weights.data.add_(torch.randn(weights.shape, generator=generator(i, "test")).double(), alpha=0.2)
    weight, bias = _affine(model.encoder)
    weight.mul_(0.3)
    if kind == "negrelu":
        bias[2 * N_CODE :] -= 2  # no gamma of 1: what is never off knows nothing of half the mixture
    return model


def exact(model: VariationalModel, x: Tensor) -> Tensor:
    """log p(x) [B]."""
    d, b = _affine(model.decoder)
    prior = model.prior
    zeros, certain = torch.zeros(1, N_CODE).double(), torch.full((1, N_CODE), 60.0).double()
    if isinstance(prior, PseudoInputsModule):
        mu, logvar, logit = (t.detach() for t in prior.components(model.posterior))
    else:
        odds = prior.logit.detach().expand(1, N_CODE) if isinstance(prior, SpikeSlabPriorModule) else certain
        mu, logvar, logit = zeros, zeros, odds
    terms = list[Tensor]()
    for u, on in itertools.product(range(len(mu)), itertools.product([False, True], repeat=N_CODE)):
        chosen = torch.tensor(on)
        chance = torch.where(chosen, torch.sigmoid(logit[u]), torch.sigmoid(-logit[u])).log().sum()
        columns = d[:, chosen] * (0.5 * logvar[u][chosen]).exp()
        cov = columns @ columns.T + SIGMA**2 * torch.eye(N_FEATURES).double()
        terms.append(chance + MultivariateNormal(b + d[:, chosen] @ mu[u][chosen], cov).log_prob(x) - math.log(len(mu)))
    return torch.logsumexp(torch.stack(terms), dim=0)


@pytest.mark.parametrize("kind", list(KINDS))
def test_weights_average_to_the_likelihood(kind: str) -> None:
    """E_q[w] = p(x): with many draws the bound comes to the exact value, from below."""
    model = linear(kind)
    x = model.denormalise(model.decode(model.sample_prior(4, generator(0, "x")).double())).detach()
    weights = log_weights(model, x, 30_000, generator(1, "draws"))
    result = torch.logsumexp(weights, dim=1) - math.log(30_000)
    torch.testing.assert_close(result, exact(model, x), atol=0.08, rtol=0)
    assert (weights.mean(dim=1) < exact(model, x)).all()


@pytest.mark.parametrize("kind", list(KINDS))
def test_more_draws_bring_the_bound_closer(kind: str) -> None:
    """One draw gives the elbo in expectation; the bound rises with their number, and stays below log p(x)."""
    model = linear(kind)
    x = model.denormalise(model.decode(model.sample_prior(400, generator(0, "x")).double())).detach()
    split = Split(x)
    one, few, many = (importance_bound(model, split, k) for k in (1, 5, 50))
    assert one.bound == pytest.approx(one.elbo)
    assert one.bound < few.bound < many.bound < float(exact(model, x).mean()) + 0.02
    assert few.elbo < few.bound
    if kind != "pseudo-inputs":  # whose divergence is a bound of its own
        assert bound(model, split).elbo == pytest.approx(many.elbo, abs=5 * one.error)
    assert importance_bound(model, split, 5) == few
    assert importance_bound(model, split, 5, seed=1).bound == pytest.approx(few.bound, abs=4 * few.error)
    assert few.error < 0.5


def test_density_of_a_spike_counts_its_chance() -> None:
    q = Parameters(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.2, 0.9]))
    assert q.gamma is not None
    q = q._replace(logit=torch.logit(q.gamma))
    z = torch.tensor([[0.0, 2.5], [1.5, 0.0], [0.0, 0.0]])
    slab = torch.distributions.Normal(q.mu, (0.5 * q.logvar).exp()).log_prob(z).exp()
    expected = torch.tensor([0.8 * 0.9 * slab[0, 1], 0.2 * slab[1, 0] * 0.1, 0.8 * 0.1])
    torch.testing.assert_close(log_density(q, z).exp(), expected)


def test_no_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="k: got 0; expected at least 1"):
        importance_bound(linear("vae"), Split(torch.zeros(2, N_FEATURES)), 0)


def forced(kind: str) -> VariationalModel:
    """Codes of digits: one always on, one never, one on for half of them by the brightness of a pixel, others as they are."""
    model = Variational(n_code=5, net=Perceptron(hidden=()), **KINDS[kind]).build((8, 8), seed=0)
    weight, bias = _affine(model.encoder)
    weight[10:].zero_()
    weight[12, 8 * 4 + 4] = 40.0
    bias[10:] = torch.tensor([9.0, -9.0, -20.0, -1.0, 1.0])
    weight[3], bias[3] = 0, 0.7  # a mean that never moves
    return model


def test_gates_are_counted() -> None:
    split = Digits().load().test
    model = forced("vsc").requires_grad_(False)
    use = gate_use(model, split, 1.0)
    q = model.posterior(split.x)
    assert q.gamma is not None
    on = (q.gamma > 0.5).double().mean(dim=0)
    assert use.usage == pytest.approx(on.tolist())
    assert 0.2 < on[2] < 0.8
    assert (use.always_on, use.dead) == (2, 2)
    assert use.active == pytest.approx(2 + float(on[2]))
    assert use.expected == pytest.approx(float(q.gamma.sum(dim=1).mean()), rel=1e-5)
    assert use.selection == pytest.approx(q.gamma.double().var(dim=0, correction=0).tolist(), abs=1e-7)
    assert max(use.selection) == use.selection[2] > 0.1
    assert min(use.selection) < 1e-9
    spread = (q.gamma * q.mu).double().var(dim=0, correction=0)
    assert use.active_units == int((spread > 0.01).sum()) < 5
    z = model.encode(split.x)
    assert use.hoyer == pytest.approx(float(hoyer(z).mean()), rel=1e-4)
    assert use.psnr == pytest.approx(float(psnr(split.x, model.reconstruct(split.x), 1.0).mean()), rel=1e-5)
    assert use.ssim is None  # of 8 by 8 pixels
    relaxed, hard = bound(model, split, hard=False), bound(model, split)
    assert use.hard_gap == pytest.approx(relaxed.elbo - hard.elbo)


def test_similarity_of_larger_images_is_told_during_training_and_after() -> None:
    split = Split(torch.rand(40, 1, 12, 13, generator=torch.Generator().manual_seed(0)))
    model = Variational(n_code=5, net=Perceptron(hidden=(20,)), **KINDS["vae"]).build((1, 12, 13), seed=0)
    expected = pytest.approx(float(ssim(split.x, model.reconstruct(split.x).detach(), 1.0).mean()), rel=1e-5)
    assert gate_use(model, split, 1.0).ssim == expected
    assert score(model, model.encode, split, 1.0).ssim == expected
    assert "ssim" in validated(model)
    assert "ssim" not in validated(Variational(n_code=5, **KINDS["vae"]).build((8, 8), seed=0))


def test_codes_without_gates_are_all_on() -> None:
    split = Digits().load().test
    model = Variational(n_code=5, net=Perceptron(hidden=(20,)), **KINDS["vae"]).build((8, 8), seed=0)
    use = gate_use(model, split, 1.0)
    assert (use.active, use.expected, use.always_on, use.dead, use.hard_gap) == (5, 5, 5, 0, None)
    assert set(use.usage) == {1.0}
    assert set(use.selection) == {0.0}


FACTORS = tuple(map(Factor, "abc"))


@pytest.fixture(scope="module")
def made() -> tuple[Tensor, Tensor]:
    """1 000 samples of three independent factors of 4, 6 and 9 values, and noise of the same length."""
    rng = np.random.RandomState(0)
    values = np.stack([rng.randint(n, size=1000) for n in (4, 6, 9)], axis=1)
    return torch.from_numpy(values), torch.from_numpy(rng.randn(1000, 4))


def scores(d: Disentanglement) -> list[float]:
    return [d.mig, d.sap, d.factor_vae, d.dci.disentanglement, d.dci.completeness]


def test_codes_along_factors_score_one(made: tuple[Tensor, Tensor]) -> None:
    """Whatever their order, scale and sign, among codes that say nothing."""
    values, noise = made
    axes = values.double() * torch.tensor([3.0, -0.1, 40.0]) + 7
    result = disentanglement(torch.cat([noise[:, :1], axes.flip(1), torch.zeros(1000, 1)], dim=1), values, FACTORS)
    assert scores(result) == pytest.approx([1.0] * 5, abs=0.04)
    assert result.dci.informativeness > 0.99
    assert min(result.gaps.values()) > 0.96
    swapped = (Factor("a"), Factor("b", ordered=False), Factor("c"))  # thresholds instead of correlation
    assert disentanglement(axes, values, swapped).sap == pytest.approx((1 + 1 + (1 - 1 / 6)) / 3, abs=0.05)


def test_mixed_codes_score_low_though_they_know_all(made: tuple[Tensor, Tensor]) -> None:
    values, _ = made
    axes = (values - values.double().mean(dim=0)) / values.double().std(dim=0)
    turn = torch.tensor([[1.0, 1, 1], [1, -1, 0], [1, 1, -2]], dtype=torch.float64)
    turn = turn / turn.norm(dim=1, keepdim=True)
    result = disentanglement(axes @ turn, values, FACTORS)
    assert max(result.mig, result.sap, result.dci.disentanglement, result.dci.completeness) < 0.4
    assert result.dci.informativeness > 0.6
    assert result.factor_vae < 0.9


def test_noise_scores_nothing(made: tuple[Tensor, Tensor]) -> None:
    values, noise = made
    result = disentanglement(noise, values, FACTORS)
    assert scores(result) == pytest.approx([0, 0, 1 / 3, 0, 0], abs=0.06)
    assert result == disentanglement(noise, values, FACTORS)
    silent = disentanglement(torch.zeros(1000, 4), values, FACTORS)
    assert scores(silent) == [0.0] * 5


def test_one_code_for_all_factors_is_not_disentangled(made: tuple[Tensor, Tensor]) -> None:
    """A number that spells all values out: complete, since each factor needs one code, but of three minds."""
    values, noise = made
    spelled = (values @ torch.tensor([54, 9, 1])).double()
    result = disentanglement(torch.stack([spelled, noise[:, 0]], dim=1), values, FACTORS)
    assert result.dci.completeness > 0.6
    assert result.dci.disentanglement < 0.2
    assert result.gaps["a"] > 0.9  # the leading digit


def test_shapes_are_told_apart_by_their_truth() -> None:
    splits = Shapes(n_train=1, n_valid=1, n_test=800).load()
    factors = splits.test.factors
    assert factors is not None
    result = disentanglement(factors.double(), factors, splits.factors)
    assert result.mig > 0.9
    assert result.factor_vae == 1
    assert list(result.gaps) == ["shape", "scale", "orientation", "x", "y"]


@pytest.mark.parametrize(("codes", "factors"), [((9, 3), (8, 3)), ((9, 1), (9, 3)), ((9, 3), (9, 2))])
def test_what_cannot_be_scored_is_named(codes: tuple[int, int], factors: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        disentanglement(torch.rand(codes), torch.zeros(factors, dtype=torch.long), FACTORS)
