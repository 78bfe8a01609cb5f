"""Distributions of codes: divergences against Monte Carlo and torch.distributions, gates, what has a derivative."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from sparsecode.nn.gates import BinaryConcrete, HardGate, SigmoidGate, hard_gate
from sparsecode.nn.posteriors import Gaussian, Parameters, SpikeSlab
from sparsecode.nn.priors import PriorModule, PseudoInputs, PseudoInputsModule, SpikeSlabPrior, StandardNormal
from sparsecode.ops.rng import generator

Spike = Literal["logit", "negrelu"]
ALPHA = 0.2


def spike_slab(out: Tensor, spike: Spike = "logit") -> Parameters:
    return SpikeSlab(spike=spike).parameters(out)


def no_net(x: Tensor) -> Parameters:
    raise AssertionError("this prior needs no encoder")


def outputs(rng: torch.Generator, n: int = 4, k: int = 3, heads: int = 3) -> Tensor:
    return torch.randn(n, heads * k, generator=rng, dtype=torch.float64)


def prior(alpha: float = ALPHA, learned: bool = False, k: int = 3) -> PriorModule:
    return SpikeSlabPrior(alpha=alpha, learned=learned).build(k, (5,), generator(0, "prior")).double()


def log_density(z: Tensor, on: Tensor, q: Parameters | None, alpha: float) -> Tensor:
    """Of spike-and-slab draws, by the measure that has a unit mass at 0 and Lebesgue's elsewhere; q None is the prior."""
    gamma = torch.full_like(z, alpha) if q is None or q.gamma is None else q.gamma
    slab = Normal(0.0, 1.0) if q is None else Normal(q.mu, (0.5 * q.logvar).exp())
    return torch.where(on, gamma.log() + slab.log_prob(z), (1 - gamma).log()).sum(dim=-1)


@pytest.mark.parametrize("spike", ["logit", "negrelu"])
def test_divergence_is_that_of_monte_carlo(spike: Spike, rng: torch.Generator) -> None:
    out = 0.5 * outputs(rng, n=2)
    q = spike_slab(out if spike == "logit" else -out.abs(), spike)  # gamma = 1 exactly is clamped
    assert q.gamma is not None
    exact = prior().divergence(q, torch.zeros(2, 5), no_net).per_sample()
    n = 300_000
    on = torch.rand(n, 2, 3, generator=rng, dtype=torch.float64) < q.gamma
    slab = q.mu + (0.5 * q.logvar).exp() * torch.randn(n, 2, 3, generator=rng, dtype=torch.float64)
    drawn = (log_density(slab, on, q, ALPHA) - log_density(slab, on, None, ALPHA)).mean(dim=0)
    torch.testing.assert_close(drawn, exact, rtol=0, atol=1e-2)


