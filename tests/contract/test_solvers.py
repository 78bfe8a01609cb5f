"""What every solver promises: the optimum, at its rate, row by row, with a certificate."""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from torch import Tensor

from sparsecode.ops.norms import largest_eigenvalue_bound
from sparsecode.penalties import L1, ElasticNet, LogSum
from sparsecode.records import Solution
from sparsecode.solvers import FISTA, ISTA, CoordinateDescent, QuadraticEnergy, Solver, solve

SOLVERS: list[Solver] = [ISTA(), FISTA(), CoordinateDescent()]


class Case(NamedTuple):
    """A solver of single steps, its bound on (energy - optimum) / (L |z_0 - z*|^2) after k of them, and more."""

    solver: ISTA | FISTA
    bound: Callable[[int], float]
    monotone: bool


STEPPING = [
    Case(ISTA(), lambda k: 1 / (2 * k), monotone=True),
    Case(FISTA(), lambda k: 2 / (k + 1) ** 2, monotone=False),
]

every_case = pytest.mark.parametrize("case", STEPPING, ids=lambda case: type(case.solver).__name__)
every_solver = pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
both_signs = pytest.mark.parametrize("positive", [False, True], ids=["signed", "positive"])

ALPHA = 0.8


def data(rows: int = 5) -> tuple[Tensor, Tensor]:
    """x [rows, 20] and 30 unit atoms, float64."""
    rng = torch.Generator().manual_seed(1)
    atoms = torch.randn(30, 20, generator=rng, dtype=torch.float64)
    x = torch.randn(rows, 20, generator=rng, dtype=torch.float64)
    return x, atoms / torch.linalg.vector_norm(atoms, dim=1, keepdim=True)


def lasso_energy(positive: bool = False, rows: int = 5) -> QuadraticEnergy:
    return QuadraticEnergy(*data(rows), L1(positive=positive), ALPHA)


def slow_energy() -> QuadraticEnergy:
    """Nesterov's example (D D^T is the second difference): information travels one code per step."""
    n = 80
    gram = 2 * torch.eye(n) - torch.diag(torch.ones(n - 1), 1) - torch.diag(torch.ones(n - 1), -1)
    atoms = torch.linalg.cholesky(gram.double())
    return QuadraticEnergy(torch.linalg.solve(atoms, 4 * torch.eye(n).double()[0])[None], atoms, L1(), 0.01)


@cache
def optimum(positive: bool = False) -> Solution[Tensor]:
    """The solution of `lasso_energy`."""
    return solved(lasso_energy(positive), tol=1e-12)


@cache
def slow_optimum() -> tuple[float, float]:
    """The least energy of `slow_energy`, and L |z*|^2."""
    best = solved(slow_energy(), CoordinateDescent())
    assert best.converged.all()
    return float(best.objective), slow_energy().lipschitz() * float(best.z.square().sum())


def solved(
    energy: QuadraticEnergy, solver: Solver | None = None, *, max_steps: int = 20_000, tol: float = 1e-8
) -> Solution[Tensor]:
    return solve(energy, solver or FISTA(), torch.zeros_like(energy.corr), max_steps=max_steps, tol=tol)


def path(energy: QuadraticEnergy, solver: ISTA | FISTA, steps: int) -> list[Tensor]:
    """The codes after 0, 1, ..., `steps` steps from zero."""
    z = torch.zeros_like(energy.corr)
    codes, state = [z], solver.init(energy, z)
    for _ in range(steps):
        z, state = solver.step(energy, z, state)  # pyright: ignore[reportArgumentType] - the state is this solver's
        codes.append(z)
    return codes


@every_solver
@both_signs
def test_optimum_is_that_of_scikit_learn(solver: Solver, positive: bool) -> None:
    x, atoms = data()
    lasso = Lasso(ALPHA / x.shape[1], fit_intercept=False, positive=positive, tol=1e-12, max_iter=100_000)
    reference = torch.tensor(np.stack([lasso.fit(atoms.T.numpy(), row.numpy()).coef_.copy() for row in x]))
    result = solved(lasso_energy(positive), solver)
    assert result.converged.all()
    assert (reference != 0).any(dim=1).all()

    def objective(z: Tensor) -> Tensor:
        return (x - z @ atoms).square().sum(dim=1) / 2 + ALPHA * z.abs().sum(dim=1)

    torch.testing.assert_close(objective(result.z), objective(reference), rtol=1e-6, atol=0)
    torch.testing.assert_close(result.z, reference, rtol=0, atol=1e-4)
    assert not positive or (result.z >= 0).all()


@every_case
def test_energy_stays_below_the_bound_of_its_theory(case: Case) -> None:
    energy, (least, scale) = slow_energy(), slow_optimum()
    for k, z in enumerate(path(energy, case.solver, 60)[1:], start=1):
        assert energy.per_sample(z) - least <= case.bound(k) * scale, k


def test_fistas_bound_is_one_that_ista_breaks() -> None:
    energy, (least, scale) = slow_energy(), slow_optimum()
    assert energy.per_sample(path(energy, ISTA(), 60)[-1]) - least > 2 / 61**2 * scale


