"""Missing entries and weights of samples: codes and gaps of the masked problem, dictionaries of incomplete data."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso

from sparsecode import omp_encode, sparse_encode
from sparsecode.penalties import L1, ElasticNet, GroupL2
from sparsecode.solvers import FISTA

ALPHA = 0.1


def planted(
    n: int = 40, n_code: int = 48, n_features: int = 20, share: float = 0.6, seed: int = 0, dtype: Any = np.float64
):
    """Samples of a few atoms each, the atoms, and a mask; one row has no observed entry and one all."""
    rng = np.random.default_rng(seed)
    atoms = rng.normal(size=(n_code, n_features))
    D = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
    z = rng.normal(size=(n, n_code)) * (rng.random((n, n_code)) < 0.08)
    x = z @ D + 0.02 * rng.normal(size=(n, n_features))
    mask = rng.random((n, n_features)) < share
    mask[1], mask[2] = False, True
    return x.astype(dtype), D.astype(dtype), mask


def energy(x: Any, D: Any, mask: Any, z: Any, alpha: float = ALPHA, ratio: float = 0.0):
    r = mask * (x.astype(np.float64) - z.astype(np.float64) @ D.astype(np.float64))
    return 0.5 * (r**2).sum(1) + alpha * (np.abs(z).sum(1) + ratio / 2 * (z.astype(np.float64) ** 2).sum(1))


def gap(x: Any, D: Any, mask: Any, z: Any, alpha: float = ALPHA):
    """The duality gap of each row of the masked problem, relative to 1/2 |m x|^2, in plain NumPy."""
    result: list[float] = []
    for row, m, code in zip(x.astype(np.float64), mask, z.astype(np.float64), strict=True):
        y, atoms = row[m], D[:, m].astype(np.float64)
        r = y - code @ atoms
        dual = r * min(1.0, alpha / max(np.abs(atoms @ r).max(), 1e-300))
        primal = 0.5 * r @ r + alpha * np.abs(code).sum()
        result.append((primal - (0.5 * y @ y - 0.5 * (y - dual) @ (y - dual))) / max(0.5 * y @ y, 1e-300))
    return np.array(result)


def test_objectives_are_those_of_scikit_learn_row_by_row() -> None:
    x, D, mask = planted()
    actual = sparse_encode(x, D, ALPHA, mask=mask, tol=1e-11, return_solution=True)
    assert actual.converged.all()
    exact = np.zeros_like(actual.z)
    for i, m in enumerate(mask):
        if m.any():
            lasso = Lasso(ALPHA / m.sum(), fit_intercept=False, tol=1e-13, max_iter=100_000)
            exact[i] = lasso.fit(D[:, m].T, x[i, m]).coef_
    np.testing.assert_allclose(energy(x, D, mask, actual.z), energy(x, D, mask, exact), atol=1e-8)
    np.testing.assert_allclose(actual.objective, energy(x, D, mask, actual.z), atol=1e-12)
    assert not actual.z[1].any()
    assert actual.gap[1] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", [None, FISTA(restart=True)], ids=["descent", "fista"])
@pytest.mark.parametrize("repeated", [1, 40], ids=["own masks", "one mask"])
def test_gaps_are_those_of_the_masked_problem(dtype: Any, solver: Any, repeated: int) -> None:
    x, D, mask = planted(dtype=dtype)
    mask = np.repeat(mask[:: len(mask) // (40 // repeated)][: 40 // repeated], repeated, axis=0)
    actual = sparse_encode(x, D, ALPHA, mask=mask, tol=1e-5, solver=solver, return_solution=True)
    assert actual.converged.all()
    assert (actual.z != 0).any()
    true = gap(x, D, mask, actual.z)
    assert (actual.gap <= 1e-5).all()
    np.testing.assert_allclose(actual.gap, true, rtol=1e-3, atol=1e-12)
    assert (actual.gap >= true - 1e-12).all()


def test_a_mask_of_ones_changes_nothing_and_other_entries_are_not_read() -> None:
    x, D, mask = planted()
    plain = sparse_encode(x, D, ALPHA, tol=1e-12)
    np.testing.assert_allclose(sparse_encode(x, D, ALPHA, mask=np.ones_like(mask), tol=1e-12), plain, atol=1e-9)
    np.testing.assert_allclose(sparse_encode(x, D, ALPHA, missing="nan", tol=1e-12), plain, atol=1e-9)
    masked = sparse_encode(x, D, ALPHA, mask=mask, tol=1e-12)
    np.testing.assert_allclose(masked[2], plain[2], atol=1e-4)
    assert np.abs(masked - plain).max() > 0.1
    for other in (np.nan, np.inf, 1e300):
        np.testing.assert_allclose(
            sparse_encode(np.where(mask, x, other), D, ALPHA, tol=1e-12, mask=mask), masked, atol=1e-9
        )
    nan = np.where(mask, x, np.nan)
    np.testing.assert_allclose(sparse_encode(nan, D, ALPHA, tol=1e-12, missing="nan"), masked, atol=1e-9)
    np.testing.assert_allclose(sparse_encode(nan, D, ALPHA, tol=1e-12, missing="nan", chunk=7), masked, atol=1e-9)
    both = sparse_encode(np.where(mask | (x > 0), x, np.nan), D, ALPHA, tol=1e-12, mask=mask | (x <= 0), missing="nan")
    np.testing.assert_allclose(both, masked, atol=1e-9)
    tensor = sparse_encode(torch.from_numpy(x), torch.from_numpy(D), ALPHA, tol=1e-12, mask=torch.from_numpy(mask))
    np.testing.assert_allclose(tensor.numpy(), masked, atol=1e-9)
    again = sparse_encode(x, D, ALPHA, tol=2e-12, mask=mask, z0=masked, return_solution=True)
    assert (again.steps == 0).all()


@pytest.mark.parametrize(
    "penalty", [L1(positive=True), ElasticNet(ratio=0.5), GroupL2(size=4)], ids=lambda p: type(p).__name__
)
def test_other_penalties_agree_with_one_row_without_its_missing_columns(penalty: Any) -> None:
    x, D, mask = planted(n=6)
    actual = sparse_encode(x, D, ALPHA, mask=mask, penalty=penalty, tol=1e-7, return_solution=True)
    for i, m in enumerate(mask):
        if m.any():
            one = sparse_encode(x[i : i + 1, m], D[:, m], ALPHA, penalty=penalty, tol=1e-7, return_solution=True)
            np.testing.assert_allclose(actual.objective[i], one.objective[0], atol=1e-6)
    assert actual.converged.all()
    assert not isinstance(penalty, L1) or (actual.z >= 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("repeated", [1, 40], ids=["own masks", "one mask"])
@pytest.mark.parametrize("options", [{"n_nonzero": 4}, {"tol": 0.1}, {"n_nonzero": 4, "positive": True}], ids=str)
def test_pursuit_is_that_of_each_row_without_its_missing_columns(
    dtype: Any, repeated: int, options: dict[str, Any]
) -> None:
    x, D, mask = planted(dtype=dtype)
    mask = mask if repeated == 1 else np.repeat(mask[3:4], len(x), axis=0)
    actual = omp_encode(np.where(mask, x, np.nan), D, missing="nan", **options)
    assert actual.any()
    for row, m, code in zip(x, mask, actual, strict=True):
        if m.any():
            one = omp_encode(row[None, m], np.ascontiguousarray(D[:, m]), **options)[0]
            np.testing.assert_allclose(code, one, atol=1e-4 if dtype == np.float32 else 1e-10)
        else:
            assert not code.any()


def test_pursuit_on_supports_with_missing_entries() -> None:
    x, D, mask = planted()
    allowed = np.random.default_rng(1).random((len(x), len(D))) < 0.1
    actual = omp_encode(x, D, support=allowed, mask=mask)
    assert not actual[~allowed].any()
    for row, m, may, code in zip(x, mask, allowed, actual, strict=True):
        if m.sum() > may.sum():
            exact = np.linalg.lstsq(D[np.ix_(may, m)].T, row[m], rcond=None)[0]
            np.testing.assert_allclose(code[may], exact, atol=1e-8)


def test_units_do_not_matter() -> None:
    x, D, mask = planted(dtype=np.float32)
    plain = sparse_encode(x, D, ALPHA, mask=mask)
    large = sparse_encode(x * np.float32(2.0**80), D, ALPHA * 2.0**80, mask=mask)
    np.testing.assert_allclose(large, plain * np.float32(2.0**80), rtol=1e-5, atol=2.0**60)


def test_more_active_codes_than_the_small_gram_matrix_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    from sparsecode.kernels import masked

    x, D, mask = planted(n=10)
    plain = sparse_encode(x, D, ALPHA, mask=mask, tol=1e-10, return_solution=True)
    monkeypatch.setattr(masked, "MOST", 16)
    actual = sparse_encode(x, D, ALPHA, mask=mask, tol=1e-10, return_solution=True)
    assert actual.converged.all()
    np.testing.assert_allclose(actual.objective, plain.objective, atol=1e-9)


def test_steps_are_bounded_and_said() -> None:
    from sklearn.exceptions import ConvergenceWarning

    x, D, mask = planted()
    with pytest.warns(ConvergenceWarning, match="stopped at max_steps=3 with relative duality gaps up to"):
        actual = sparse_encode(x, D, 0.01, mask=mask, max_steps=3, tol=1e-9, return_solution=True)
    assert actual.steps.max() == 3
    left = ~actual.converged
    np.testing.assert_allclose(actual.gap[left], gap(x, D, mask, actual.z, 0.01)[left], rtol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        loose = sparse_encode(
            x.astype(np.float32), D.astype(np.float32), 1e-6, mask=mask, tol=1e-9, return_solution=True
        )
    assert np.isfinite(loose.gap).all()


def test_weights_multiply_objectives_alone() -> None:
    x, D, mask = planted()
    weight = np.linspace(0, 2, len(x))
    plain = sparse_encode(x, D, ALPHA, mask=mask, return_solution=True)
    actual = sparse_encode(x, D, ALPHA, mask=mask, sample_weight=weight, return_solution=True)
    np.testing.assert_allclose(actual.z, plain.z, atol=1e-12)
    np.testing.assert_allclose(actual.gap, plain.gap, atol=1e-12)
    np.testing.assert_allclose(actual.objective, weight * plain.objective, rtol=1e-12)


X, _, MASK = planted(n=4)


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"mask": MASK.astype(float)}, TypeError, "mask has dtype float64; expected bool, True where x is observed"),
        ({"mask": MASK[:2]}, ValueError, r"mask has shape \(2, 20\); expected that of x, .* = \(4, 20\)"),
        ({"missing": "none"}, ValueError, "missing is 'none'; expected 'nan'"),
        (
            {"sample_weight": [1.0, -2.0, 1.0, 1.0]},
            ValueError,
            "sample_weight is -2 in row 1; expected finite numbers >= 0",
        ),
        (
            {"sample_weight": [1.0, 2.0]},
            ValueError,
            r"sample_weight has shape \(2,\); expected one number per row of x, \[4\]",
        ),
        ({"sample_weight": np.zeros(4)}, ValueError, "sample_weight is 0 in all rows"),
        ({"sample_weight": ["a"] * 4}, TypeError, "sample_weight has dtype <U1; expected real numbers"),
        ({"x": np.where(MASK, X, np.nan)}, ValueError, "x contains NaN or infinity, first in row 0; .*missing='nan'"),
        (
            {"x": np.where(MASK, np.inf, np.nan), "missing": "nan"},
            ValueError,
            "x contains infinity, first in row 0",
        ),
    ],
)
def test_errors_name_the_argument(changed: dict[str, Any], kind: type[Exception], message: str) -> None:
    _, D, _ = planted(n=4)
    arguments: dict[str, Any] = {"x": X, "D": D, "alpha": ALPHA, **changed}
    with pytest.raises(kind, match=message):
        sparse_encode(**arguments)
