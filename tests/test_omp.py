"""`omp_encode` beside scikit-learn, and what its codes promise by themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.linear_model import orthogonal_mp_gram

from sparsecode import omp_encode
from sparsecode.data import Photos

Array = NDArray[Any]


def photographs() -> tuple[Array, Array]:
    """200 patches without their means and 300 unit-norm patches for atoms, float64."""
    rows = Photos(n_train=2000).load().train.x.flatten(1).double().numpy()
    rows = np.unique(rows - rows.mean(axis=1, keepdims=True), axis=0)  # twins would tie
    rows = np.random.default_rng(0).permutation(rows)
    lively = rows[np.linalg.norm(rows, axis=1) > 0.5]
    return lively[:200], lively[200:500] / np.linalg.norm(lively[200:500], axis=1, keepdims=True)


X, D = photographs()
for fixed in (X, D):
    fixed.flags.writeable = False


def left(x: Array, z: Array, atoms: Array = D) -> Array:
    return np.square(x - z @ atoms).sum(axis=1)


@pytest.mark.parametrize("n_nonzero", [1, 2, 5, 10, 40])
def test_codes_are_those_of_scikit_learn(n_nonzero: int) -> None:
    expected = np.asarray(orthogonal_mp_gram(D @ D.T, D @ X.T, n_nonzero_coefs=n_nonzero)).T
    codes = omp_encode(X, D, n_nonzero)
    assert ((codes != 0).sum(axis=1) == n_nonzero).all()
    np.testing.assert_allclose(codes, expected, atol=1e-8)


def test_a_tolerance_stops_rows_where_scikit_learn_stops() -> None:
    squares = np.square(X).sum(axis=1)
    codes = omp_encode(X, D, 144, tol=0.05)
    for i in range(50):
        gram_code = orthogonal_mp_gram(
            D @ D.T, D @ X[i][:, None], tol=0.05 * squares[i], norms_squared=squares[i : i + 1]
        )
        np.testing.assert_allclose(codes[i], np.ravel(gram_code), atol=1e-8)
    assert (left(X, codes) <= 0.05 * squares).all()
    assert len(set((codes != 0).sum(axis=1).tolist())) > 3


def test_each_code_is_the_best_on_its_atoms() -> None:
    codes = omp_encode(X, D, 10)
    for x, z in zip(X, codes, strict=True):
        best, *_ = np.linalg.lstsq(D[z != 0].T, x, rcond=None)
        np.testing.assert_allclose(z[z != 0], best, atol=1e-9)


def test_the_norm_of_an_atom_does_not_matter() -> None:
    norms = np.geomspace(1e-3, 1e3, len(D))[:, None]
    np.testing.assert_allclose(omp_encode(X, D * norms, 8) * norms.T, omp_encode(X, D, 8), atol=1e-9)


def test_a_code_that_made_the_sample_is_found_and_nothing_more() -> None:
    rng = np.random.default_rng(0)
    atoms = np.linalg.qr(rng.normal(size=(100, 60)))[0].T + rng.normal(size=(60, 100)) / 300
    made = np.zeros((50, 60))
    for row in made:
        row[rng.choice(60, 4, replace=False)] = rng.choice([-1, 1], 4) * rng.uniform(1, 2, 4)
    for dtype, atol in ((np.float64, 1e-12), (np.float32, 1e-5)):
        codes = omp_encode((made @ atoms).astype(dtype), atoms, 20)
        assert (codes[made == 0] == 0).all()
        np.testing.assert_allclose(codes, made, atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dependent_atoms_are_passed_over(dtype: Any) -> None:
    twins = np.concatenate([D[:20], 2 * D[:20], np.zeros((3, D.shape[1])), D[:10] + D[10:20]])
    codes = omp_encode(X.astype(dtype), twins, 40)
    assert np.isfinite(codes).all()
    assert ((codes != 0).sum(axis=1) <= 20).all()
    best, *_ = np.linalg.lstsq(D[:20].T, X.T, rcond=None)
    np.testing.assert_allclose(left(X, codes, twins), left(X, best.T, D[:20]), rtol=1e-3, atol=1e-4)


def test_positive_codes_are_non_negative_least_squares_on_their_atoms() -> None:
    errors: list[Array] = []
    for k in (1, 2, 4, 8, 16):
        codes = omp_encode(X[:60], D, k, positive=True)
        assert (codes >= 0).all()
        assert ((codes != 0).sum(axis=1) <= k).all()
        best = [nnls(D[z != 0].T, x)[1] ** 2 for x, z in zip(X, codes, strict=False)]
        np.testing.assert_allclose(left(X[:60], codes), best, rtol=1e-8)
        errors.append(left(X[:60], codes))
    assert (np.diff(errors, axis=0) <= 1e-12).all()


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-4), (np.float64, 1e-8)])
def test_positive_codes_without_a_limit_are_non_negative_least_squares(dtype: Any, rtol: float) -> None:
    atoms = D[:80]
    codes = omp_encode(X[:20].astype(dtype), atoms, 80, positive=True)
    best = [nnls(atoms.T, x)[1] ** 2 for x in X[:20]]
    np.testing.assert_allclose(left(X[:20], codes, atoms), best, rtol=rtol)


@pytest.mark.parametrize("positive", [False, True])
def test_a_support_alone_gives_least_squares_on_it(positive: bool) -> None:
    support = np.random.default_rng(0).random((40, 300)) < 0.1
    codes = omp_encode(X[:40], D, support=support, positive=positive)
    assert (codes[~support] == 0).all()
    for x, z, chosen in zip(X, codes, support, strict=False):
        best = nnls(D[chosen].T, x)[0] if positive else np.linalg.lstsq(D[chosen].T, x, rcond=None)[0]
        np.testing.assert_allclose(z[chosen], best, atol=1e-8)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, list])
def test_each_row_may_have_its_own_number_of_atoms(kind: Any) -> None:
    budgets = np.arange(200) % 7
    codes = omp_encode(X, D, kind(budgets.tolist()), chunk=64)
    np.testing.assert_array_equal((codes != 0).sum(axis=1), budgets)
    for k in (1, 6):
        np.testing.assert_allclose(codes[budgets == k], omp_encode(X[budgets == k], D, k), rtol=0, atol=1e-12)


@pytest.mark.parametrize("positive", [False, True])
def test_a_tolerance_alone_decides_how_many_atoms_a_row_has(positive: bool) -> None:
    codes = omp_encode(X, D, tol=0.3, positive=positive)
    assert (left(X, codes) <= 0.3 * np.square(X).sum(axis=1)).mean() > (0.95 if positive else 0.999)
    assert len(set((codes != 0).sum(axis=1).tolist())) > 3


def test_units_do_not_matter_to_positive_codes() -> None:
    codes = omp_encode(X[:20], D, 6, positive=True)
    np.testing.assert_array_equal(omp_encode(X[:20] * 2.0**600, D * 2.0**-300, 6, positive=True), codes * 2.0**900)


def test_samples_of_zeros_have_codes_of_zeros() -> None:
    assert (omp_encode(np.zeros((3, D.shape[1])), D, 5) == 0).all()
    assert omp_encode(X[:0], D, 5).shape == (0, 300)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out(dtype: torch.dtype) -> None:
    codes = omp_encode(torch.tensor(X).to(dtype), D, 3)
    assert codes.dtype == dtype
    fit = left(torch.tensor(X).to(dtype).double().numpy(), codes.double().numpy())
    assert (fit <= left(X, omp_encode(X, D, 3)) + 0.1 * np.square(X).sum(axis=1)).all()


@pytest.mark.parametrize("chunk", [1, 7, 200])
def test_chunks_do_not_matter(chunk: int) -> None:
    np.testing.assert_allclose(omp_encode(X, D, 6, chunk=chunk), omp_encode(X, D, 6), rtol=0, atol=1e-12)


def test_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.tile(X, (5, 1))
    one = omp_encode(x, D, 6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    np.testing.assert_array_equal(omp_encode(x, D, 6), one)


def test_memory_maps_are_read_and_written_in_chunks(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "z.npy", mode="w+", dtype=np.float64, shape=(200, 300))
    assert omp_encode(x, D, 6, out=out, chunk=16) is out
    out.flush()
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), omp_encode(X, D, 6), rtol=0, atol=1e-12)


def test_progress_is_shown_on_request_only(capsys: pytest.CaptureFixture[str]) -> None:
    omp_encode(X, D, 2, chunk=50)
    assert capsys.readouterr().out == ""
    omp_encode(X, D, 2, chunk=50, progress=True)
    assert "encoding" in capsys.readouterr().out


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": X[0]}, ValueError, r"^x has shape"),
        ({"x": np.where(np.arange(200)[:, None] == 5, np.nan, X)}, ValueError, "^x contains NaN or infinity, .* row 5"),
        ({"D": D.T}, ValueError, "^D has 300 columns and x has 144"),
        (
            {"D": D[:7], "n_nonzero": 8},
            ValueError,
            "^n_nonzero is 8; expected at most 7: D has 7 atoms of 144 features",
        ),
        ({"n_nonzero": 145}, ValueError, "^n_nonzero is 145; expected at most 144"),
        ({"n_nonzero": 0}, ValueError, "^n_nonzero is 0; expected a whole number >= 1"),
        ({"n_nonzero": 2.5}, ValueError, r"^n_nonzero is 2\.5"),
        ({"n_nonzero": None}, ValueError, "^n_nonzero, tol and support are all None; expected one of them"),
        ({"n_nonzero": [3] * 199}, ValueError, r"^n_nonzero has shape \(199,\) and dtype int64; expected .* \(200,\)"),
        ({"n_nonzero": np.ones(200)}, ValueError, "^n_nonzero has shape .* dtype float64"),
        ({"n_nonzero": [3] * 199 + [-1]}, ValueError, "^n_nonzero is -1 in row 199; expected whole numbers >= 0"),
        ({"n_nonzero": [3] * 199 + [145]}, ValueError, "^n_nonzero is 145; expected at most 144"),
        ({"support": np.ones((200, 300))}, ValueError, "^support has shape .* dtype float64; expected a bool"),
        ({"tol": -1.0}, ValueError, r"^tol is -1\.0; expected a finite number > 0"),
        ({"chunk": 0}, ValueError, "^chunk is 0"),
        ({"out": np.empty((200, 299))}, ValueError, "^out has shape"),
    ],
)
def test_errors_name_the_argument(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"x": X, "D": D, "n_nonzero": 3} | change
    with pytest.raises(error, match=message):
        omp_encode(arguments.pop("x"), arguments.pop("D"), arguments.pop("n_nonzero"), **arguments)