def test_fista_is_ahead_of_ista_after_50_steps() -> None:
    energy, (least, _) = slow_energy(), slow_optimum()
    ista, fista = (energy.per_sample(path(energy, solver, 50)[-1]) for solver in (ISTA(), FISTA()))
    assert fista - least < (ista - least) / 2


def test_fista_takes_the_steps_of_beck_and_teboulle() -> None:
    energy = lasso_energy()
    gram, corr, eta = energy.gram.numpy(), energy.corr.numpy(), 0.1
    y, t = np.zeros_like(corr), 1.0
    z = y
    for result in path(energy, FISTA(step_size=eta), 20)[1:]:
        v = y - eta * (y @ gram - corr)
        new = np.sign(v) * np.maximum(np.abs(v) - eta * ALPHA, 0)
        following = (1 + math.sqrt(1 + 4 * t**2)) / 2
        y, z, t = new + (t - 1) / following * (new - z), new, following
        np.testing.assert_allclose(result.numpy(), z, rtol=0, atol=1e-13)


@pytest.mark.parametrize("solver", [case.solver for case in STEPPING if case.monotone], ids=lambda s: type(s).__name__)
def test_energy_never_rises(solver: ISTA | FISTA) -> None:
    energy = lasso_energy()
    values = torch.stack([energy.per_sample(z) for z in path(energy, solver, 100)])
    assert (values.diff(dim=0) <= 1e-13).all()
    assert (values[-1] < values[0]).all()


@every_solver
@both_signs
def test_reported_gap_bounds_the_distance_from_the_optimum(solver: Solver, positive: bool) -> None:
    energy, best = lasso_energy(positive), optimum(positive)
    for steps in (1, 2, 3, 5, 10, 20, 50):
        result = solved(energy, solver, max_steps=steps, tol=1e-12)
        away = (energy.per_sample(result.z) - best.objective) / energy.half_square
        assert (result.gap >= away - 1e-13).all()
        assert (result.gap <= 1e-12).tolist() == result.converged.tolist()
    assert (energy.gap(best.z) <= 1e-12).all()


def test_gap_bounds_the_distance_from_the_optimum_at_any_code(rng: torch.Generator) -> None:
    energy, best = lasso_energy(), optimum()
    for size in (0.01, 0.1, 1.0, 10.0):
        z = size * torch.randn(5, 30, generator=rng, dtype=torch.float64)
        assert (energy.gap(z) >= (energy.per_sample(z) - best.objective) / energy.half_square).all()


class Explained(NamedTuple):
    """Samples c d, the codes c that explain them exactly, and the least energy c alpha - alpha^2 / 2, at c - alpha."""

    energy: QuadraticEnergy
    codes: Tensor
    least: Tensor


def explained(dtype: torch.dtype) -> Explained:
    factors = 1 + 2 * torch.rand(3000, 1, generator=torch.Generator().manual_seed(0), dtype=dtype)
    atoms, codes = data()[1].to(dtype), factors * torch.eye(30, dtype=dtype).repeat(100, 1)
    energy = QuadraticEnergy(codes @ atoms, atoms, L1(), ALPHA)
    return Explained(energy, codes, factors[:, 0] * ALPHA - ALPHA**2 / 2)


both_precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@both_precisions
def test_gap_bounds_the_distance_from_the_optimum_where_the_residual_is_rounding(dtype: torch.dtype) -> None:
    energy, codes, least = explained(dtype)
    away = (energy.per_sample(codes) - least) / energy.half_square
    assert (away > 0.05).all()
    assert (energy.gap(codes) >= away - 1e-4).all()


@every_solver
@both_precisions
def test_codes_that_explain_the_data_exactly_are_not_taken_for_a_solution(solver: Solver, dtype: torch.dtype) -> None:
    energy, codes, least = explained(dtype)
    result = solve(energy, solver, codes, max_steps=5_000, tol=1e-4)
    assert result.converged.all()
    assert (energy.per_sample(result.z) - least <= 2e-4 * energy.half_square).all()


@every_solver
def test_a_start_outside_the_constraint_is_never_taken_for_a_solution(solver: Solver) -> None:
    signed = optimum(positive=False).z
    assert (signed < 0).any(dim=1).all()
    result = solve(lasso_energy(positive=True), solver, signed, max_steps=20_000, tol=1e-8)
    assert (result.z >= 0).all()
    torch.testing.assert_close(result.objective, optimum(positive=True).objective)