def test_its_parts_are_those_of_torch(rng: torch.Generator) -> None:
    q = spike_slab(outputs(rng))
    kl = prior().divergence(q, torch.zeros(4, 5), no_net)
    assert q.gamma is not None
    assert kl.spike is not None
    slab = kl_divergence(Normal(q.mu, (0.5 * q.logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl.slab, q.gamma * slab)
    torch.testing.assert_close(
        kl.spike, kl_divergence(Bernoulli(q.gamma), Bernoulli(torch.tensor(ALPHA).double())), atol=1e-6, rtol=1e-6
    )
    plain = (
        StandardNormal()
        .build(3, (5,), rng)
        .divergence(Gaussian().parameters(outputs(rng, heads=2)), torch.zeros(4, 5), no_net)
    )
    assert plain.spike is None


def test_it_is_zero_at_the_prior_and_a_stuck_gate_costs_its_surprise() -> None:
    logit = math.log(ALPHA / (1 - ALPHA))
    at_prior = torch.tensor([[0.0, 0.0, logit]], dtype=torch.float64)
    assert float(prior(k=1).divergence(spike_slab(at_prior), torch.zeros(1, 5), no_net).per_sample()) == pytest.approx(
        0, abs=1e-7
    )
    for out in (spike_slab(torch.tensor([[0.0, 0.0, 40.0]])), spike_slab(torch.tensor([[0.0, 0.0, 1.0]]), "negrelu")):
        cost = prior(k=1).float().divergence(out, torch.zeros(1, 5), no_net).per_sample()
        assert float(cost) == pytest.approx(math.log(1 / ALPHA), abs=1e-4)


@pytest.mark.parametrize("logit", [-200.0, -40.0, 40.0, 200.0])
def test_it_stays_finite_where_gates_saturate(logit: float) -> None:
    out = torch.tensor([[0.5, 0.1, logit]], requires_grad=True)
    cost = prior(k=1).float().divergence(spike_slab(out), torch.zeros(1, 5), no_net).per_sample()
    cost.backward()
    assert out.grad is not None
    assert bool(cost.isfinite())
    assert bool(out.grad.isfinite().all())


@pytest.mark.parametrize("slope", [50.0, 200.0])
def test_mean_gate_is_gamma(slope: float, rng: torch.Generator) -> None:
    gamma = torch.linspace(0.05, 0.95, 19).expand(50_000, 19)
    uniform = torch.rand(50_000, 19, generator=rng)
    for gate in (SigmoidGate(slope=slope), HardGate()):
        mean = gate.relaxed(gamma, torch.logit(gamma), uniform, 0).mean(dim=0)
        torch.testing.assert_close(mean, gamma[0], rtol=0, atol=0.01)
    concrete = BinaryConcrete(temperature=0.5).relaxed(gamma, torch.logit(gamma), uniform, 0)
    torch.testing.assert_close((concrete > 0.5).float().mean(dim=0), gamma[0], rtol=0, atol=0.01)
    assert bool(((concrete >= 0) & (concrete <= 1)).all())


def test_hard_gates_are_exactly_0_or_1_and_relaxed_ones_leak(rng: torch.Generator) -> None:
    gamma, uniform = torch.zeros(20_000, 1), torch.rand(20_000, 1, generator=rng)
    leaked = SigmoidGate(slope=50.0).relaxed(gamma, gamma, uniform, 0)
    assert float(leaked.mean()) == pytest.approx(0.0139, abs=1e-3)
    assert float((leaked > 1e-4).float().mean()) == pytest.approx(0.184, abs=0.01)
    assert not bool(hard_gate(gamma, uniform).any())
    drawn = hard_gate(gamma + 0.3, uniform)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    q = spike_slab(outputs(rng))
    codes = SpikeSlab().sample(q, rng, 0, hard=True)
    assert 0 < int((codes == 0).sum()) < codes.numel()
    assert torch.equal(SpikeSlab().mode(q) == 0, q.gamma <= 0.5)  # pyright: ignore[reportOptionalOperand]


def spike_gradient(spike: Spike, value: float) -> float:
    """Of a sum of samples and their divergence, with regard to what the net puts out for the spike."""
    out = torch.tensor([[0.7, -0.5, value]], dtype=torch.float64).repeat(64, 1).requires_grad_()
    how = SpikeSlab(spike=spike, gate=SigmoidGate(slope=50.0))
    q = how.parameters(out)
    cost = prior(k=1).divergence(q, torch.zeros(64, 5), no_net).per_sample().sum()
    (how.sample(q, generator(0, "z"), 0).sum() + cost).backward()
    assert out.grad is not None
    return float(out.grad[:, 2].abs().max())


def test_a_logit_learns_from_nearly_sure_gates_and_a_negative_relu_from_none() -> None:
    for gamma in (0.5, 0.9, 0.999, 1 - 1e-4):
        assert spike_gradient("logit", math.log(gamma / (1 - gamma))) > 1e-6
    assert spike_gradient("negrelu", -0.5) > 1e-6
    for value in (1e-3, 0.5, 3.0):
        assert spike_gradient("negrelu", value) == 0


def test_straight_through_has_the_derivative_of_gamma(rng: torch.Generator) -> None:
    gamma = torch.full((5, 2), 0.3, requires_grad=True)
    gate = HardGate().relaxed(gamma, torch.logit(gamma), torch.rand(5, 2, generator=rng), 0)
    gate.sum().backward()
    assert gamma.grad is not None
    assert bool((gamma.grad == 1).all())


def test_a_concrete_gate_needs_a_logit() -> None:
    with pytest.raises(ValueError, match=r"infinite at gamma = 1.*choose spike 'logit'"):
        SpikeSlab(spike="negrelu", gate=BinaryConcrete())


def test_warm_up_hides_the_slab(rng: torch.Generator) -> None:
    q = Parameters(torch.full((1, 4), 9.0), torch.full((1, 4), 5.0), torch.ones(1, 4), torch.full((1, 4), 50.0))
    bare = Parameters(torch.zeros(1, 4), torch.zeros(1, 4), q.gamma, q.logit)
    cold = SpikeSlab(warm_up=0.0).sample(SpikeSlab(warm_up=0.0).sampled(q, 0), generator(0, "z"), 0)
    torch.testing.assert_close(cold, SpikeSlab().sample(bare, generator(0, "z"), 0))


def test_priors_are_drawn_from_as_they_are_defined(rng: torch.Generator) -> None:
    z = prior(alpha=0.1, k=8).sample(20_000, rng, no_net)
    assert float((z != 0).float().mean()) == pytest.approx(0.1, abs=0.005)
    assert float(z[z != 0].std()) == pytest.approx(1, abs=0.03)
    assert float(StandardNormal().build(4, (5,), rng).sample(20_000, rng, no_net).std()) == pytest.approx(1, abs=0.02)


def pseudo(u: int, sharpness: float = 20.0) -> PseudoInputsModule:
    module = PseudoInputs(n=u, alpha=0.3, sharpness=sharpness).build(3, (5,), generator(0, "prior"))
    assert isinstance(module, PseudoInputsModule)
    return module.double()


def test_divergence_from_pseudo_inputs_bounds_that_of_monte_carlo(rng: torch.Generator) -> None:
    net = torch.randn(5, 9, generator=rng, dtype=torch.float64) / 2
    module = pseudo(4, sharpness=4.0)

    def infer(x: Tensor) -> Parameters:
        return spike_slab(x.double() @ net)

    x = torch.rand(3, 5, generator=rng, dtype=torch.float64)
    q = infer(x)
    assert q.gamma is not None
    bound = module.divergence(q, x, infer).per_sample().detach()
    mu, logvar, sharp = (value.detach() for value in module.components(infer))
    n = 100_000
    on = torch.rand(n, 3, 3, generator=rng, dtype=torch.float64) < q.gamma
    z = q.mu + (0.5 * q.logvar).exp() * torch.randn(n, 3, 3, generator=rng, dtype=torch.float64)
    parts = torch.stack(
        [log_density(z, on, Parameters(mu[u], logvar[u], torch.sigmoid(sharp)[u]), 0.3) for u in range(4)]
    )
    exact = (log_density(z, on, q, 0.3) - parts.logsumexp(dim=0) + math.log(4)).mean(dim=0)
    assert bool((bound > exact - 1e-2).all())
    one = pseudo(1, sharpness=4.0)  # nothing to choose from: no slack
    mu, logvar, sharp = (value.detach() for value in one.components(infer))
    single = log_density(z, on, Parameters(mu[0], logvar[0], torch.sigmoid(sharp)[0]), 0.3)
    exact = (log_density(z, on, q, 0.3) - single).mean(dim=0)
    torch.testing.assert_close(one.divergence(q, x, infer).per_sample().detach(), exact, rtol=0, atol=2e-2)


def test_pseudo_inputs_hold_their_own_spikes_to_alpha() -> None:
    module = pseudo(4)

    def aggregate(gamma: float) -> float:
        result = Parameters(*(torch.zeros(4, 3).double() for _ in range(2)), *(torch.full((4, 3), gamma).double(),) * 2)
        cost = module.divergence(result, torch.zeros(4, 5).double(), lambda _: result).aggregate
        assert cost is not None
        return float(cost)

    sure, rare = aggregate(1.0), aggregate(0.5 + math.log(0.3 / 0.7) / 20)
    assert rare == pytest.approx(0, abs=1e-6)
    assert sure == pytest.approx(3 * math.log(1 / 0.3), abs=1e-2)
    z = module.sample(10_000, generator(0, "z"), lambda x: spike_slab(torch.full((len(x), 9), -30.0)))
    assert float((z != 0).double().mean()) < 1e-3  # sigmoid(-20 / 2) each
