"""Codes of stated sizes and amplitudes on stated supports, beside scipy's least squares and our own pursuit."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

from sparsecode import omp_encode
from sparsecode.data import Digits
from sparsecode.evaluate.reconstruction.pursuits import greedy_codes, refitted_codes, spread, strongest

X = Digits().load().train.x.flatten(1).double()
ROWS, ATOMS = X[:60], X[100:200] - X[100:200].mean(dim=1, keepdim=True)  # coherent atoms, norms of all sizes


def left(z: Tensor) -> Tensor:
    return (ROWS - z @ ATOMS).square().sum(dim=1)


@pytest.mark.parametrize(("l0", "n"), [(0.0, 7), (2.5, 8), (3.0, 5), (12.34, 1000)])
def test_budgets_have_the_mean_asked_for(l0: float, n: int) -> None:
    result = spread(l0, n)
    assert len(result) == n
    assert float(result.double().mean()) == pytest.approx(l0, abs=1 / n)
    assert set(result.tolist()) <= {int(l0), int(l0) + 1}


def test_a_negative_budget_is_named() -> None:
    with pytest.raises(ValueError, match="l0 is -1"):
        spread(-1.0, 3)


@pytest.mark.parametrize("k", [1, 3, 8, 30])
def test_greedy_codes_of_either_sign_are_those_of_the_pursuit(k: int) -> None:
    budgets = torch.full((60,), k)
    torch.testing.assert_close(greedy_codes(ROWS, ATOMS, budgets), omp_encode(ROWS, ATOMS, k), rtol=1e-6, atol=1e-9)


def test_every_row_keeps_to_its_own_budget() -> None:
    budgets = torch.arange(60) % 7
    for positive in (False, True):
        z = greedy_codes(ROWS, ATOMS, budgets, positive)
        assert torch.equal((z != 0).sum(dim=1), budgets)


def test_positive_codes_are_the_best_on_their_support_and_better_with_every_atom() -> None:
    errors: list[Tensor] = []
    for k in range(1, 12):
        z = greedy_codes(ROWS, ATOMS, torch.full((60,), k), positive=True)
        assert (z >= 0).all()
        best = [nnls(ATOMS[row != 0].T.numpy(), x.numpy())[1] ** 2 for row, x in zip(z, ROWS, strict=True)]
        np.testing.assert_allclose(left(z).numpy(), best, rtol=1e-8)
        errors.append(left(z))
    falls = torch.stack(errors).diff(dim=0)  # 0 where no atom helps any more
    assert (falls <= 1e-12).all()
    assert (falls[:5] < 0).double().mean() > 0.95


def test_positive_codes_without_a_bound_are_the_optimum() -> None:
    z = greedy_codes(ROWS, ATOMS, torch.full((60,), 100), positive=True)
    best = [nnls(ATOMS.T.numpy(), x.numpy())[1] ** 2 for x in ROWS]
    np.testing.assert_allclose(left(z).numpy(), best, rtol=1e-8)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_amplitudes_are_least_squares_on_the_support(positive: bool, dtype: torch.dtype) -> None:
    support = torch.rand(60, 100, generator=torch.Generator().manual_seed(0)) < 0.15
    z = refitted_codes(ROWS.to(dtype), ATOMS.to(dtype), support, positive)
    assert z.dtype == dtype
    assert not z[~support].any()
    for row, x, chosen in zip(z.double(), ROWS, support, strict=True):
        part = ATOMS[chosen].T.numpy()
        best = nnls(part, x.numpy())[0] if positive else np.linalg.lstsq(part, x.numpy())[0]
        np.testing.assert_allclose(
            part @ row[chosen].numpy(), part @ best, atol=1e-3 if dtype == torch.float32 else 1e-8
        )


def test_codes_of_any_norm_of_atoms_explain_the_same() -> None:
    scales = torch.linspace(0.01, 20, 100, dtype=torch.float64)[:, None]
    for positive in (False, True):
        z = greedy_codes(ROWS, ATOMS, torch.full((60,), 6), positive)
        other = greedy_codes(ROWS, ATOMS * scales, torch.full((60,), 6), positive)
        torch.testing.assert_close(other * scales[:, 0], z, rtol=1e-6, atol=1e-9)


def test_atoms_of_zeros_and_twins_are_passed_over() -> None:
    atoms = torch.cat([ATOMS[:3], ATOMS[:3], torch.zeros(2, 64, dtype=torch.float64)])
    for positive in (False, True):
        z = greedy_codes(ROWS, atoms, torch.full((60,), 8), positive)
        assert int((z != 0).sum(dim=1).max()) <= 3
        assert z.isfinite().all()


def test_samples_of_zeros_get_no_codes() -> None:
    assert not greedy_codes(torch.zeros(2, 64), ATOMS.float(), torch.full((2,), 4)).any()


def test_the_strongest_atoms_are_those_of_the_largest_cosines() -> None:
    budgets = torch.arange(60) % 5
    support = strongest(ROWS, ATOMS, budgets)
    assert torch.equal(support.sum(dim=1), budgets)
    size = (ROWS @ (ATOMS / ATOMS.norm(dim=1, keepdim=True)).T).abs()
    for row, chosen in zip(size, support, strict=True):
        if chosen.any():
            assert row[chosen].min() >= row[~chosen].max()
