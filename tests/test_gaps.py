"""Duality gaps of single precision are bounds: beside float64 gaps from the definition, for every solver that returns them."""

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sparsecode import sparse_encode
from sparsecode.models.iterative import Inference, Iterative
from sparsecode.penalties import L1, ElasticNet
from sparsecode.solvers import FISTA, ISTA, CoordinateDescent, QuadraticEnergy, Solver, solve

Array = NDArray[Any]
Shape = L1 | ElasticNet

SHAPES = [(64, 128), (256, 512), (20, 300), (576, 64)]
PENALTIES: list[Shape] = [L1(), L1(positive=True), ElasticNet(0.5), ElasticNet(0.5, positive=True)]


def problem(n_features: int, n_code: int, rows: int = 8) -> tuple[Array, Array, float]:
    """Normal samples, unit atoms, and the largest weight at which a code is not 0."""
    rng = np.random.default_rng(n_features)
    x, atoms = rng.normal(size=(rows, n_features)), rng.normal(size=(n_code, n_features))
    x, atoms = (a.astype(np.float32) for a in (x, atoms / np.linalg.norm(atoms, axis=1, keepdims=True)))
    return x, atoms, float(np.abs(x @ atoms.T).max())


def true_gaps(x: Array, atoms: Array, alpha: float, z: Array, penalty: Shape) -> Array:
    """(P(z) - D(s r)) / (1/2 |x|^2) with r = x - z D and the largest s <= 1 that is feasible, in float64."""
    x, atoms, z = (a.astype(np.float64) for a in (x, atoms, z))
    ratio = penalty.ratio if isinstance(penalty, ElasticNet) else 0.0
    r = x - z @ atoms
    u = r @ atoms.T
    size = np.maximum(u, 0) if penalty.positive else np.abs(u)
    primal = (r**2).sum(axis=1) / 2 + alpha * np.abs(z).sum(axis=1) + alpha * ratio / 2 * (z**2).sum(axis=1)
    s = np.ones(len(x)) if ratio else np.minimum(1, alpha / size.max(axis=1))
    conjugate = (np.maximum(size - alpha, 0) ** 2).sum(axis=1) / (2 * alpha * ratio) if ratio else 0
    dual = s * (x * r).sum(axis=1) - s**2 * (r**2).sum(axis=1) / 2 - conjugate
    return (primal - dual) / ((x**2).sum(axis=1) / 2)


@pytest.mark.filterwarnings("ignore:.*codes:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("shape", "solver"),
    [
        *product(SHAPES, [CoordinateDescent()]),
        (SHAPES[0], ISTA()),
        (SHAPES[0], FISTA(restart=True)),
        (SHAPES[2], FISTA(restart=True)),
    ],
    ids=str,
)
def test_a_gap_in_single_precision_is_a_bound(shape: tuple[int, int], solver: Solver) -> None:
    x, atoms, largest = problem(*shape)
    steps = 600 if isinstance(solver, CoordinateDescent) else 20
    for share, tol, penalty in product((0.002, 0.01, 0.5), (1e-2, 1e-6), PENALTIES):
        alpha = float(np.float32(share * largest))
        result = sparse_encode(
            x, atoms, alpha, penalty=penalty, tol=tol, solver=solver, max_steps=steps, return_solution=True
        )
        true = true_gaps(x, atoms, alpha, result.z, penalty)
        assert (true <= result.gap + 1e-13).all()
        assert (np.abs(true - result.gap) <= 1e-6 * true + 1e-13).all()  # nor is it more than that
        assert (result.converged == (result.gap <= tol)).all()


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_codes_that_rounding_leaves_short_of_the_tolerance_are_refined(share: float) -> None:
    x, atoms, largest = problem(256, 512, rows=40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # all converge
        result = sparse_encode(x, atoms, share * largest, tol=1e-6, return_solution=True)
    assert result.converged.all()
    assert (true_gaps(x, atoms, share * largest, result.z, L1()) <= 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_the_gap_of_its_codes_before_they_are_rounded(dtype: torch.dtype) -> None:
    x, atoms, largest = problem(64, 128)
    rows, basis = (torch.from_numpy(a).to(dtype) for a in (x, atoms))
    half = sparse_encode(rows, basis, 0.1 * largest, return_solution=True)
    single = sparse_encode(rows.float(), basis.float(), 0.1 * largest, return_solution=True)
    assert torch.equal(half.gap, single.gap)
    true = true_gaps(rows.float().numpy(), basis.float().numpy(), 0.1 * largest, single.z.numpy(), L1())
    assert (true <= half.gap.numpy() + 1e-13).all()


@pytest.mark.parametrize("solver", [CoordinateDescent(), FISTA()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_energies_that_pull_to_a_target_have_true_gaps_too(penalty: Shape, solver: Solver) -> None:
    samples, basis, largest = problem(64, 128)
    x, atoms = torch.from_numpy(samples), torch.from_numpy(basis)
    target = torch.randn(8, 128, generator=torch.Generator().manual_seed(0)).clamp(min=0)
    energy = QuadraticEnergy(x, atoms, penalty, 0.01 * largest).pulled_to(target, 0.5)
    result = solve(energy, solver, torch.zeros(8, 128), max_steps=300, tol=1e-5)
    true = energy.wide().gap(result.z.double())
    torch.testing.assert_close(result.gap.double(), true, rtol=1e-6, atol=1e-13)
    assert (true <= result.gap + 1e-13).all()


def test_models_return_true_gaps() -> None:
    x, _, _ = problem(64, 128)
    inference = Inference(start="zero", tol=1e-6, max_steps=300)
    model = Iterative(n_code=128, weight=0.02, encoder=None, inference=inference).build((64,), 0)
    rows, atoms = torch.from_numpy(x), model.decoder.state_dict()
    result = model.infer(rows)
    dictionary = next(value for value in atoms.values() if value.numel() == 128 * 64).reshape(128, 64)
    true = true_gaps(x, dictionary.numpy(), 0.02, result.z.numpy(), L1(positive=True))
    gap = model.gap(rows, result.z)
    assert gap is not None
    assert (true <= result.gap.numpy() + 1e-13).all()
    assert (true <= gap.numpy() + 1e-13).all()
