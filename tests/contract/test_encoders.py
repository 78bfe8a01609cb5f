"""What every encoder promises: codes of the announced sign, row by row, all of it trainable."""

import pytest
import torch
from torch import Tensor

from sparsecode.nn.encoders import LISTA, LISTAModule
from sparsecode.ops.prox import soft_threshold

ENCODERS: list[LISTA] = [LISTA(), LISTA(n_iter=1), LISTA(positive=False)]

every_encoder = pytest.mark.parametrize("spec", ENCODERS, ids=repr)


def build(spec: LISTA, seed: int = 0) -> LISTAModule:
    return spec.build(9, (6,), torch.Generator().manual_seed(seed))


@pytest.fixture
def x(rng: torch.Generator) -> Tensor:
    return torch.randn(40, 6, generator=rng)


@every_encoder
def test_codes_have_the_announced_sign(spec: LISTA, x: Tensor) -> None:
    z = build(spec)(x)
    assert z.shape == (40, 9)
    assert (z > 0).any()
    assert bool((z < 0).any()) != spec.positive


@every_encoder
def test_rows_do_not_see_each_other(spec: LISTA, x: Tensor) -> None:
    encoder = build(spec).double()
    rows = x.double()
    torch.testing.assert_close(torch.cat([encoder(row[None]) for row in rows]), encoder(rows), rtol=0, atol=1e-12)


@every_encoder
def test_gradient_reaches_every_parameter(spec: LISTA, x: Tensor) -> None:
    encoder = build(spec)
    encoder(x).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name


@every_encoder
@pytest.mark.usefixtures("global_rng_untouched")
def test_weights_are_a_function_of_the_generator(spec: LISTA) -> None:
    first, same, other = (build(spec, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["weight"], other["weight"])


def test_lista_without_lateral_weights_is_one_rectified_layer(x: Tensor, rng: torch.Generator) -> None:
    encoder = build(LISTA(n_iter=3))
    with torch.no_grad():
        encoder.lateral.zero_()
        encoder.bias.normal_(generator=rng)
    torch.testing.assert_close(encoder(x), torch.relu(x @ encoder.weight.T + encoder.bias))


def test_signed_lista_without_lateral_weights_is_one_shrinkage(x: Tensor) -> None:
    encoder = build(LISTA(n_iter=3, positive=False))
    theta = torch.linspace(0, 1, 9)
    with torch.no_grad():
        encoder.lateral.zero_()
        encoder.bias.copy_(-theta)
    torch.testing.assert_close(encoder(x), soft_threshold(x @ encoder.weight.T, theta[None]))


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("n_iter", [1, 2, 5])
def test_lista_shrinks_once_more_than_it_iterates(n_iter: int, positive: bool) -> None:
    """With drive 1 and S = 1 each shrinkage adds 1 (less the threshold 1/4 of signed codes)."""
    encoder = LISTA(n_iter=n_iter, positive=positive).build(1, (1,), torch.Generator())
    with torch.no_grad():
        encoder.weight.fill_(1)
        encoder.lateral.fill_(1)
        encoder.bias.fill_(0 if positive else -0.25)
    assert encoder(torch.ones(1, 1)).item() == (n_iter + 1) * (1 if positive else 0.75)


@pytest.mark.parametrize(("n_iter", "expected"), [(1, 0.0), (2, 1.0), (3, 0.0)])
def test_lista_rectifies_between_iterations(n_iter: int, expected: float) -> None:
    """Drive 1 and S = -2: relu(1 - 2) = 0, relu(1 - 0) = 1, and so on."""
    encoder = LISTA(n_iter=n_iter).build(1, (1,), torch.Generator())
    with torch.no_grad():
        encoder.weight.fill_(1)
        encoder.lateral.fill_(-2)
    assert encoder(torch.ones(1, 1)).item() == expected


def test_lateral_weights_lead_from_their_column_to_their_row() -> None:
    """The drive of code 0 reaches code 1 through S[1, 0]."""
    encoder = LISTA(n_iter=1).build(2, (1,), torch.Generator())
    with torch.no_grad():
        encoder.weight.copy_(torch.tensor([[1.0], [0.0]]))
        encoder.lateral.copy_(torch.tensor([[0.0, 0.0], [0.5, 0.0]]))
    assert encoder(torch.ones(1, 1)).tolist() == [[1.0, 0.5]]


def test_signed_thresholds_are_held_non_negative() -> None:
    signed, positive = build(LISTA(positive=False)), build(LISTA(positive=True))
    for encoder in (signed, positive):
        with torch.no_grad():
            encoder.bias.copy_(torch.linspace(-1, 1, 9))
        encoder.constrain_()
    assert torch.equal(signed.bias, torch.linspace(-1, 1, 9).clamp(max=0))
    assert torch.equal(positive.bias, torch.linspace(-1, 1, 9))
