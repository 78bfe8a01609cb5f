"""What every penalty promises: a proximal map that is one, and a dual point that is feasible."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import Tensor

from sparsecode.penalties import L1, ElasticNet, GroupL2, LogSum, Proximal
from sparsecode.solvers import FISTA, QuadraticEnergy, solve

CONVEX: list[Any] = [
    L1(),
    L1(positive=True),
    ElasticNet(ratio=0.7),
    ElasticNet(ratio=0.7, positive=True),
    ElasticNet(ratio=0),
    GroupL2(size=3),
    GroupL2(size=3, positive=True),
]
PENALTIES: list[Any] = [*CONVEX, LogSum(scale=0.5), LogSum(scale=0.5, positive=True), LogSum(scale=10)]

every_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
every_convex_penalty = pytest.mark.parametrize("penalty", CONVEX, ids=repr)
seeds = st.integers(0, 2**32 - 1)
strengths = st.floats(1e-3, 5)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def domain(penalty: Proximal, z: Tensor) -> Tensor:
    """z moved to where the penalty is finite."""
    return z.clamp(min=0) if penalty.positive else z


@every_penalty
def test_value_is_non_negative_and_zero_at_zero(penalty: Proximal, rng: torch.Generator) -> None:
    z = domain(penalty, torch.randn(50, 6, generator=rng))
    assert (penalty.value(z) > 0).all()
    assert (penalty.value(torch.zeros(2, 6)) == 0).all()


@every_penalty
@given(seeds, strengths)
@settings(max_examples=40, deadline=None)
def test_prox_beats_every_perturbation(penalty: Proximal, seed: int, t: float) -> None:
    v = 3 * normal(seed, 1, 6)
    z = penalty.prox(v, t)
    sizes = torch.logspace(-4, 1, 200, dtype=torch.float64)[:, None]
    others = domain(penalty, z + sizes * normal(seed + 1, 200, 6))

    def objective(z: Tensor) -> Tensor:
        return (z - v).square().sum(dim=1) / 2 + t * penalty.value(z)

    assert (objective(others) >= objective(z) - 1e-12).all()
    assert torch.equal(domain(penalty, z), z)


@every_convex_penalty
@given(seeds, strengths)
@settings(max_examples=40, deadline=None)
def test_what_prox_takes_off_is_a_subgradient(penalty: Proximal, seed: int, t: float) -> None:
    v = 3 * normal(seed, 1, 6)
    z = penalty.prox(v, t)
    others = domain(penalty, 3 * normal(seed + 1, 200, 6))
    line = penalty.value(z) + ((v - z) / t * (others - z)).sum(dim=1)
    assert (penalty.value(others) >= line - 1e-9).all()


@every_convex_penalty
@given(seeds, strengths)
@settings(max_examples=40, deadline=None)
def test_prox_is_nonexpansive(penalty: Proximal, seed: int, t: float) -> None:
    a, b = 3 * normal(seed, 50, 6), 3 * normal(seed + 1, 50, 6)
    moved = torch.linalg.vector_norm(penalty.prox(a, t) - penalty.prox(b, t), dim=1)
    assert (moved <= torch.linalg.vector_norm(a - b, dim=1) * (1 + 1e-12)).all()


@every_penalty
def test_prox_takes_a_strength_per_row(penalty: Proximal, rng: torch.Generator) -> None:
    v = torch.randn(4, 6, generator=rng)
    t = torch.tensor([[0.0], [0.1], [1.0], [5.0]])
    rows = [penalty.prox(v[i : i + 1], float(t[i])) for i in range(4)]
    assert torch.equal(penalty.prox(v, t), torch.cat(rows))


@every_convex_penalty
@given(seeds, strengths)
@settings(max_examples=40, deadline=None)
def test_dual_scale_gives_a_feasible_point(penalty: Any, seed: int, weight: float) -> None:
    """Weak duality: a feasible multiple of any residual has a dual value below the energy of every code."""
    x, atoms, residual = normal(seed, 20, 4), normal(seed + 1, 9, 4), normal(seed + 2, 20, 4)
    scale = penalty.dual_scale(residual @ atoms.T, weight).clamp(max=1e3)  # infinite if nothing binds
    assert (scale > 0).all()
    dual = (x.square() - (x - scale[:, None] * residual).square()).sum(dim=1) / 2
    dual -= penalty.conjugate(scale[:, None] * residual @ atoms.T, weight)
    energy = QuadraticEnergy(x, atoms, penalty, weight)
    for size in (0.0, 0.1, 1.0):
        z = domain(penalty, size * normal(seed + 3, 20, 9))
        assert (energy.per_sample(z) >= dual - 1e-9 * dual.abs() - 1e-9).all()


@every_convex_penalty
def test_the_gap_closes_at_the_optimum(penalty: Proximal) -> None:
    x, atoms = normal(0, 20, 6), normal(1, 9, 6)
    energy = QuadraticEnergy(x, atoms, penalty, 0.5)
    result = solve(energy, FISTA(), torch.zeros(20, 9, dtype=torch.float64), max_steps=20_000, tol=1e-9)
    assert result.converged.all()
    eta = 1 / energy.lipschitz()
    torch.testing.assert_close(
        penalty.prox(result.z - eta * energy.grad(result.z), eta * 0.5), result.z, rtol=0, atol=1e-4
    )
    for size in (1e-6, 1e-3, 1e-1):  # and the gap bounds how much worse anything else in the domain is
        z = domain(penalty, result.z + size * normal(2, 20, 9))
        worse = (energy.per_sample(z) - result.objective) / energy.scale
        assert (energy.gap(z) >= worse - 1e-9).all()


@pytest.mark.parametrize("penalty", [p for p in PENALTIES if p not in CONVEX], ids=repr)
def test_without_convexity_the_kkt_residual_closes_and_no_neighbour_is_better(penalty: Proximal) -> None:
    x, atoms = normal(0, 20, 6), normal(1, 9, 6)
    energy = QuadraticEnergy(x, atoms, penalty, 0.5)
    result = solve(energy, None, torch.zeros(20, 9, dtype=torch.float64), max_steps=20_000, tol=1e-9)
    assert result.converged.all()
    assert (result.z != 0).any()
    assert (result.z == 0).any()
    for size in (1e-6, 1e-4):
        z = domain(penalty, result.z + size * normal(2, 20, 9))
        assert (energy.per_sample(z) >= result.objective - 1e-9).all()


def test_log_sum_is_between_no_penalty_and_l1() -> None:
    v = torch.linspace(-5, 5, 101)[None]
    l1, nearly_l1 = L1().prox(v, 1.0), LogSum(scale=1e4).prox(v, 1.0)
    torch.testing.assert_close(nearly_l1, l1, rtol=0, atol=1e-3)
    sharp = LogSum(scale=0.1).prox(v, 1.0)
    kept = sharp != 0
    assert ((v - sharp).abs()[kept] < (v - l1).abs()[kept]).all()  # large codes are shrunk less


def test_groups_are_active_as_a_whole() -> None:
    z = GroupL2(size=2).prox(torch.tensor([[3.0, 4.0, 0.3, 0.4, 0.0, 0.0]]), 1.0)
    torch.testing.assert_close(z, torch.tensor([[2.4, 3.2, 0.0, 0.0, 0.0, 0.0]]))
    with pytest.raises(ValueError, match="size is 4; expected a divisor of the number of codes, 6"):
        GroupL2(size=4).value(z)


@pytest.mark.parametrize(("positive", "expected"), [(False, 0.5 / 4), (True, 0.5 / 2)])
def test_dual_scale_of_l1_is_the_largest_feasible(positive: bool, expected: float) -> None:
    corr = torch.tensor([[1.0, 2.0, -4.0]])
    assert L1(positive=positive).dual_scale(corr, 0.5).item() == expected


def test_nothing_binds_a_positive_code_where_all_correlations_are_negative() -> None:
    assert L1(positive=True).dual_scale(torch.tensor([[-1.0, -2.0]]), 0.5).item() == torch.inf


@pytest.mark.parametrize(
    ("positive", "expected"), [(False, [-2.0, 0.0, 0.0, 0.0, 0.5]), (True, [0.0, 0.0, 0.0, 0.0, 0.5])]
)
def test_prox_of_l1_by_hand(positive: bool, expected: list[float]) -> None:
    v = torch.tensor([[-3.0, -1.0, 0.0, 1.0, 1.5]])
    assert L1(positive=positive).prox(v, 1.0).tolist() == [expected]


def test_shapes_in_signatures_hold_while_testing() -> None:
    with pytest.raises(TypeCheckError, match="z"):
        L1().value(torch.zeros(3))
