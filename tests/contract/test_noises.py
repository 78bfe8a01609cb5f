"""Noise laws: moments, schedules, seeds."""

from __future__ import annotations

import math

import pytest
import torch

from sparsecode.nn.corruptions import Corruption, Corruptor
from sparsecode.nn.noises import ExponentialNoise, GaussianNoise, LaplaceNoise, PoissonNoise, UniformNoise
from sparsecode.schedules import Linear

BuiltIn = GaussianNoise | LaplaceNoise | UniformNoise | ExponentialNoise | PoissonNoise
LAWS: list[type[BuiltIn]] = [GaussianNoise, LaplaceNoise, UniformNoise, ExponentialNoise, PoissonNoise]
KURTOSIS: dict[type[BuiltIn], float] = {GaussianNoise: 3.0, LaplaceNoise: 6.0, UniformNoise: 1.8, ExponentialNoise: 9.0}
each_law = pytest.mark.parametrize("law", LAWS)


def made(spec: Corruption, step: int = 0, seed: int = 0) -> torch.Tensor:
    x = torch.full((1000, 200), 0.25, dtype=torch.float64)
    how = Corruptor(spec, (200,))
    how.initialise_(torch.tensor([[-1.0, 1.0]]))
    how.advance_(step)
    return how(x, torch.Generator().manual_seed(seed)).x - x


@each_law
@pytest.mark.parametrize("sigma", [0.3, 3.0])
def test_sigma_is_the_standard_deviation_and_the_mean_is_0(law: type[BuiltIn], sigma: float) -> None:
    noise = made(law(sigma=sigma))
    assert bool(torch.isfinite(noise).all())
    assert abs(float(noise.mean())) < 0.01 * sigma
    assert abs(float(noise.std()) / sigma - 1) < 0.015
    expected = KURTOSIS.get(law, 3 + 1 / sigma**2)
    assert abs(float((noise / noise.std()).pow(4).mean()) / expected - 1) < 0.08


@pytest.mark.parametrize("law", [ExponentialNoise, PoissonNoise])
def test_positive_noise_can_keep_its_mean(law: type[ExponentialNoise | PoissonNoise]) -> None:
    noise = made(law(sigma=0.8, centred=False))
    assert float(noise.min()) >= -1e-12
    expected = 0.8 if law is ExponentialNoise else 0.64
    assert math.isclose(float(noise.mean()), expected, rel_tol=0.02)


@each_law
def test_noise_is_a_function_of_its_seed_and_of_the_step_where_it_anneals(law: type[BuiltIn]) -> None:
    spec = law(sigma=Linear(start=0.8, stop=0.2, length=10, delay=10))
    assert torch.equal(made(spec), made(spec, step=10))
    assert not torch.equal(made(spec), made(spec, seed=1))
    assert abs(float(made(spec, step=15).std()) - 0.5) < 0.02
    assert abs(float(made(spec, step=100).std()) - 0.2) < 0.01  # any level, and not beyond it


@each_law
def test_no_noise_is_the_sample_itself(law: type[BuiltIn]) -> None:
    assert not bool(made(law(sigma=0.0)).any())
    assert abs(float(made(law(sigma=0.1, unit="range")).std()) - 0.2) < 0.01


def test_negative_deviations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^GaussianNoise\.sigma"):
        GaussianNoise(sigma=-0.1)
    with pytest.raises(ValueError, match="schedule reaches"):
        LaplaceNoise(sigma=Linear(start=1.0, stop=-1.0, length=5))
