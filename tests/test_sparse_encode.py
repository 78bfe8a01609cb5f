"""`sparse_encode`: arrays in, arrays of the same kind out, and a certificate that can be recomputed by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso

from sparsecode import alpha_max, sparse_encode
from sparsecode.penalties import L1, ElasticNet, GroupL2, LogSum, Proximal
from sparsecode.solvers import FISTA, ISTA, CoordinateDescent, Solver

Array = NDArray[Any]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(9, 6))
D = RNG.normal(size=(10, 6))
ALPHA = 1.0
for fixed in (X, D):
    fixed.flags.writeable = False


def objective(x: Array, z: Array, atoms: Array = D) -> Array:
    return np.square(x - z @ atoms).sum(axis=1) / 2 + ALPHA * np.abs(z).sum(axis=1)


@pytest.fixture(scope="module")
def codes() -> Array:
    return sparse_encode(X, D, ALPHA, tol=1e-10)


def test_codes_are_sparse_and_optimal(codes: Array) -> None:
    assert codes.shape == (9, 10)
    assert 0 < (codes != 0).mean() < 0.8
    grad = (codes @ D - X) @ D.T
    on = codes != 0
    np.testing.assert_allclose(grad[on], -ALPHA * np.sign(codes[on]), atol=1e-3)
    assert (np.abs(grad[~on]) <= ALPHA + 1e-3).all()


@pytest.mark.parametrize("solver", [FISTA(), ISTA(), FISTA(step_size=0.02), CoordinateDescent()], ids=repr)
def test_every_solver_finds_the_same_codes(solver: Solver, codes: Array) -> None:
    np.testing.assert_allclose(sparse_encode(X, D, ALPHA, tol=1e-8, solver=solver), codes, atol=1e-3)


@pytest.mark.parametrize("penalty", [L1(positive=True), ElasticNet(0.5), GroupL2(2), LogSum(2.0)], ids=repr)
def test_any_penalty_may_stand_in_for_l1(penalty: Proximal) -> None:
    codes = torch.tensor(sparse_encode(X, D, ALPHA, penalty=penalty, tol=1e-8))
    x, atoms = torch.tensor(X), torch.tensor(D)
    step = torch.full((len(X), 1), 0.01, dtype=torch.float64)
    grad = (codes @ atoms - x) @ atoms.T
    torch.testing.assert_close(penalty.prox(codes - step * grad, step * ALPHA), codes, rtol=0, atol=1e-4)
    assert 0 < (codes != 0).double().mean() < 1


def test_the_default_penalty_is_l1() -> None:
    np.testing.assert_array_equal(sparse_encode(X, D, ALPHA, penalty=L1()), sparse_encode(X, D, ALPHA))
    expected = sparse_encode(X, D, ALPHA, positive=True)
    np.testing.assert_array_equal(sparse_encode(X, D, ALPHA, penalty=L1(positive=True)), expected)


def test_unfinished_codes_of_a_penalty_that_is_not_convex_are_told_by_their_residual() -> None:
    with pytest.warns(ConvergenceWarning, match="9 of 9 codes .* root mean square KKT residuals up to"):
        sparse_encode(X, D, ALPHA, penalty=LogSum(), tol=1e-12, max_steps=3)


def test_positive_codes_are_positive_and_optimal() -> None:
    codes = sparse_encode(X, D, ALPHA, positive=True, tol=1e-10)
    assert (codes >= 0).all()
    assert (codes > 0).any(axis=1).sum() > 5
    grad = (codes @ D - X) @ D.T
    np.testing.assert_allclose(grad[codes > 0], -ALPHA, atol=1e-3)
    assert (grad >= -ALPHA - 1e-3).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_in_numpy_out(dtype: Any, codes: Array) -> None:
    result = sparse_encode(X.astype(dtype), D, ALPHA)
    assert isinstance(result, np.ndarray)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, codes, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out(dtype: torch.dtype, codes: Array) -> None:
    result = sparse_encode(torch.tensor(X, dtype=dtype), D, ALPHA)
    assert isinstance(result, torch.Tensor)
    assert result.dtype == dtype
    assert not result.requires_grad
    np.testing.assert_allclose(result.double().numpy(), codes, atol=0.05)


def test_the_dictionary_follows_the_data() -> None:
    x = X.astype(np.float32)
    expected = sparse_encode(x, D.astype(np.float32), ALPHA)
    for atoms in (D, torch.tensor(D), torch.tensor(D).float()):
        np.testing.assert_array_equal(sparse_encode(x, atoms, ALPHA), expected)
        np.testing.assert_array_equal(sparse_encode(torch.tensor(x), atoms, ALPHA).numpy(), expected)


def test_half_precision_is_solved_in_single() -> None:
    half = X.astype(np.float16)
    result = sparse_encode(half, D, ALPHA, return_solution=True)
    expected = sparse_encode(half.astype(np.float32), D, ALPHA, return_solution=True)
    np.testing.assert_array_equal(result.z, expected.z.astype(np.float16))
    np.testing.assert_array_equal(result.objective, expected.objective)


@pytest.mark.parametrize("chunk", [1, 4, 9, 1000])
def test_chunks_do_not_matter(chunk: int) -> None:
    result = sparse_encode(X, D, ALPHA, chunk=chunk, return_solution=True)
    expected = sparse_encode(X, D, ALPHA, return_solution=True)
    for part, whole in zip(result, expected, strict=True):
        np.testing.assert_allclose(part, whole, rtol=0, atol=1e-12)


def test_out_is_filled_and_returned(codes: Array) -> None:
    out = np.full((9, 10), np.nan)
    assert sparse_encode(X, D, ALPHA, tol=1e-10, out=out) is out
    np.testing.assert_array_equal(out, codes)
    tensor = torch.full((9, 10), torch.nan, dtype=torch.float64)
    assert sparse_encode(torch.tensor(X), D, ALPHA, tol=1e-10, out=tensor) is tensor
    np.testing.assert_array_equal(tensor.numpy(), codes)


def test_memory_maps_are_read_and_written_in_chunks(tmp_path: Path, codes: Array) -> None:
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "z.npy", mode="w+", dtype=np.float64, shape=(9, 10))
    assert sparse_encode(x, D, ALPHA, tol=1e-10, out=out, chunk=2) is out
    out.flush()
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), codes, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), X)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_a_start_at_the_codes_takes_no_steps(kind: Callable[[Array], Any], codes: Array) -> None:
    start = kind(codes.copy())
    result = sparse_encode(kind(X.copy()), D, ALPHA, tol=1e-8, z0=start, chunk=4, return_solution=True)
    assert (np.asarray(result.steps) == 0).all()
    np.testing.assert_array_equal(np.asarray(result.z), codes)


def test_a_far_start_reaches_the_same_codes_and_is_left_alone(codes: Array) -> None:
    start = 5 * np.random.default_rng(1).normal(size=(9, 10))
    before = start.copy()
    np.testing.assert_allclose(sparse_encode(X, D, ALPHA, tol=1e-10, z0=start), codes, atol=1e-4)
    np.testing.assert_array_equal(start, before)


def test_a_negative_start_of_positive_codes_is_no_solution(codes: Array) -> None:
    result = sparse_encode(X, D, ALPHA, positive=True, z0=codes)
    assert (result >= 0).all()


@pytest.mark.parametrize("positive", [False, True])
def test_the_certificate_is_what_its_formulas_say(positive: bool) -> None:
    tol = 1e-3
    result = sparse_encode(X, D, ALPHA, positive=positive, tol=tol, return_solution=True)
    half = np.square(X).sum(axis=1) / 2
    residual = X - result.z @ D
    corr = residual @ D.T
    largest = np.maximum(corr, 0).max(axis=1) if positive else np.abs(corr).max(axis=1)
    scale = np.minimum(ALPHA / largest, 1)
    dual = half - np.square(X - scale[:, None] * residual).sum(axis=1) / 2
    np.testing.assert_allclose(result.objective, objective(X, result.z), rtol=1e-12)
    np.testing.assert_allclose(result.gap, (result.objective - dual) / half, rtol=1e-9, atol=1e-15)
    assert result.converged.all()
    assert (result.gap <= tol).all()
    assert (result.steps > 0).all()
    best = sparse_encode(X, D, ALPHA, positive=positive, tol=1e-12)
    assert (result.objective - objective(X, best) <= result.gap * half + 1e-12).all()


@pytest.mark.parametrize(
    ("kind", "integer", "boolean"),
    [(np.asarray, np.dtype(np.int64), np.dtype(np.bool_)), (torch.tensor, torch.int64, torch.bool)],
    ids=["numpy", "torch"],
)
@pytest.mark.parametrize("n", [9, 0])
def test_the_certificate_has_the_kind_of_the_data(
    kind: Callable[[Array], Any], integer: Any, boolean: Any, n: int
) -> None:
    x = kind(X[:n].astype(np.float32))
    result = sparse_encode(x, D, ALPHA, return_solution=True)
    assert {type(part) for part in result} == {type(x)}
    assert [tuple(part.shape) for part in result] == [(n, 10), (n,), (n,), (n,), (n,)]
    assert [part.dtype for part in result] == [x.dtype, x.dtype, x.dtype, integer, boolean]


def test_no_samples_have_no_codes() -> None:
    assert sparse_encode(X[:0], D, ALPHA).shape == (0, 10)
    assert sparse_encode(torch.empty(0, 6), D, ALPHA).shape == (0, 10)


def test_a_sample_of_zeros_has_a_code_of_zeros() -> None:
    result = sparse_encode(np.zeros((2, 6)), D, ALPHA, return_solution=True)
    assert (result.z == 0).all()
    assert (result.gap == 0).all()


def test_a_large_alpha_leaves_nothing() -> None:
    at_zero = np.abs(X @ D.T).max()
    assert (sparse_encode(X, D, float(at_zero) * 1.001) == 0).all()
    assert (sparse_encode(X, D, float(at_zero) * 0.9, tol=1e-9) != 0).any()


def test_unfinished_codes_raise_a_warning_that_counts_them() -> None:
    message = r"^9 of 9 codes stopped at max_steps=3 with relative duality gaps up to \d\.\de-0\d, above tol=1e-09; "
    with pytest.warns(ConvergenceWarning, match=message + "raise max_steps or tol$"):
        result = sparse_encode(X, D, ALPHA, tol=1e-9, max_steps=3, solver=FISTA(), return_solution=True)
    assert not result.converged.any()
    assert (result.steps == 3).all()
    assert (result.gap > 1e-9).all()


def test_only_unfinished_codes_are_counted() -> None:
    x = np.concatenate([X[:4], np.zeros((3, 6))])
    with pytest.warns(ConvergenceWarning, match="^4 of 7 codes"):
        result = sparse_encode(x, D, ALPHA, tol=1e-9, max_steps=3, solver=FISTA(), chunk=2, return_solution=True)
    assert result.converged.tolist() == [False] * 4 + [True] * 3


def test_single_precision_at_its_limit_is_pointed_out() -> None:
    with pytest.warns(ConvergenceWarning, match="pass x as float64"):
        sparse_encode(X.astype(np.float32), D, ALPHA, tol=1e-12, max_steps=3, solver=FISTA())


def test_codes_that_overflow_raise_a_warning_that_says_why() -> None:
    message = "^9 of 9 codes are beyond the range of float64; rescale x or D, or choose a shorter step_size$"
    with pytest.warns(ConvergenceWarning, match=message):
        result = sparse_encode(X, D, ALPHA, solver=FISTA(step_size=10.0), max_steps=300, return_solution=True)
    assert not result.converged.any()
    assert np.isposinf(result.gap).all()


@pytest.mark.parametrize("solver", [None, FISTA()])
def test_a_sample_of_zeros_has_a_code_of_zeros_wherever_it_starts(solver: Solver | None) -> None:
    result = sparse_encode(
        np.zeros((2, 6)), D, ALPHA, z0=np.ones((2, 10)), solver=solver, max_steps=1, return_solution=True
    )
    assert (result.z == 0).all()
    assert (result.gap == 0).all()


def test_progress_is_shown_on_request_only(capsys: pytest.CaptureFixture[str]) -> None:
    sparse_encode(X, D, ALPHA, chunk=3)
    assert capsys.readouterr().out == ""
    sparse_encode(X, D, ALPHA, chunk=3, progress=True)
    assert "encoding" in capsys.readouterr().out


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("alpha", [1, 1.0, np.float32(1), np.int64(1)], ids=lambda a: type(a).__name__)
def test_alpha_is_any_real_number(alpha: Any, codes: Array) -> None:
    np.testing.assert_allclose(sparse_encode(X, D, alpha, tol=1e-10), codes, atol=1e-12)


class Labelled:
    """What a data frame is to NumPy; with a row of lists, three axes."""

    def __init__(self, values: list[list[float]]) -> None:
        self.values = [[[v] for v in row] for row in values]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.array(self.values, dtype)


SHARED, TALL = RNG.normal(size=(9, 15)), RNG.normal(size=(10, 15))
NAN_IN_ROW_5 = np.where(np.arange(9)[:, None] == 5, np.nan, X)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.asmatrix(X)}, TypeError, r"^x is a numpy\.matrix; expected an array: pass numpy\.asarray\(x\)$"),
        ({"x": np.ma.masked_greater(X, 1)}, TypeError, r"^x is a masked array; .* fill it first \(x\.filled\(0\)\)$"),
        ({"x": csr_array(X)}, TypeError, r"^x is a sparse csr_array; expected a dense array: pass x\.toarray\(\)$"),
        ({"D": csr_matrix(D)}, TypeError, r"^D is a sparse csr_matrix"),
        ({"x": torch.tensor(X).to_sparse()}, TypeError, r"^x has layout sparse_coo; .*: pass x\.to_dense\(\)$"),
        ({"D": torch.tensor(D).to_sparse()}, TypeError, "^D has layout sparse_coo"),
        ({"x": torch.empty(9, 6, device="meta")}, TypeError, "^x is on the device 'meta' and holds no data"),
        (
            {"x": torch.tensor(X).to(torch.complex64)},
            TypeError,
            r"^x has dtype torch\.complex64; expected a floating-point type",
        ),
        (
            {"x": torch.tensor(X).to(torch.float8_e4m3fn)},
            TypeError,
            r"^x has dtype torch\.float8.*expected float16, bf",
        ),
        ({"x": Labelled(X.tolist())}, ValueError, r"^x has shape \(9, 6, 1\)"),
        ({"x": X > 0}, TypeError, "^x has dtype bool"),
        ({"x": X.astype(object)}, TypeError, "^x has dtype object"),
        ({"x": np.zeros(9, [("a", "f8")])}, TypeError, r"^x has dtype \[\('a', '<f8'\)\]"),
        ({"x": X.tolist()}, TypeError, "^x is a list; expected a NumPy array or a torch tensor"),
        ({"x": X[0]}, ValueError, r"^x has shape \(6,\); expected two axes"),
        ({"x": X.astype(int)}, TypeError, "^x has dtype int64; expected a floating-point type"),
        ({"x": X.astype(complex)}, TypeError, "^x has dtype complex128"),
        ({"x": NAN_IN_ROW_5}, ValueError, "^x contains NaN or infinity, first in row 5"),
        ({"x": NAN_IN_ROW_5, "chunk": 2}, ValueError, "^x contains NaN or infinity, first in row 5"),
        ({"x": X.astype(np.longdouble)}, TypeError, "^x "),
        ({"D": D.tolist()}, TypeError, "^D is a list"),
        ({"D": D[0]}, ValueError, r"^D has shape \(6,\)"),
        ({"D": D.astype(int)}, TypeError, "^D has dtype"),
        ({"D": D.astype(object)}, TypeError, "^D "),
        ({"D": D.T}, ValueError, r"^D has 10 columns and x has 6; .*did you pass D transposed"),
        ({"D": D[:, :5]}, ValueError, r"^D has 5 columns and x has 6; expected as many: D is \[n_code, n_features\]"),
        ({"D": D[:0]}, ValueError, "^D "),
        ({"D": np.full_like(D, np.inf)}, ValueError, "^D contains NaN or infinity"),
        ({"alpha": 0}, ValueError, "^alpha is 0; expected a finite number > 0"),
        ({"alpha": -1.0}, ValueError, "^alpha is -1"),
        ({"alpha": float("nan")}, ValueError, "^alpha is nan"),
        ({"alpha": "1"}, ValueError, "^alpha is '1'"),
        ({"alpha": True}, ValueError, "^alpha is True; expected a finite number > 0"),
        ({"alpha": 10**400}, ValueError, r"^alpha is 10+\.\.\.; expected a finite number > 0$"),
        ({"alpha": np.ones(2)}, ValueError, r"^alpha has shape \(2,\); expected a number, \[n_code\] = \(10,\)"),
        ({"tol": 0.0}, ValueError, r"^tol is 0\.0; expected a finite number > 0"),
        ({"max_steps": 0}, ValueError, "^max_steps is 0; expected a whole number >= 1"),
        ({"max_steps": 2.5}, ValueError, r"^max_steps is 2\.5"),
        ({"chunk": 0}, ValueError, "^chunk is 0; expected a whole number >= 1"),
        ({"z0": np.zeros((9, 6))}, ValueError, r"^z0 has shape \(9, 6\); expected \[n_samples, n_code\] = \(9, 10\)"),
        ({"z0": torch.zeros(9, 10)}, TypeError, "^z0 is a Tensor .*expected the kind and dtype of x: ndarray, float64"),
        ({"out": np.empty((10, 9))}, ValueError, r"^out has shape \(10, 9\)"),
        ({"out": np.empty((9, 10), np.float32)}, TypeError, "^out is a ndarray of dtype float32"),
        ({"out": [[0.0]]}, TypeError, "^out is a list"),
        ({"out": np.broadcast_to(0.0, (9, 10))}, ValueError, "^out is read-only"),
        (
            {"out": SHARED[:, :10], "x": SHARED[:, 9:15]},
            ValueError,
            "^out shares memory with x; expected an array of its own",
        ),
        ({"out": TALL[:9, :10], "D": TALL[:, 9:15]}, ValueError, "^out shares memory with D"),
        ({"out": SHARED[:, :10], "z0": SHARED[:, 1:11]}, ValueError, "^out shares memory with z0"),
        ({"out": as_strided(np.zeros(60), (9, 10), (8, 8))}, ValueError, "^out has entries that share memory"),
        (
            {"D": np.zeros((10**6, 6))},
            ValueError,
            r"^the Gram matrix of 1000000 atoms needs 8e\+03 GB of memory, and this machine has",
        ),
        ({"z0": np.full((9, 10), np.nan)}, ValueError, "^z0 contains NaN or infinity"),
        ({"penalty": "l1"}, TypeError, "^penalty is 'l1'; expected one of sparsecode.penalties"),
        ({"penalty": L1(), "positive": True}, ValueError, "^positive=True was given beside penalty=L1"),
        ({"penalty": LogSum(), "solver": CoordinateDescent()}, TypeError, "^CoordinateDescent needs"),
        ({"solver": "fista"}, TypeError, r"^solver is 'fista'; expected CoordinateDescent\(\), FISTA\(\) or ISTA\(\)"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_errors_name_the_argument(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"x": X, "D": D, "alpha": ALPHA} | change
    with pytest.raises(error, match=message):
        sparse_encode(arguments.pop("x"), arguments.pop("D"), arguments.pop("alpha"), **arguments)


def test_arrays_of_foreign_byte_order_are_read() -> None:
    swapped = sparse_encode(X.astype(">f8"), D.astype(">f8"), ALPHA)
    np.testing.assert_array_equal(swapped, sparse_encode(X, D, ALPHA))


class Frame:
    """What a data frame is to NumPy."""

    def __init__(self, values: Array) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return self.values.astype(dtype) if dtype else self.values


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "served",
    [
        Frame,
        lambda a: a.view(np.recarray),
        lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
        np.asfortranarray,
        lambda a: np.repeat(a, 3, axis=1)[:, ::3],
        lambda a: np.repeat(a, 3, axis=0)[::3],
    ],
    ids=["data frame", "record array", "backwards", "columns", "every third column", "every third row"],
)
def test_other_views_of_the_same_numbers_are_served(served: Callable[[Any], Any]) -> None:
    result = sparse_encode(served(X), served(D), ALPHA)
    assert type(result) is np.ndarray
    np.testing.assert_allclose(result, sparse_encode(X, D, ALPHA), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "view", [lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a.reshape(10, 9).T], ids=["up", "left", "columns"]
)
def test_codes_are_written_through_any_view(view: Callable[[Array], Array]) -> None:
    whole = np.full((9, 10), np.nan)
    sparse_encode(X, D, ALPHA, out=view(whole))
    np.testing.assert_array_equal(view(whole), sparse_encode(X, D, ALPHA))


def test_memory_beside_the_samples_and_the_start_itself_can_be_written_to() -> None:
    table = np.concatenate([X, np.full((9, 10), np.nan)], axis=1)
    out = table[:, 6:]
    expected = sparse_encode(X, D, ALPHA, tol=1e-9)
    assert sparse_encode(table[:, :6], D, ALPHA, tol=1e-9, out=out, chunk=2) is out
    np.testing.assert_allclose(table[:, 6:], expected, rtol=0, atol=1e-12)
    result = sparse_encode(X, D, ALPHA, tol=1e-8, z0=out, out=out, chunk=2, return_solution=True)
    assert (result.steps == 0).all()
    tensor = torch.tensor(table)
    with pytest.raises(ValueError, match=r"^out has entries that share memory"):
        sparse_encode(torch.tensor(X), D, ALPHA, out=torch.zeros(9, 1, dtype=torch.float64).expand(9, 10))
    with pytest.raises(ValueError, match=r"^out shares memory with x"):
        sparse_encode(tensor[:, :6], D, ALPHA, out=tensor[:, 5:15])
    sparse_encode(tensor[:, :6], D, ALPHA, tol=1e-9, out=tensor[:, 6:])
    np.testing.assert_allclose(tensor[:, 6:].numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("positive", [False, True])
def test_atoms_with_cosines_of_99_hundredths(dtype: type, positive: bool) -> None:
    """Coordinate descent alone stops at 10 000 sweeps; Newton steps on the support end it within a few hundred."""
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=64) / 8 + 0.1 / 8 * rng.normal(size=(128, 64))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    assert np.median(atoms @ atoms.T) > 0.98
    codes = (rng.random((50, 128)) < 0.05) * rng.normal(size=(50, 128))
    x = (np.abs(codes) if positive else codes) @ atoms + 0.01 * rng.normal(size=(50, 64))
    alpha = 0.002 * float(alpha_max(x, atoms).max())
    tol = 1e-9 if dtype is np.float64 else 1e-5
    result = sparse_encode(
        x.astype(dtype), atoms.astype(dtype), alpha, tol=tol, positive=positive, return_solution=True
    )
    assert bool(result.converged.all())
    assert int(result.steps.max()) < 2000
    truth = Lasso(alpha / 64, fit_intercept=False, positive=positive, tol=1e-12, max_iter=1_000_000)
    for row in (0, 1):
        z = truth.fit(atoms.T, x[row]).coef_
        exact = np.square(x[row] - z @ atoms).sum() / 2 + alpha * np.abs(z).sum()
        assert result.objective[row] <= exact + (1e-8 if dtype is np.float64 else 1e-4) * np.square(x[row]).sum()
