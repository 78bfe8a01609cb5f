"""Samples and atoms in any units: codes that are scaled alike, and certificates that hold."""

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from sparsecode import omp_encode, sparse_encode
from sparsecode.models.iterative import Inference, Iterative
from sparsecode.penalties import L1, ElasticNet, GroupL2, LogSum, Proximal
from sparsecode.records import Solution
from sparsecode.solvers import FISTA, ISTA, CoordinateDescent, QuadraticEnergy, Solver, solve

Array = NDArray[Any]

RNG = np.random.default_rng(0)
X, D = RNG.normal(size=(12, 8)), RNG.normal(size=(10, 8))
ALPHA = 0.7
for fixed in (X, D):
    fixed.flags.writeable = False

SOLVERS: list[Solver | None] = [None, FISTA(restart=True)]
PENALTIES: list[Proximal] = [L1(), L1(positive=True), ElasticNet(0.5), GroupL2(2), LogSum(2.0)]
REACH: dict[Any, int] = {np.float32: 60, np.float64: 500}  # powers of two that leave squares or their sums out of range


def true_gaps(x: Array, atoms: Array, alpha: float, z: Array) -> Array:
    """Relative duality gaps of Lasso codes in float64, each row brought to the order of 1 by a power of two."""
    b = np.frexp(np.abs(atoms).max())[1]
    atoms = np.ldexp(atoms.astype(float), -b)
    gaps = np.zeros(len(x))
    for i, (row, code) in enumerate(zip(x, z, strict=True)):
        a = np.frexp(np.abs(row).max())[1]
        sample, c = np.ldexp(row.astype(float), -a), np.ldexp(code.astype(float), b - a)
        weight = np.ldexp(alpha, -a - b)
        r = sample - c @ atoms
        primal = r @ r / 2 + weight * np.abs(c).sum()
        u = np.abs(atoms @ r).max()
        dual = r * min(1, weight / u) if u else r
        gaps[i] = (primal - dual @ sample + dual @ dual / 2) / (sample @ sample / 2) if row.any() else 0
    return gaps


def encoded(dtype: Any, a: int, b: int, **settings: Any) -> Solution[Array]:
    x, atoms = np.ldexp(X.astype(dtype), a), np.ldexp(D.astype(dtype), b)
    return sparse_encode(x, atoms, float(np.ldexp(ALPHA, a + b)), return_solution=True, **settings)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.integers(-10, 10), st.integers(-10, 10), st.sampled_from(SOLVERS))
@settings(max_examples=12, deadline=None)
def test_codes_at_any_power_of_two_are_the_same(dtype: Any, a: int, b: int, solver: Solver | None) -> None:
    a, b = a * REACH[dtype] // 6, b * REACH[dtype] // 12  # x from 2^-100 to 2^100 in float32, D half as far
    assume(
        max(abs(a - b), abs(a + b)) < (110 if dtype == np.float32 else 950)
    )  # codes and alpha themselves are in range
    usual, scaled = encoded(dtype, 0, 0, solver=solver, tol=1e-2), encoded(dtype, a, b, solver=solver, tol=1e-2)
    assert usual.converged.all()
    if isinstance(solver, FISTA) and b:  # its step comes from a logarithm
        np.testing.assert_allclose(scaled.z, np.ldexp(usual.z, a - b), rtol=0, atol=2.0 ** (a - b - 16))
        return
    np.testing.assert_array_equal(scaled.z, np.ldexp(usual.z, a - b))
    for name in ("gap", "steps", "converged"):
        np.testing.assert_array_equal(getattr(scaled, name), getattr(usual, name))
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_array_equal(scaled.objective, np.ldexp(usual.objective, 2 * a))


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize(("a", "b"), [(-75, 0), (-40, 45), (66, 0), (10, -60), (0, 62)])
def test_parameters_of_penalties_follow_the_units(penalty: Any, a: int, b: int) -> None:
    x, atoms = np.ldexp(X.astype(np.float32), a), np.ldexp(D.astype(np.float32), b)
    alpha = float(np.ldexp(ALPHA, a + b))
    inner = penalty.rescaled(b - a)  # the same problem, written in the units of z
    result = sparse_encode(x, atoms, alpha, penalty=inner, tol=1e-5, return_solution=True)
    expected = sparse_encode(X, D, ALPHA, penalty=penalty, tol=1e-9)
    assert result.converged.all()
    np.testing.assert_allclose(np.ldexp(result.z, b - a), expected, atol=0.02)
    np.testing.assert_allclose(
        sparse_encode(x.astype(float), atoms.astype(float), alpha, penalty=inner, tol=1e-9),
        np.ldexp(expected, a - b),
        atol=2.0 ** (a - b - 10),
    )


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_a_penalty_in_other_units_is_the_same(penalty: Any) -> None:
    z = torch.tensor(X).abs()
    for exponent in (-30, -3, 0, 7, 40):
        inner = penalty.rescaled(exponent)
        torch.testing.assert_close(penalty.value(z * 2.0**exponent), 2.0**exponent * inner.value(z))


