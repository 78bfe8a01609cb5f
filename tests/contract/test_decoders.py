"""What every decoder promises: a trainable mean, and weights within its constraint from the start."""

import pytest
import torch

from sparsecode.nn.constraints import Free, UnitNorm
from sparsecode.nn.decoders import Decoder, LinearDictionary, OneHidden
from sparsecode.nn.online import OnlineDictionary

DECODERS: list[Decoder] = [
    LinearDictionary(),
    LinearDictionary(constraint=Free()),
    OneHidden(n_hidden=8),
    OneHidden(n_hidden=8, constraint=Free()),
    OnlineDictionary(),
]

every_decoder = pytest.mark.parametrize("spec", DECODERS, ids=repr)


@every_decoder
def test_mean_is_row_by_row_and_reaches_every_parameter(spec: Decoder, rng: torch.Generator) -> None:
    decoder = spec.build(9, (6,), rng).double()
    z = torch.randn(5, 9, generator=rng, dtype=torch.float64)
    out = decoder.mean(z)
    assert out.shape == (5, 6)
    torch.testing.assert_close(torch.cat([decoder.mean(row[None]) for row in z]), out, rtol=0, atol=1e-12)
    trained = [p for p in decoder.parameters() if p.requires_grad]
    assert {id(p) for group in decoder.param_groups().values() for p in group} == set(map(id, trained))
    if trained:
        out.square().sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in trained)


@every_decoder
def test_curvature_bound_is_one(spec: Decoder, rng: torch.Generator) -> None:
    """|J(z)|_2^2 of the Jacobian at any code stays below it."""
    decoder = spec.build(9, (6,), rng).double()
    for row in torch.randn(20, 9, generator=rng, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(lambda z: decoder.mean(z[None])[0], row)
        assert torch.linalg.matrix_norm(jacobian, 2) ** 2 <= decoder.curvature_bound() * (1 + 1e-9)  # pyright: ignore[reportArgumentType] - one tensor in, one out


@every_decoder
@pytest.mark.usefixtures("global_rng_untouched")
def test_weights_are_a_function_of_the_generator(spec: Decoder) -> None:
    first, same, other = (spec.build(9, (6,), torch.Generator().manual_seed(seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[k], same[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


def test_an_atom_is_what_its_code_alone_decodes_to(rng: torch.Generator) -> None:
    decoder = LinearDictionary().build(9, (6,), rng)
    assert torch.equal(decoder.mean(torch.eye(9)), decoder.atoms)


def test_atoms_are_constrained_at_the_start_and_whenever_asked(rng: torch.Generator) -> None:
    decoder = LinearDictionary(constraint=UnitNorm(radius=2.0)).build(9, (6,), rng)
    for _ in range(2):
        torch.testing.assert_close(torch.linalg.vector_norm(decoder.atoms, dim=1), torch.full((9,), 2.0))
        with torch.no_grad():
            decoder.atoms.mul_(3)
        decoder.constrain_()
