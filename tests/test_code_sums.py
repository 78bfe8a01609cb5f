"""Sums and products of wide codes without their zeros: the same as with them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import sparsecode as sc
from sparsecode.data.splits import Split, Splits
from sparsecode.evaluate.base import rows_together
from sparsecode.evaluate.code_sums import sums_of
from sparsecode.evaluate.evaluation import Evaluate, evaluate_model
from sparsecode.evaluate.metrics import CodeUse, hoyer, hoyer_of, l0, treves_rolls, treves_rolls_of
from sparsecode.ops.sparse_codes import decode_codes
from sparsecode.ops.sparse_layout import from_mostly_zero


def codes(n_code: int, active: int, rows: int = 40) -> Tensor:
    rng = torch.Generator().manual_seed(n_code + active)
    z = torch.zeros(rows, n_code)
    at = torch.stack([torch.randperm(n_code, generator=rng)[:active] for _ in range(rows)])
    return z.scatter(1, at, torch.randn(rows, active, generator=rng))


@pytest.mark.parametrize(
    ("n_code", "active", "is_sparse"),
    [(2048, 5, True), (2048, 64, True), (2048, 65, False), (12, 12, False), (64, 0, True)],
)
@pytest.mark.parametrize("theta", [0.0, 0.5])
def test_sums_are_those_of_dense_codes(n_code: int, active: int, is_sparse: bool, theta: float) -> None:
    z = codes(n_code, active)
    z[3] = 0
    z[:, 7] = 0
    code = from_mostly_zero(z) if active < 65 else None
    assert (from_mostly_zero(codes(n_code, active)) is not None) == is_sparse
    assert code is None or len(code.values) == int((z != 0).sum())
    wide, sums = z.double(), sums_of(z, theta)
    assert (
        int(sums_of(torch.full_like(z, 0.1) * (z != 0), 0.1).by_code.active.sum()) == 0
    )  # 0.1 in float32 is above 0.1
    for part, dim in ((sums.by_sample, 1), (sums.by_code, 0)):
        torch.testing.assert_close(part.active, (wide.abs() > theta).sum(dim=dim))
        torch.testing.assert_close(part.total.double(), wide.abs().sum(dim=dim), rtol=1e-6, atol=0)
        torch.testing.assert_close(part.squares.double(), wide.square().sum(dim=dim), rtol=1e-6, atol=0)
    active_of, total, squares = sums.by_sample
    torch.testing.assert_close(active_of.float(), l0(z, theta))
    torch.testing.assert_close(
        hoyer_of(total.float(), squares.float().sqrt(), n_code), hoyer(z), equal_nan=True, rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        treves_rolls_of(total.float(), squares.float(), n_code), treves_rolls(z), equal_nan=True, rtol=1e-5, atol=1e-6
    )
    use = CodeUse(n_code, theta)
    for some in z.split(16):
        use.update(some)
    result = use.result()
    torch.testing.assert_close(result.frequency, (wide.abs() > theta).double().mean(dim=0))
    assert result.dead == int(((wide.abs() > theta).sum(dim=0) == 0).sum())


def test_what_has_to_stay_dense_does() -> None:
    z = codes(2048, 5)
    assert from_mostly_zero(z.double()) is None
    assert from_mostly_zero(z.T) is None
    assert from_mostly_zero(z[:0]) is None
    assert from_mostly_zero(z.clone().requires_grad_()) is None
    z[20:, :] = 1.0  # only the first rows are sparse
    assert from_mostly_zero(z) is None


@pytest.mark.parametrize("active", [0, 5, 200])
def test_codes_are_decoded_without_their_zeros(active: int) -> None:
    z, rng = codes(2048, active), torch.Generator().manual_seed(0)
    atoms, bias = torch.randn(2048, 30, generator=rng), torch.randn(30, generator=rng)
    expected = (z.double() @ atoms.double() + bias.double()).float()
    with torch.no_grad():
        torch.testing.assert_close(decode_codes(z, atoms, bias), expected, rtol=1e-4, atol=1e-4)
    atoms.requires_grad_()
    decode_codes(z, atoms, bias).sum().backward()
    assert atoms.grad is not None
    torch.testing.assert_close(atoms.grad, z.sum(dim=0)[:, None].expand(-1, 30), rtol=1e-4, atol=1e-4)


def test_a_wide_model_is_scored_as_in_float64() -> None:
    """In parts of fewer samples than a thousand; float64 goes through dense codes."""
    assert rows_together(24_576) == 170
    assert rows_together(64) == 1000
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(700, 12, generator=rng)
    model = sc.models.Amortised(n_code=16_384, activation=sc.nn.TopK(k=4)).build((12,), seed=0).eval()
    results: list[sc.evaluate.Score] = []
    for dtype in (torch.float32, torch.float64):
        split = Split(x.to(dtype))
        splits = Splits(split, split, split, float(x.min()), float(x.max()))
        evaluation = evaluate_model(model.to(dtype), splits, Evaluate(sigmas=()), 0)
        results.append(evaluation.scores["encode"])
    single, double = results
    assert single.l0 == double.l0 == 4
    assert single.dead == double.dead
    for name in (
        "explained_variance",
        "objective",
        "psnr",
        "hoyer",
        "population_sparsity",
        "lifetime_sparsity",
        "wape",
    ):
        assert getattr(single, name) == pytest.approx(getattr(double, name), rel=1e-5), name


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_named(value: float) -> None:
    model = sc.models.Amortised(n_code=8, activation=sc.nn.TopK(k=2)).build((3,), seed=0)
    x = torch.zeros(5, 3)
    x[4, 1] = value
    with pytest.raises(ValueError, match=r"x contains NaN, infinity .* first in row 4"):
        model.encode(x)
    assert model.encode(x[:0]).shape == (0, 8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_traced_decoder_has_no_codes_in_it() -> None:
    z, rng = codes(2048, 5), torch.Generator().manual_seed(0)
    atoms, bias = torch.randn(2048, 30, generator=rng), torch.randn(30, generator=rng)
    with torch.no_grad():
        traced = torch.jit.trace(lambda z: decode_codes(z, atoms, bias), (z,))
        other = codes(2048, 6)
        torch.testing.assert_close(traced(other), other @ atoms + bias, rtol=1e-4, atol=1e-4)  # pyright: ignore - a function