@given(
    st.lists(st.integers(-140, 120), min_size=12, max_size=12),
    st.integers(-40, 40),
    st.floats(-150, 120),
    st.sampled_from([None, FISTA(restart=True)]),
)
@settings(max_examples=20, deadline=None)
def test_gaps_are_bounds_for_rows_of_any_sizes(sizes: list[int], b: int, weight: float, solver: Solver | None) -> None:
    """Rows from subnormal to huge in one batch: gaps hold, or are infinite, or the problem is refused."""
    x, atoms = np.ldexp(X, np.array(sizes)[:, None]).astype(np.float32), np.ldexp(D, b).astype(np.float32)
    x[3] = 0
    if weight < max(np.frexp(np.abs(x).max(axis=1))[1]) + b - 110:
        return  # refused below
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = sparse_encode(x, atoms, 2.0**weight, solver=solver, max_steps=50, return_solution=True)
    finite = np.isfinite(result.gap)
    assert (result.converged == (result.gap <= 1e-4)).all()
    true = true_gaps(x[finite], atoms, 2.0**weight, result.z[finite])
    assert (true <= result.gap[finite] + 3e-5 * (1 + true)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shrunk", [2.0**-40, 2.0**-70, 1e-33])
def test_a_small_atom_among_others_is_solved_for_or_refused(dtype: Any, shrunk: float) -> None:
    atoms = D.astype(dtype)
    atoms[4] *= dtype(shrunk)
    x = X.astype(dtype)
    harmless = sparse_encode(x, atoms, ALPHA, return_solution=True)  # |d_4| |x| is below alpha
    assert (harmless.z[:, 4] == 0).all()
    assert harmless.converged.all()
    assert (true_gaps(x, atoms, ALPHA, harmless.z) <= harmless.gap + 1e-6).all()
    alpha = float(shrunk) / 10
    if dtype == np.float32 and shrunk < 2.0**-50:
        with pytest.raises(ValueError, match=r"^row 4 of D is too small for float32: .* or pass x as float64$"):
            sparse_encode(x, atoms, alpha)
    else:
        with pytest.warns(ConvergenceWarning):
            result = sparse_encode(x, atoms, alpha, tol=1e-12, max_steps=20, return_solution=True)
        assert (true_gaps(x, atoms, alpha, result.z) <= result.gap * 1.01 + 1e-5).all()


@pytest.mark.parametrize("solver", [None, FISTA(), ISTA()])
@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("alpha", [1e30, 1e39, 1e300])
def test_a_weight_beyond_the_range_leaves_zeros(alpha: float, penalty: Proximal, solver: Solver | None) -> None:
    for dtype in (np.float32, np.float16, np.float64):
        result = sparse_encode(X.astype(dtype), D, alpha, penalty=penalty, solver=solver, return_solution=True)
        assert (result.z == 0).all()
        assert result.converged.all()
        np.testing.assert_allclose(result.objective, np.square(X).sum(axis=1) / 2, rtol=0.01)


@pytest.mark.parametrize(
    "encode", [lambda x, atoms: sparse_encode(x, atoms, ALPHA), lambda x, atoms: omp_encode(x, atoms, 2)]
)
def test_atoms_that_vanish_in_the_precision_of_the_samples_are_refused(encode: Callable[[Array, Array], Array]) -> None:
    atoms = D.copy()
    atoms[3:5] = [[0], [1e-50]] * atoms[3:5]
    with pytest.raises(ValueError, match=r"^row 4 of D is too small for float32, in which x is solved; .* float64$"):
        encode(X.astype(np.float32), atoms)
    assert encode(X, atoms).shape == (12, 10)


def test_a_weight_below_the_range_is_refused() -> None:
    message = (
        r"^the penalty weight \(alpha\) is 1e-50 and vanishes in float32 beside .*: raise it, or pass x as float64$"
    )
    with pytest.raises(ValueError, match=message):
        sparse_encode(X.astype(np.float32), D, 1e-50)


@pytest.mark.parametrize("step", [FISTA(step_size=0.02), ISTA(step_size=0.02)])
def test_a_step_in_units_of_the_problem_is_refused_where_units_change(step: Solver) -> None:
    with pytest.raises(
        ValueError, match=r"^solver is .*in the units of the problem.*rescale x, D and alpha, or choose FISTA"
    ):
        sparse_encode(X.astype(np.float32) * np.float32(1e-22), D, 1e-22, solver=step)


@pytest.mark.parametrize("solver", [None, FISTA()])
def test_starts_follow_the_units(solver: Solver | None) -> None:
    codes = encoded(np.float64, 0, 0, tol=1e-10).z
    unit = 2.0**-530
    result = sparse_encode(X * unit, D, ALPHA * unit, z0=codes * unit, tol=1e-8, solver=solver, return_solution=True)
    assert (result.steps == 0).all()
    far = sparse_encode(X * unit, D, ALPHA * unit, z0=np.full((12, 10), 1e200), tol=1e-8, solver=solver)
    np.testing.assert_allclose(far / unit, codes, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "large", "small"), [(torch.float16, 2.0**9, 2.0**-20), (torch.bfloat16, 2.0**120, 2.0**-120)]
)
def test_half_precision_that_cannot_hold_the_codes_is_not_converged(
    kind: torch.dtype, large: float, small: float
) -> None:
    name = str(kind).removeprefix("torch.")
    for sample, atom in ((large, small), (small, large)):
        x, atoms = torch.tensor(X).mul(sample).to(kind), torch.tensor(D) * atom
        with pytest.warns(
            ConvergenceWarning, match=f"^12 of 12 codes are beyond the range of {name}; pass x as float32$"
        ):
            result = sparse_encode(x, atoms, ALPHA * sample * atom, return_solution=True)
        assert not result.converged.any()
        assert result.gap.isposinf().all()
        with pytest.warns(ConvergenceWarning, match=f"^12 of 12 codes are beyond the range of {name}"):
            omp_encode(x, atoms, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("a", "b"), [(-1, 0), (1, 0), (0, 1), (0, -1), (-1, -1), (1, 1)])
