"""Penalty weights per atom and per row, beside problems with one weight and a float64 certificate written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sparsecode import SparseCoder, omp_encode, sparse_encode
from sparsecode.penalties import ElasticNet
from sparsecode.solvers import FISTA

RNG = np.random.default_rng(0)
D = RNG.normal(size=(40, 24)) / 5
X = RNG.normal(size=(30, 24))
ATOMS, ROWS = RNG.uniform(0.05, 0.6, 40), RNG.uniform(0.05, 0.6, 30)


def gap_of(x: Any, z: Any, alpha: Any, positive: bool, m: Any = 1.0) -> Any:
    """P(z) - D(s r) of 1/2 |m (x - z D)|^2 + sum alpha |z|, over 1/2 |m x|^2."""
    r = m * (x - z @ D)
    u = r @ D.T / alpha
    s = np.minimum(1, 1 / np.maximum((u if positive else np.abs(u)).max(axis=1), 1e-300))
    dual = s * (m * x * r).sum(axis=1) - s**2 * np.square(r).sum(axis=1) / 2
    primal = np.square(r).sum(axis=1) / 2 + (alpha * np.abs(z)).sum(axis=1)
    return (primal - dual) / (np.square(m * x).sum(axis=1) / 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("solver", [None, FISTA(restart=True)])
@pytest.mark.parametrize("alpha", [ATOMS, ATOMS[None], ROWS, ROWS[:, None]])
def test_codes_at_weights_of_atoms_and_rows_have_gaps_that_hold(
    dtype: Any, positive: bool, solver: Any, alpha: Any
) -> None:
    x = X.astype(dtype)
    solution = sparse_encode(
        x, D.astype(dtype), alpha, positive=positive, solver=solver, tol=1e-5, return_solution=True, chunk=16
    )
    each = alpha[:, None] if alpha is ROWS else alpha
    z = solution.z.astype(np.float64)
    assert solution.z.dtype == dtype
    gap = gap_of(x.astype(np.float64), z, each, positive)
    slack = 1e-6 if dtype == np.float32 else 1e-13  # D itself has been rounded
    assert (gap <= solution.gap + slack).all()
    assert solution.converged.all()
    assert (solution.gap <= 1e-5).all()
    assert 0 < (z != 0).mean() < 0.9


def test_rows_with_one_weight_each_are_codes_at_that_weight() -> None:
    each = sparse_encode(X, D, ROWS, tol=1e-6, return_solution=True)
    for i in (0, 11, 29):
        one = sparse_encode(X[i : i + 1], D, ROWS[i], tol=1e-6, return_solution=True)
        assert each.objective[i] == pytest.approx(one.objective[0], abs=1e-6 * np.square(X[i]).sum())
    even = sparse_encode(X, D, np.full(40, 0.3), tol=1e-6, return_solution=True)
    one = sparse_encode(X, D, 0.3, tol=1e-6, return_solution=True)
    np.testing.assert_allclose(even.objective, one.objective, rtol=1e-5)


def test_a_large_weight_keeps_its_atom_out_and_units_do_not_matter() -> None:
    alpha = np.where(np.arange(40) < 20, 0.1, 1e6)
    z = sparse_encode(X, D, alpha)
    assert not z[:, 20:].any()
    np.testing.assert_array_equal(sparse_encode(X * 2.0**300, D, alpha * 2.0**300), z * 2.0**300)
    assert isinstance(sparse_encode(torch.tensor(X), torch.tensor(D), torch.tensor(alpha)), torch.Tensor)


def test_weights_of_atoms_beside_missing_entries() -> None:
    mask = RNG.random(X.shape) < 0.8
    solution = sparse_encode(X, D, ATOMS, mask=mask, return_solution=True)
    assert (gap_of(X, solution.z, ATOMS, False, mask) <= solution.gap + 1e-13).all()
    assert solution.converged.all()


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (np.ones(7), r"^alpha has shape \(7,\); expected a number, \[n_code\] = \(40,\), \[n_samples\] = \(30,\)"),
        (np.ones((30, 40)), r"^alpha has shape \(30, 40\)"),
        (np.arange(40.0), "^alpha has an entry 0; expected finite numbers > 0"),
        (np.full(40, np.nan), "^alpha has an entry nan"),
        (np.full(40, "a"), "^alpha has dtype <U1"),
        (0.0, r"^alpha is 0\.0; expected a finite number > 0"),
    ],
)
def test_other_weights_are_refused(alpha: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sparse_encode(X, D, alpha)


def test_ambiguous_weights_and_other_penalties_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^alpha has shape \(24,\), and there are as many samples as atoms"):
        sparse_encode(X[:24], D[:24], np.ones(24))
    with pytest.raises(ValueError, match=r"^alpha has more than one value, and penalty is ElasticNet"):
        sparse_encode(X, D, ATOMS, penalty=ElasticNet())


def test_estimators_pass_weights_of_atoms_and_signs_of_pursuits_through() -> None:
    coder = SparseCoder(D, alpha=ATOMS).fit(X)
    np.testing.assert_array_equal(coder.transform(X), sparse_encode(X, D, ATOMS))
    pursuit = SparseCoder(D, n_nonzero=3, positive=True).fit(X)
    np.testing.assert_array_equal(pursuit.transform(X), omp_encode(X, D, 3, positive=True))


@pytest.mark.parametrize("unit", [1e-200, 1e-30, 1e200])
def test_weights_per_atom_in_any_units(unit: float) -> None:
    x, atoms = np.random.default_rng(0).normal(size=(20, 5)), np.eye(5)
    alphas = np.linspace(0.1, 0.5, 5)
    plain = sparse_encode(x, atoms, alphas, return_solution=True)
    scaled = sparse_encode(x * unit, atoms, alphas * unit, return_solution=True)
    np.testing.assert_allclose(scaled.z / unit, plain.z, atol=1e-9)
    assert bool(scaled.converged.all())
