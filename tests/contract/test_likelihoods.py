"""Distributions of features: values against torch.distributions, derivatives by differences."""

from __future__ import annotations

import pytest
import torch
from torch import distributions

from sparsecode.nn.likelihoods import Bernoulli, ContinuousBernoulli, Likelihood, Normal, NormalModule
from sparsecode.ops.rng import Stream

LIKELIHOODS: list[Likelihood] = [
    Bernoulli(),
    ContinuousBernoulli(),
    Normal(sigma=0.3),
    Normal(sigma=0.3, learned="one"),
    Normal(sigma=0.3, learned="each", output="sigmoid"),
]


def logits_and_targets(rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    out = torch.cat(
        [torch.randn(6, 4, generator=rng) * 3, torch.tensor([[0.0, 1e-4, -0.02, 0.029], [0.03, -0.031, 12, -15]])]
    )
    return out.double(), torch.rand(8, 4, generator=rng).double()


@pytest.mark.parametrize("spec", LIKELIHOODS, ids=lambda s: f"{type(s).__name__}-{getattr(s, 'learned', '')}")
def test_values_and_means_are_those_of_torch(spec: Likelihood, rng: torch.Generator) -> None:
    out, x = logits_and_targets(rng)
    module = spec.build((4,)).double()
    if isinstance(spec, Normal):
        assert isinstance(module, NormalModule)
        mean = torch.sigmoid(out) if spec.output == "sigmoid" else out
        ours: distributions.Distribution = distributions.Normal(mean, 0.3)
    elif isinstance(spec, ContinuousBernoulli):
        ours = distributions.ContinuousBernoulli(logits=out, lims=(0.4999, 0.5001))
    else:
        ours = distributions.Bernoulli(logits=out, validate_args=False)
    torch.testing.assert_close(module.nll(out, x).detach(), -ours.log_prob(x).sum(dim=1), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(module.mean(out).detach(), ours.mean, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("spec", LIKELIHOODS, ids=lambda s: f"{type(s).__name__}-{getattr(s, 'learned', '')}")
def test_derivatives_are_those_of_differences(spec: Likelihood, rng: torch.Generator) -> None:
    out, x = logits_and_targets(rng)
    module = spec.build((4,)).double()
    assert torch.autograd.gradcheck(lambda o: module.nll(o, x), out.requires_grad_())
    for params in module.param_groups().values():
        module.nll(out, x).sum().backward()
        assert all(p.grad is not None and bool((p.grad != 0).all()) for p in params)


def test_binary_pictures_have_grey_levels_as_chances() -> None:
    rng = Stream(0, 0)
    x = torch.tensor([[0.0, 0.25, 1.0]]).repeat(20_000, 1)
    drawn = Bernoulli(binarise=True).build((3,)).observed(x, rng)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(dim=0), x[0], rtol=0, atol=0.02)
    assert Bernoulli().build((3,)).observed(x, rng) is x


def test_a_learned_deviation_must_start_above_its_floor() -> None:
    with pytest.raises(ValueError, match=r"expected above floor, 0\.01"):
        Normal(sigma=0.01, learned="one")
