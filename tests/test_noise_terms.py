"""The closed forms of what noise adds to the error, against quadrature and against drawn noise on a trained network."""

import math

import pytest
import torch
from noisy import digits, noisy_network, trained_network
from torch import Tensor

from sparsecode.evaluate.units.noise_terms import (
    Network,
    covariance_terms,
    moments,
    noise_terms,
    rectified_network,
    sample_terms,
)
from sparsecode.nn.activations import TopK
from sparsecode.recipes import RECIPES


def test_moments_are_those_of_the_definition() -> None:
    """Trapezia over +-10 deviations, whose only error is at the kink."""
    pre = torch.tensor([[-4.0, -1.0, -0.1, 0.0, 0.1, 1.0, 4.0]], dtype=torch.float64)
    spread = torch.tensor([0.5, 1.0, 2.0, 1.0, 0.3, 1.0, 1.0], dtype=torch.float64)
    g = torch.linspace(-10, 10, 400_001, dtype=torch.float64)[:, None]
    weight = torch.exp(-g.square() / 2) / math.sqrt(2 * math.pi)
    delta = torch.relu(pre + spread * g) - torch.relu(pre)
    result = moments(pre, spread)
    assert torch.allclose(result.first[0], torch.trapezoid(weight * delta, g, dim=0), rtol=1e-7, atol=1e-12)
    assert torch.allclose(result.second[0], torch.trapezoid(weight * delta.square(), g, dim=0), rtol=1e-7, atol=1e-12)


def test_moments_of_units_that_noise_does_not_move_are_0() -> None:
    result = moments(torch.tensor([[-1.0, 0.0, 2.0]]), torch.zeros(3))
    assert result.first.tolist() == result.second.tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("rho", [-0.95, -0.5, 0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("u", [(0.0, 0.0), (-0.5, 1.0), (-1.5, -2.0), (2.0, 3.0)])
def test_covariances_are_those_of_the_definition(rho: float, u: tuple[float, float]) -> None:
    """Of one pair of units, by the conditional mean in the inner integral: E[relu(m + s g)] = m Phi(m/s) + s phi(m/s)."""
    pre = torch.tensor([u], dtype=torch.float64)
    keys = torch.tensor([[1.0, 0.0], [rho, math.sqrt(1 - rho**2)]], dtype=torch.float64)
    result, bound = covariance_terms(pre, keys, torch.ones(2, 1, dtype=torch.float64), 1.0)
    g = torch.linspace(-9, 9, 100_001, dtype=torch.float64)
    weight = torch.exp(-g.square() / 2) / math.sqrt(2 * math.pi)
    mean, sd = u[1] + rho * g, max(math.sqrt(1 - rho**2), 1e-12)
    inner = mean * torch.special.ndtr(mean / sd) + sd * torch.exp(-(mean / sd).square() / 2) / math.sqrt(2 * math.pi)
    delta = torch.relu(u[0] + g) - max(u[0], 0)
    exact = 2 * float(torch.trapezoid(weight * delta * (inner - max(u[1], 0)), g))
    assert abs(float(result) - exact) <= float(bound) + 1e-8
    assert float(bound) < 0.002


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.5])
def test_terms_are_those_of_drawn_noise(sigma: float) -> None:
    """Within 1 % of each; noise is drawn in pairs of opposite sign, and the shift compared in units of its drawing error."""
    model, x = trained_network(), digits().test.x
    net = rectified_network(model)
    assert net is not None
    x = model.normalise(x).double()
    result = {
        name: float(value.mean())
        for name, value in zip(("r", "m", "v", "c", "b"), sample_terms(x, net, sigma), strict=True)
    }
    h = torch.relu((x - net.centre) @ net.keys.T + net.bias)
    residual, lengths = x - h @ net.values - net.offset, net.values.square().sum(dim=1)
    rng, drawn = torch.Generator().manual_seed(0), []
    for _ in range(300):
        noise = sigma * torch.randn(x.shape, generator=rng, dtype=torch.float64)
        both: list[Tensor] = []
        for e in (noise, -noise):
            delta = torch.relu((x + e - net.centre) @ net.keys.T + net.bias) - h
            made = delta @ net.values
            shift, own = -2 * (residual * made).sum(dim=1), delta.square() @ lengths
            whole = (residual - made).square().sum(dim=1)
            both.append(torch.stack([shift.mean(), own.mean(), (made.square().sum(dim=1) - own).mean(), whole.mean()]))
        drawn.append((both[0] + both[1]) / 2)
    values = torch.stack(drawn)
    shift, variance, covariance, total = values.mean(dim=0).tolist()
    error = (values.std(dim=0) / math.sqrt(len(values))).tolist()
    assert result["r"] == pytest.approx(float(residual.square().sum(dim=1).mean()))
    assert result["v"] == pytest.approx(variance, rel=0.01)
    assert result["c"] == pytest.approx(covariance, rel=0.01)
    assert result["m"] == pytest.approx(shift, rel=0.01, abs=4 * error[0])
    assert abs(result["m"]) > 10 * error[0]
    assert result["r"] + result["m"] + result["v"] + result["c"] == pytest.approx(total, rel=0.005)
    assert result["b"] < 1e-4 * result["v"]


def test_all_units_on_is_the_contractive_penalty() -> None:
    rng = torch.Generator().manual_seed(1)
    keys, values = (torch.randn(6, 4, generator=rng, dtype=torch.float64) for _ in range(2))
    net = Network(
        keys, torch.full((6,), 1e3, dtype=torch.float64), torch.zeros(4).double(), values, torch.zeros(4).double()
    )
    x, sigma = torch.randn(3, 4, generator=rng, dtype=torch.float64), 0.2
    terms = sample_terms(x, net, sigma)
    jacobian = sigma**2 * (values.T @ keys).square().sum()
    assert torch.allclose(terms.variance + terms.covariance, jacobian.expand(3))
    assert torch.allclose(terms.mean_shift, torch.zeros(3).double(), atol=1e-12)


def test_rows_at_a_time_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(2)
    keys, values = (torch.randn(7, 5, generator=rng, dtype=torch.float64) for _ in range(2))
    pre = torch.randn(4, 7, generator=rng, dtype=torch.float64)
    whole = covariance_terms(pre, keys, values, 0.5)
    monkeypatch.setattr("sparsecode.evaluate.units.noise_terms.ROWS", 3)
    for a, b in zip(whole, covariance_terms(pre, keys, values, 0.5), strict=True):
        assert torch.allclose(a, b)


def test_models_of_another_shape_have_none() -> None:
    assert noise_terms(noisy_network(0, activation=TopK(k=3)), digits().test, 0.3) is None
    assert noise_terms(RECIPES["digits-sdl"]().model.build(digits().shape, 0), digits().test, 0.3) is None


def test_products_in_float32_change_next_to_nothing() -> None:
    rng = torch.Generator().manual_seed(3)
    keys, values = (torch.randn(40, 9, generator=rng, dtype=torch.float64) for _ in range(2))
    pre = 20 * torch.randn(30, 40, generator=rng, dtype=torch.float64)  # far from the threshold, too
    exact, exact_bound = covariance_terms(pre, keys, values, 0.5)
    result, bound = covariance_terms(pre, keys, values, 0.5, products=torch.float32)
    assert result.dtype == torch.float64
    assert torch.allclose(result, exact, rtol=1e-5, atol=1e-6 * float(exact.abs().max()))
    assert torch.allclose(bound, exact_bound, rtol=1e-3, atol=1e-6 * float(exact.abs().max()))
