"""Foldings leave codes and outputs as they are, to 1e-12 in float64."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sparsecode.interop.affine_sae import (
    Activation,
    AffineSAE,
    CannotExpressError,
    GatedCodes,
    JumpReLUCodes,
    LayerNorm,
    ReLUCodes,
    TopKCodes,
)
from sparsecode.interop.folding import (
    cast,
    centre,
    fold_affine,
    fold_decoder_norms,
    fold_scale,
    uncentre,
    zero_bias,
)

D, M, N = 10, 24, 200
KINDS = ("relu", "topk", "jumprelu", "gated")


def normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def random_sae(rng: torch.Generator, kind: str, centred: bool = True) -> AffineSAE:
    activations: dict[str, Activation] = {
        "relu": ReLUCodes(),
        "topk": TopKCodes(4),
        "jumprelu": JumpReLUCodes(normal(rng, M).abs()),
        "gated": GatedCodes(normal(rng, M), normal(rng, M), 0.3 * normal(rng, M)),
    }
    weights = normal(rng, M, D), 0.3 * normal(rng, M), normal(rng, M, D), 0.5 * normal(rng, D)
    return AffineSAE(*weights, activations[kind], centred)


def assert_same(one: AffineSAE, other: AffineSAE, x: Tensor, y: Tensor | None = None) -> None:
    """`one` on x is `other` on y."""
    y = x if y is None else y
    codes = one.encode(x)
    assert 0 < float((codes > 0).double().mean()) < 1
    torch.testing.assert_close(codes, other.encode(y), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_scale_and_whitening(rng: torch.Generator, kind: str, centred: bool) -> None:
    sae, x = random_sae(rng, kind, centred), normal(rng, N, D)
    folded = fold_scale(sae, 0.31)
    assert_same(folded, sae, x, 0.31 * x)
    torch.testing.assert_close(folded.reconstruct(x), sae.reconstruct(0.31 * x) / 0.31, rtol=1e-12, atol=1e-12)

    matrix = torch.eye(D, dtype=torch.float64) + 0.1 * normal(rng, D, D)
    mean, inverse = normal(rng, D), torch.linalg.inv(matrix)
    white = fold_affine(sae, mean, matrix, inverse)
    inner = (x - mean) @ matrix
    assert_same(white, sae, x, inner)
    torch.testing.assert_close(white.reconstruct(x), sae.reconstruct(inner) @ inverse + mean, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_centre_moves_between_biases(rng: torch.Generator, kind: str) -> None:
    for centred in (True, False):
        sae, x = random_sae(rng, kind, centred), normal(rng, N, D)
        for other in (uncentre(sae), centre(sae), zero_bias(centre(sae))):
            assert_same(other, sae, x)
            torch.testing.assert_close(other.reconstruct(x), sae.reconstruct(x), rtol=1e-12, atol=1e-12)
        assert not uncentre(sae).centred
        assert centre(sae).centred
    if kind == "gated":
        assert not zero_bias(centre(sae)).b_enc.any()


@pytest.mark.parametrize("kind", ["relu", "jumprelu", "gated"])
def test_decoder_norms(rng: torch.Generator, kind: str) -> None:
    sae, x = random_sae(rng, kind), normal(rng, N, D)
    folded, norms = fold_decoder_norms(sae), torch.linalg.vector_norm(sae.W_dec, dim=1)
    torch.testing.assert_close(torch.linalg.vector_norm(folded.W_dec, dim=1), torch.ones(M, dtype=torch.float64))
    torch.testing.assert_close(folded.encode(x), sae.encode(x) * norms, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(folded.reconstruct(x), sae.reconstruct(x), rtol=1e-12, atol=1e-12)


def test_decoder_norms_of_top_k(rng: torch.Generator) -> None:
    sae, x = random_sae(rng, "topk"), normal(rng, N, D)
    with pytest.raises(CannotExpressError, match="ranks bare pre-activations"):
        fold_decoder_norms(sae)
    # ranked by pre times norm: codes in these units, and outputs from atoms of norm 1
    norms = torch.linalg.vector_norm(sae.W_dec, dim=1)
    codes = TopKCodes(4)(sae.pre(x) * norms)
    folded = fold_decoder_norms(sae, ranked_by_norm=True)
    torch.testing.assert_close(folded.encode(x), codes, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(folded.reconstruct(x), (codes / norms) @ sae.W_dec + sae.b_dec, rtol=1e-12, atol=1e-12)
    dead = replace(sae, W_dec=sae.W_dec.index_fill(0, torch.tensor([0]), 0.0))
    assert bool(fold_decoder_norms(dead, ranked_by_norm=True).encode(x).isfinite().all())


def test_row_norms_do_not_commute(rng: torch.Generator) -> None:
    sae = replace(random_sae(rng, "relu"), normaliser=LayerNorm())
    unit = torch.eye(D, dtype=torch.float64)
    with pytest.raises(CannotExpressError, match="LayerNorm"):
        fold_scale(sae, 2.0)
    with pytest.raises(CannotExpressError, match="LayerNorm"):
        fold_affine(sae, unit[0], unit, unit)


def test_records_check_themselves(rng: torch.Generator) -> None:
    sae = random_sae(rng, "jumprelu")
    with pytest.raises(ValueError, match=r"W_dec is \[10, 24\]"):
        replace(sae, W_dec=sae.W_dec.T)
    with pytest.raises(ValueError, match="threshold is"):
        replace(sae, activation=JumpReLUCodes(torch.zeros(3)))
    with pytest.raises(ValueError, match="b_enc has NaN"):
        replace(sae, b_enc=sae.b_enc / 0)
    with pytest.raises(ValueError, match="k is 25"):
        replace(sae, activation=TopKCodes(25))
    half = cast(sae, torch.float32)
    assert {value.dtype for value in half.tensors().values()} == {torch.float32}
