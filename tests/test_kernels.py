"""Compiled kernels beside their eager counterparts, and what only they can get wrong."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from torch import Tensor

from sparsecode.data import Photos
from sparsecode.kernels import on_device, relu_passes
from sparsecode.ops.dense_codes import numbers
from sparsecode.ops.norms import remove_parallel_
from sparsecode.penalties import L1, ElasticNet, Proximal
from sparsecode.solvers import FISTA, CoordinateDescent, QuadraticEnergy, solve

PENALTIES = [L1(), L1(positive=True), ElasticNet(0.5), ElasticNet(0.5, positive=True), ElasticNet(0.0)]

every_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=repr)


def photographs(n_code: int, n: int = 60, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Patches of photographs without their means, and other such patches of unit norm for atoms: an ill-posed problem."""
    rows = Photos(n_train=4 * (n + n_code)).load().train.x.flatten(1).to(dtype)
    rows = rows - rows.mean(dim=1, keepdim=True)
    lively = rows[torch.linalg.vector_norm(rows, dim=1) > 0.5]
    atoms = lively[n : n + n_code]
    assert len(atoms) == n_code
    return lively[:n], atoms / torch.linalg.vector_norm(atoms, dim=1, keepdim=True)


def codes_of(energy: QuadraticEnergy, solver: FISTA | CoordinateDescent, tol: float, z0: Tensor | None = None):
    z0 = torch.zeros_like(energy.corr) if z0 is None else z0
    return solve(energy, solver, z0, max_steps=100_000, tol=tol)


@every_penalty
def test_coordinate_descent_has_the_energy_and_the_gap_of_the_eager_formulas(penalty: Proximal) -> None:
    energy = QuadraticEnergy(*photographs(300, n=20), penalty, 0.05)
    result = codes_of(energy, CoordinateDescent(), 1e-7)
    assert result.converged.all()
    torch.testing.assert_close(result.gap, energy.gap(result.z), rtol=1e-6, atol=1e-13)
    above = (codes_of(energy, FISTA(), 1e-3).objective - result.objective) / energy.half_square
    assert ((above >= -1e-7) & (above <= 1e-3)).all()


