"""What every decoder promises: a trainable mean, and weights within its constraint from the start."""

import pytest
import torch

from sparsecode.nn.constraints import Free, UnitNorm
from sparsecode.nn.decoders import Decoder, LinearDictionary

DECODERS: list[Decoder] = [LinearDictionary(), LinearDictionary(constraint=Free())]

every_decoder = pytest.mark.parametrize("spec", DECODERS, ids=repr)


@every_decoder
def test_mean_is_row_by_row_and_reaches_every_parameter(spec: Decoder, rng: torch.Generator) -> None:
    decoder = spec.build(9, 6, rng).double()
    z = torch.randn(5, 9, generator=rng, dtype=torch.float64)
    out = decoder.mean(z)
    assert out.shape == (5, 6)
    torch.testing.assert_close(torch.cat([decoder.mean(row[None]) for row in z]), out, rtol=0, atol=1e-12)
    out.square().sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in decoder.parameters())


@every_decoder
@pytest.mark.usefixtures("global_rng_untouched")
def test_weights_are_a_function_of_the_generator(spec: Decoder) -> None:
    first, same, other = (spec.build(9, 6, torch.Generator().manual_seed(seed)).atoms for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_an_atom_is_what_its_code_alone_decodes_to(rng: torch.Generator) -> None:
    decoder = LinearDictionary().build(9, 6, rng)
    assert torch.equal(decoder.mean(torch.eye(9)), decoder.atoms)


def test_atoms_are_constrained_at_the_start_and_whenever_asked(rng: torch.Generator) -> None:
    decoder = LinearDictionary(constraint=UnitNorm(radius=2.0)).build(9, 6, rng)
    for _ in range(2):
        torch.testing.assert_close(torch.linalg.vector_norm(decoder.atoms, dim=1), torch.full((9,), 2.0))
        with torch.no_grad():
            decoder.atoms.mul_(3)
        decoder.constrain_()