def test_pursuit_does_not_see_units(dtype: Any, a: int, b: int) -> None:
    """Each sample and each atom in units of its own."""
    rows = a * np.linspace(0, 1.6 * REACH[dtype], 12).round().astype(int)[:, None]
    columns = b * np.linspace(0, REACH[dtype] / 2, 10).round().astype(int)
    x, atoms = np.ldexp(X.astype(dtype), rows), np.ldexp(D.astype(dtype), columns[:, None])
    np.testing.assert_array_equal(omp_encode(x, atoms, 3), np.ldexp(omp_encode(X.astype(dtype), D, 3), rows - columns))
    np.testing.assert_array_equal(
        omp_encode(x, atoms, 6, tol=0.1), np.ldexp(omp_encode(X.astype(dtype), D, 6, tol=0.1), rows - columns)
    )


def test_subnormal_samples_have_codes() -> None:
    x = np.round(X * 1000) * np.finfo(np.float32).smallest_subnormal
    single = x.astype(np.float32)
    expected = sparse_encode(np.round(X * 1000), D, 700.0, tol=1e-9)
    unit = float(np.finfo(np.float32).smallest_subnormal)
    with pytest.warns(ConvergenceWarning, match="12 of 12 codes are beyond the range of float32; .* pass x as float64"):
        sparse_encode(single, D, 700 * unit)  # subnormal themselves
    result = sparse_encode(single, D * 1e-30, 700e-30 * unit, tol=1e-5)
    np.testing.assert_allclose(result / np.float32(unit / 1e-30), expected, atol=3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_models_encode_in_any_units(dtype: torch.dtype) -> None:
    unit = 2.0 ** -(70 if dtype == torch.float32 else 530)
    inference = Inference(start="zero", tol=1e-4, max_steps=1000)
    one = Iterative(n_code=10, weight=ALPHA, encoder=None, inference=inference).build((8,), 0).to(dtype)
    other = Iterative(n_code=10, weight=ALPHA * unit, encoder=None, inference=inference).build((8,), 0).to(dtype)
    x = torch.tensor(X, dtype=dtype)
    usual, small = one.infer(x), other.infer(x * unit)
    assert usual.converged.all()
    assert (usual.z != 0).any()
    assert torch.equal(small.z, usual.z * unit)
    assert torch.equal(small.gap, usual.gap)


def test_an_energy_whose_squares_underflow_certifies_nothing_but_zeros() -> None:
    """What solvers and models use below the functions that scale."""
    x, atoms = torch.tensor(X).float() * 1e-22, torch.tensor(D).float()
    for alpha, right in ((1e-22, False), (1.0, True)):
        energy = QuadraticEnergy(x, atoms, L1(), alpha)
        assert (energy.gap(torch.zeros(12, 10)) == (0 if right else torch.inf)).all()
        for solver in (CoordinateDescent(), FISTA()):
            result = solve(energy, solver, torch.zeros(12, 10), max_steps=5, tol=1e-4)
            assert (result.converged == right).all()


def test_a_weight_below_rounding_certifies_nothing_that_is_not_so() -> None:
    penalty, understated, words = L1(positive=True), 0, ""
    for seed in range(20):  # which codes are affected depends on the last bits, and so on the processor
        rng = np.random.default_rng(seed)
        x, atoms = (torch.tensor(rng.normal(size=shape), dtype=torch.float32) for shape in ((6, 5), (8, 5)))
        energy = QuadraticEnergy(x, atoms, penalty, 1e-7)
        plain = solve(energy, None, torch.zeros(6, 8), max_steps=60, tol=1e-4)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            result = sparse_encode(x, atoms, 1e-7, penalty=penalty, max_steps=60, return_solution=True)
        words += "\n".join(str(w.message) for w in warned) + "\n"
        true = QuadraticEnergy(x.double(), atoms.double(), penalty, 1e-7).gap(result.z.double())
        assert torch.equal(result.z, plain.z)
        assert (true <= result.gap.double() * 1.001).all()
        understated += int((true > 1000 * energy.gap(result.z)).sum())
    assert understated > 0
    assert re.search("rounding allows no less beside so small an alpha; .* pass x as float64", words)
    with pytest.warns(
        ConvergenceWarning, match="rounding allows no less beside so small an alpha; raise alpha or tol$"
    ):
        assert not sparse_encode(X, D, 1e-20, max_steps=100_000, return_solution=True).converged.any()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("alpha", [2.0**-7, 2.0**-9])
def test_codes_that_rounding_alone_keeps_above_the_tolerance_are_solved_on(alpha: float, solver: Solver | None) -> None:
    rng = np.random.default_rng(3)
    x, atoms = rng.normal(size=(20, 32)), rng.normal(size=(16, 32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = sparse_encode(x, atoms, alpha, tol=1e-9, max_steps=20_000, solver=solver, return_solution=True)
    assert result.converged.all()
    assert (result.gap <= 1e-9).all()
    assert (true_gaps(x, atoms, alpha, result.z) <= 1e-9).all()
    with pytest.warns(ConvergenceWarning):  # rounding hides more than the tolerance
        assert not sparse_encode(x, atoms, 2.0**-20, tol=1e-9, solver=solver, return_solution=True).converged.any()