@pytest.mark.parametrize("positive", [False, True])
def test_elastic_net_is_that_of_scikit_learn(positive: bool) -> None:
    x, atoms = photographs(40, n=5)
    weight, ratio = 0.05, 0.8
    total = weight * (1 + ratio) / x.shape[1]
    reference = SklearnElasticNet(
        total, l1_ratio=1 / (1 + ratio), fit_intercept=False, positive=positive, tol=1e-10, max_iter=100_000
    )
    expected = np.stack([reference.fit(atoms.T.numpy(), row.numpy()).coef_.copy() for row in x])
    result = codes_of(QuadraticEnergy(x, atoms, ElasticNet(ratio, positive), weight), CoordinateDescent(), 1e-12)
    np.testing.assert_allclose(result.z.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("n_code", [1, 2, 3, 4, 5, 17, 63, 64, 65, 300])
@every_penalty
def test_any_number_of_codes_meets_the_conditions_of_an_optimum(n_code: int, penalty: Proximal) -> None:
    energy = QuadraticEnergy(*photographs(300), penalty, 0.02)
    energy = QuadraticEnergy(energy.x, energy.dictionary[:n_code], penalty, 0.02)
    z = codes_of(energy, CoordinateDescent(), 1e-13).z
    step = torch.full((len(z), 1), 0.1, dtype=z.dtype)
    torch.testing.assert_close(energy.prox(z - step * energy.grad(z), step), z, rtol=0, atol=1e-6)
    assert (z != 0).any()


@pytest.mark.parametrize("n_code", [5, 300])
def test_energy_falls_with_every_further_sweep(n_code: int) -> None:
    x, atoms = photographs(300)
    energy = QuadraticEnergy(x, atoms[:n_code], L1(), 0.01)
    values = [
        solve(energy, CoordinateDescent(), torch.zeros_like(energy.corr), max_steps=steps, tol=1e-15).objective
        for steps in range(1, 40)
    ]
    assert (torch.stack(values).diff(dim=0) <= 1e-12).all()


def test_single_precision_stays_single_and_reaches_its_tolerance() -> None:
    energy = QuadraticEnergy(*photographs(300, dtype=torch.float32), L1(), 0.02)
    result = codes_of(energy, CoordinateDescent(), 1e-4)
    assert {part.dtype for part in (result.z, result.gap, result.objective)} == {torch.float32}
    assert result.converged.all()
    exact = QuadraticEnergy(*photographs(300), L1(), 0.02)
    assert (exact.gap(result.z.double()) <= 1.5e-4).all()


def test_atoms_of_zeros_and_twins_do_no_harm() -> None:
    x, atoms = photographs(40, n=20)
    atoms[3], atoms[7] = 0, atoms[8]
    for penalty in PENALTIES:
        result = codes_of(QuadraticEnergy(x, atoms, penalty, 0.05), CoordinateDescent(), 1e-8)
        assert result.converged.all()
        assert (result.z[:, 3] == 0).all()


def test_a_far_start_is_left_behind_by_large_dictionaries_too() -> None:
    x, atoms = photographs(300)
    energy = QuadraticEnergy(x, atoms, L1(), 0.02)
    start = torch.randn(energy.corr.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    far, near = (codes_of(energy, CoordinateDescent(), 1e-9, z0).objective for z0 in (start, None))
    torch.testing.assert_close(far, near, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, torch.float64])
def test_passes_between_products_are_those_of_torch(kind: torch.dtype, rng: torch.Generator) -> None:
    wide = torch.float64 if kind == torch.float64 else torch.float32
    pre, slope, linear = (torch.randn(n, 37, generator=rng).to(kind) for n in (11, 11, 5))
    bias, shift, target = (torch.randn(*n, generator=rng).to(wide) for n in ((11,), (5,), (5, 37)))
    pre[0, 0] = torch.nan
    z = torch.relu(pre.to(wide) + bias[:, None]).to(kind)
    relu_passes.rectify(numbers(pre), numbers(bias))
    torch.testing.assert_close(pre, z, rtol=0, atol=0, equal_nan=True)
    gated, sums = torch.where(z > 0, slope, 0), torch.empty(11, dtype=wide)
    relu_passes.gate(numbers(slope), numbers(z), numbers(sums))
    torch.testing.assert_close(slope, gated, rtol=0, atol=0)
    torch.testing.assert_close(sums, gated.to(wide).sum(dim=1))
    error = linear.to(wide) + shift[:, None] - target
    right, sums = torch.empty_like(linear), torch.empty(5, dtype=wide)
    result = relu_passes.differ(*map(numbers, (linear, shift, target, right, sums)))
    assert result == pytest.approx(float(error.square().sum()) / 37, rel=1e-6)
    torch.testing.assert_close(right, (2 / 37 * error).to(kind))
    torch.testing.assert_close(sums, 2 / 37 * error.sum(dim=1))


def test_rough_numbers_are_rounded_to_the_nearest_and_of_two_to_the_even_one() -> None:
    values = torch.tensor([[1 + 2**-8, 1 + 3 * 2**-8], [1 + 2**-8 + 2**-20, -1 - 2**-8], [3e38, torch.inf]])
    rough = torch.zeros(3, 2, dtype=torch.bfloat16)  # of two samples the derivative is the error itself
    relu_passes.differ(*map(numbers, (rough, torch.zeros(3), -values, rough, torch.zeros(3))))
    torch.testing.assert_close(rough, values.bfloat16(), rtol=0, atol=0)


def test_a_kernel_for_another_device_is_found_in_the_file_beside_the_one_for_cpus(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The device "meta", whose tensors have no values, stands for one with a kernel."""
    request.addfinalizer(on_device.cache_clear)
    rows = torch.ones(3, 4, device="meta")
    remove_parallel_(rows.clone(), rows)  # without a file, plain torch
    assert on_device("unit_rows", "remove_parallel_", "meta") is None

    on_device.cache_clear()
    calls: list[tuple[Tensor, ...]] = []
    beside = ModuleType("sparsecode.kernels.unit_rows_meta")
    beside.__dict__["remove_parallel_"] = lambda *given: calls.append(given)
    monkeypatch.setitem(sys.modules, beside.__name__, beside)
    remove_parallel_(rows, rows)
    assert len(calls) == 1
    remove_parallel_(torch.ones(3, 4), torch.ones(3, 4))
    assert len(calls) == 1
