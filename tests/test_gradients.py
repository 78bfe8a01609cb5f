"""The SDL loss teaches decoder and encoder by their own terms, and inference is no part of either."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sparsecode.models.iterative import Inference, Iterative, IterativeModel
from sparsecode.nn.decoders import LinearDictionaryModule
from sparsecode.nn.encoders import LISTA, LISTAModule
from sparsecode.nn.normalisers import Standardise
from sparsecode.ops.rng import Stream
from sparsecode.penalties import L1
from sparsecode.records import Batch
from sparsecode.solvers import FISTA, QuadraticEnergy, solve

both_signs = pytest.mark.parametrize("positive", [True, False], ids=["positive", "signed"])


def sdl(positive: bool) -> IterativeModel:
    spec = Iterative(
        n_code=7,
        weight=0.1,
        proximity=0.5,
        normaliser=Standardise(mean=0.2, std=0.8),
        encoder=LISTA(n_iter=2, positive=positive),
        penalty=L1(positive=positive),
        inference=Inference(tol=1e-13, max_steps=50_000),
    )
    model = spec.build((5,), seed=0).double().train()
    with torch.no_grad():
        encoder_of(model).bias.fill_(0.05 if positive else -0.05)
    return model


def encoder_of(model: IterativeModel) -> LISTAModule:
    assert isinstance(model.encoder, LISTAModule)
    return model.encoder


def atoms_of(model: IterativeModel) -> nn.Parameter:
    assert isinstance(model.decoder, LinearDictionaryModule)
    return model.decoder.atoms


def codes_in_training(model: IterativeModel, x: Tensor) -> Tensor:
    """The minimisers of the energy with its pull to the encoder, found with another solver."""
    rows = model.normalise(x).detach()
    guess = encoder_of(model)(rows).detach()
    energy = QuadraticEnergy(rows, atoms_of(model).detach(), model.spec.proximal, 0.1).pulled_to(guess, 0.5)
    return solve(energy, FISTA(), guess, max_steps=50_000, tol=1e-13).z


@pytest.fixture
def x(rng: torch.Generator) -> Tensor:
    return torch.randn(6, 5, generator=rng, dtype=torch.float64)


@both_signs
def test_decoder_gradient_is_that_of_the_fidelity_at_the_solved_codes(positive: bool, x: Tensor) -> None:
    model = sdl(positive)
    model.loss(Batch(x), 0, Stream(0, 0)).total.backward()
    z, rows, atoms = codes_in_training(model, x), model.normalise(x), atoms_of(model).detach()
    assert (z != 0).any(dim=1).all()
    torch.testing.assert_close(atoms_of(model).grad, 2 / len(x) * z.T @ (z @ atoms - rows), rtol=1e-6, atol=1e-8)


@both_signs
def test_encoder_gradient_is_that_of_predicting_the_solved_codes(positive: bool, x: Tensor) -> None:
    model = sdl(positive)
    model.loss(Batch(x), 0, Stream(0, 0)).total.backward()
    z, rows = codes_in_training(model, x), model.normalise(x)
    parameters = dict(encoder_of(model).named_parameters())
    expected = torch.autograd.grad((encoder_of(model)(rows) - z).square().sum() / len(x), list(parameters.values()))
    for (name, parameter), gradient in zip(parameters.items(), expected, strict=True):
        assert (gradient != 0).any(), name
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-8)


@both_signs
def test_encoder_gradients_are_those_of_finite_differences(positive: bool, x: Tensor) -> None:
    encoder = encoder_of(sdl(positive))
    names, values = zip(*encoder.named_parameters(), strict=True)

    def codes(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(encoder, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(codes, (x.requires_grad_(), *values))


@both_signs
def test_no_gradient_flows_through_inference(positive: bool, x: Tensor) -> None:
    model = sdl(positive)
    loss = model.loss(Batch(x.requires_grad_()), 0, Stream(0, 0))
    encoder = list(encoder_of(model).parameters())
    assert torch.autograd.grad(loss.parts["fidelity"], encoder, retain_graph=True, allow_unused=True) == (None,) * 3
    assert torch.autograd.grad(loss.parts["amortise"], atoms_of(model), retain_graph=True, allow_unused=True) == (None,)
    residual = model.decode(codes_in_training(model, x)) - model.normalise(x)
    (gradient,) = torch.autograd.grad(loss.parts["fidelity"], x)
    torch.testing.assert_close(gradient, -2 / len(x) * residual.detach() / model.normaliser.scale, rtol=1e-6, atol=1e-8)
    assert not model.infer(x).z.requires_grad


@both_signs
def test_loss_is_the_sum_of_its_parts(positive: bool, x: Tensor) -> None:
    model = sdl(positive)
    loss = model.loss(Batch(x), 0, Stream(0, 0))
    z, rows = codes_in_training(model, x), model.normalise(x)
    fidelity = (z @ atoms_of(model) - rows).square().sum() / len(x)
    amortise = (encoder_of(model)(rows) - z).square().sum() / len(x)
    torch.testing.assert_close(loss.parts["fidelity"], fidelity)
    torch.testing.assert_close(loss.parts["amortise"], amortise)
    torch.testing.assert_close(loss.total, fidelity + amortise)


@both_signs
def test_solved_codes_minimise_the_energy_with_its_pull_to_the_encoder(positive: bool, x: Tensor) -> None:
    """grad_j = -weight sign(z_j) where z_j != 0, |grad_j| <= weight elsewhere (-grad_j <= weight if positive)."""
    model = sdl(positive)
    rows = model.normalise(x)
    z, atoms = codes_in_training(model, x), atoms_of(model).detach()
    grad = (z @ atoms - rows) @ atoms.T + 0.5 * (z - encoder_of(model)(rows).detach())
    on = z != 0
    torch.testing.assert_close(grad[on], -0.1 * z[on].sign(), rtol=0, atol=1e-4)
    assert (-grad[~on] <= 0.1 + 1e-4).all()
    assert positive or (grad[~on] <= 0.1 + 1e-4).all()