@every_solver
def test_rows_do_not_see_each_other(solver: Solver) -> None:
    energy = lasso_energy()
    together = solved(energy, solver, tol=1e-5)
    assert len(set(together.steps.tolist())) > 1  # rows leave the batch at different times
    alone = [solved(energy.rows(torch.tensor([i])), solver, tol=1e-5) for i in range(5)]
    order = torch.tensor([3, 0, 1, 4, 2])
    permuted = solved(energy.rows(order), solver, tol=1e-5)
    for field in ("z", "objective", "gap", "steps"):
        expected = getattr(together, field)
        torch.testing.assert_close(torch.cat([getattr(s, field) for s in alone]), expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(getattr(permuted, field), expected[order], rtol=0, atol=1e-12)


@every_solver
def test_a_start_at_the_solution_takes_no_steps(solver: Solver) -> None:
    best = optimum()
    again = solve(lasso_energy(), solver, best.z, max_steps=100, tol=1e-12)
    assert (best.steps > 0).all()
    assert (again.steps == 0).all()
    assert torch.equal(again.z, best.z)


@every_solver
def test_a_nan_row_does_not_stop_the_others(solver: Solver) -> None:
    x, atoms = data()
    clean = solved(lasso_energy(), solver, tol=1e-5)
    x[2, 5] = torch.nan
    most = int(clean.steps.max()) + 50
    result = solved(QuadraticEnergy(x, atoms, L1(), ALPHA), solver, tol=1e-5, max_steps=most)
    others = torch.arange(5) != 2
    torch.testing.assert_close(result.z[others], clean.z[others], rtol=0, atol=1e-12)
    assert result.converged.tolist() == others.tolist()


@every_solver
def test_a_row_out_of_steps_says_so(solver: Solver) -> None:
    energy = lasso_energy()
    result = solved(energy, solver, max_steps=5, tol=1e-15)
    assert result.steps.tolist() == [5] * 5
    assert not result.converged.any()
    torch.testing.assert_close(result.gap, energy.gap(result.z), rtol=1e-6, atol=1e-14)
    torch.testing.assert_close(result.objective, energy.per_sample(result.z))


@every_case
def test_a_row_out_of_steps_has_taken_them_all(case: Case) -> None:
    energy = lasso_energy()
    result = solved(energy, case.solver, max_steps=13)
    torch.testing.assert_close(result.z, path(energy, case.solver, 13)[-1], rtol=0, atol=1e-12)


@every_solver
def test_the_start_is_not_written_to(solver: Solver) -> None:
    start = torch.ones(5, 30, dtype=torch.float64)
    solve(lasso_energy(), solver, start, max_steps=20, tol=1e-5)
    assert (start == 1).all()


@every_solver
def test_a_sample_of_zeros_has_a_code_of_zeros(solver: Solver) -> None:
    _, atoms = data()
    energy = QuadraticEnergy(torch.zeros(2, 20, dtype=torch.float64), atoms, L1(), ALPHA)
    result = solve(energy, solver, torch.ones(2, 30, dtype=torch.float64), max_steps=5_000, tol=1e-5)
    assert (result.z == 0).all()
    assert result.converged.all()


def test_coordinate_descent_gives_the_same_codes_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    energy = lasso_energy(rows=4001)
    one = solved(energy, CoordinateDescent(), tol=1e-4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    three = solved(energy, CoordinateDescent(), tol=1e-4)
    assert all(map(torch.equal, one, three))


def test_coordinate_descent_refuses_what_it_cannot_descend() -> None:
    energy = QuadraticEnergy(*data(), LogSum(), ALPHA)
    with pytest.raises(TypeError, match=r"CoordinateDescent needs .* an L1 or elastic net penalty; use FISTA"):
        solved(energy, CoordinateDescent())


@pytest.mark.parametrize("penalty", [L1(), ElasticNet()], ids=repr)
def test_without_a_solver_one_that_fits_is_taken(penalty: L1 | ElasticNet) -> None:
    energy = QuadraticEnergy(*data(), penalty, ALPHA)
    result = solve(energy, None, torch.zeros_like(energy.corr), max_steps=20_000, tol=1e-8)
    assert result.converged.all()
    torch.testing.assert_close(result.objective, solved(energy, FISTA()).objective)


def test_energy_from_the_gram_matrix_is_that_of_the_data(rng: torch.Generator) -> None:
    x, atoms = data()
    z = torch.randn(5, 30, generator=rng, dtype=torch.float64, requires_grad=True)
    energy = lasso_energy()
    smooth = (x - z @ atoms).square().sum(dim=1) / 2
    torch.testing.assert_close(energy.per_sample(z), smooth + ALPHA * z.abs().sum(dim=1))
    torch.testing.assert_close(energy.grad(z.detach()), torch.autograd.grad(smooth.sum(), z)[0])


def test_pulled_energy_adds_the_pull(rng: torch.Generator) -> None:
    z, target = torch.randn(2, 5, 30, generator=rng, dtype=torch.float64)
    energy = lasso_energy()
    pulled = energy.pulled_to(target, 0.7)
    expected = energy.per_sample(z) + 0.35 * (z - target).square().sum(dim=1)
    torch.testing.assert_close(pulled.per_sample(z), expected)
    assert (pulled.gap(solved(pulled).z) <= 1e-8).all()


@pytest.mark.parametrize("rank", [0, 1, 5, 40])
def test_lipschitz_bound_is_never_below_the_largest_eigenvalue(rank: int, rng: torch.Generator) -> None:
    factor = torch.randn(40, rank, generator=rng, dtype=torch.float64)
    gram = factor @ factor.T
    exact = float(torch.linalg.eigvalsh(gram)[-1]) if rank else 0.0
    assert exact * (1 - 1e-12) <= largest_eigenvalue_bound(gram) <= exact * 40 ** (1 / 128) * (1 + 1e-9)
