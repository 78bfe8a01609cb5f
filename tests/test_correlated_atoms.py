"""Codes in dictionaries of correlated atoms: few steps, and gaps in float64 from their definition, written out in NumPy."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sparsecode import sparse_encode
from sparsecode.penalties import L1, ElasticNet
from sparsecode.solvers import CoordinateDescent, QuadraticEnergy, solve

Array = NDArray[Any]
Shape = L1 | ElasticNet

KINDS = ["one direction", "clusters", "fewer dimensions", "twins", "twins 1e-12", "twins 1e-8", "twins 1e-6"]
PENALTIES: list[Shape] = [
    L1(),
    L1(positive=True),
    ElasticNet(0.5),
    ElasticNet(0.5, positive=True),
    ElasticNet(1e-3),
    ElasticNet(0.0),
]
MOST_STEPS = 400  # coordinate descent alone takes thousands of sweeps
FEW_STEPS = 42  # where cosines tell that sweeps would be many, before any is taken in vain


def problem(kind: str) -> tuple[Array, Array, float]:
    """Samples [40, 60], atoms of norm 1, more than features, and of zeros, and the largest weight at which a code is not 0.

    Cosines are 0.99 in one direction and in clusters, 1 or 1 less the number between twins.
    """
    rng = np.random.default_rng(0)

    def unit(rows: Array) -> Array:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    n = {"one direction": 1, "clusters": 12}.get(kind, 120)
    atoms = unit(rng.normal(size=(n, 60)))[np.arange(120) % n]
    if kind == "fewer dimensions":
        atoms = atoms @ rng.normal(size=(60, 30)) @ rng.normal(size=(30, 60))
    elif kind.startswith("twins"):
        apart = float(kind.removeprefix("twins") or 0)
        atoms = np.concatenate([atoms, atoms + (2 * apart) ** 0.5 * unit(rng.normal(size=atoms.shape))])
    else:
        atoms = atoms + 0.1 * unit(rng.normal(size=atoms.shape))
    atoms = np.concatenate([unit(atoms), np.zeros((1, 60))])
    codes = rng.normal(size=(40, len(atoms))) * (rng.random(size=(40, len(atoms))) < 0.1)
    x = codes @ atoms + 0.05 * unit(rng.normal(size=(40, 60)))
    return x, atoms, float(np.abs(x @ atoms.T).max())


def gaps(x: Array, atoms: Array, z: Array, weight: Any, ratio: float = 0.0, positive: bool = False) -> Array:
    """(P(z) - D(s r)) / (1/2 |x|^2), r = x - z D, s <= 1 the largest that is feasible where there is no ridge."""
    x, atoms, z = (a.astype(np.float64) for a in (x, atoms, z))
    r, weight = x - z @ atoms, np.broadcast_to(weight, len(x))[:, None]
    u, ridge = (np.maximum(r @ atoms.T, 0) if positive else np.abs(r @ atoms.T)), ratio * weight
    primal = np.square(r).sum(axis=1) / 2 + (weight * np.abs(z) + ridge / 2 * np.square(z)).sum(axis=1)
    s = np.ones(len(x)) if ratio else (weight / np.maximum(u, weight)).min(axis=1)
    conjugate = (np.square(np.maximum(u - weight, 0)) / (2 * ridge)).sum(axis=1) if ratio else 0
    dual = s * (x * r).sum(axis=1) - s**2 * np.square(r).sum(axis=1) / 2 - conjugate
    return (primal - dual) / (np.square(x).sum(axis=1) / 2)


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_few_steps_lead_to_a_small_gap(kind: str, penalty: Shape) -> None:
    x, atoms, largest = problem(kind)
    for share in (0.002, 0.05):
        weight = share * largest
        energy = QuadraticEnergy(torch.from_numpy(x), torch.from_numpy(atoms), penalty, weight)
        zeros = torch.zeros_like(energy.corr)
        result = solve(energy, CoordinateDescent(), zeros, max_steps=10_000, tol=1e-9)
        z, ratio = result.z.numpy(), penalty.ratio if isinstance(penalty, ElasticNet) else 0.0
        assert (gaps(x, atoms, z, weight, ratio, penalty.positive) <= 1.001e-9).all()
        assert not penalty.positive or (z >= 0).all()
        assert (z[:, -1] == 0).all()
        seen = share == 0.05 and not ratio and kind in ("one direction", "clusters")
        assert int(result.steps.max()) < (FEW_STEPS if seen else MOST_STEPS)
        for steps in (5, 30):
            short = solve(energy, CoordinateDescent(), zeros, max_steps=steps, tol=1e-9)
            assert (short.objective <= (1 + 1e-12) * energy.half_square).all()
            assert int(short.steps.max()) <= steps


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_reaches_its_tolerance_in_few_steps(kind: str, penalty: Shape) -> None:
    x, atoms, largest = problem(kind)
    x, atoms = x.astype(np.float32), atoms.astype(np.float32)
    for share in (0.002, 0.05):
        weight = share * largest
        energy = QuadraticEnergy(torch.from_numpy(x), torch.from_numpy(atoms), penalty, weight)
        result = solve(energy, CoordinateDescent(), torch.zeros_like(energy.corr), max_steps=10_000, tol=1e-5)
        ratio = penalty.ratio if isinstance(penalty, ElasticNet) else 0.0
        assert (gaps(x, atoms, result.z.numpy(), weight, ratio, penalty.positive) <= 1.001e-5).all()
        seen = share == 0.05 and not ratio and kind in ("one direction", "clusters")
        assert int(result.steps.max()) < (FEW_STEPS if seen else MOST_STEPS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_rows_and_of_atoms(kind: str, positive: bool, dtype: Any) -> None:
    x, atoms, largest = problem(kind)
    x, atoms, tol = x.astype(dtype), atoms[:-1].astype(dtype), 1e-5 if dtype == np.float32 else 1e-9
    weight = largest * np.geomspace(0.002, 0.2, len(x))
    each = sparse_encode(x, atoms, weight, positive=positive, tol=tol, return_solution=True)
    assert (gaps(x, atoms, each.z, weight, positive=positive) <= 1.001 * tol).all()
    scale = np.random.default_rng(0).uniform(0.5, 2, len(atoms))
    scaled = sparse_encode(x, atoms, 0.01 * largest * scale, positive=positive, tol=tol, return_solution=True)
    assert (
        gaps(x, atoms / scale[:, None], scaled.z * scale, 0.01 * largest, positive=positive) <= 1.001 * tol + 1e-12
    ).all()
    assert max(int(each.steps.max()), int(scaled.steps.max())) < MOST_STEPS


@pytest.mark.parametrize("kind", ["twins", "twins 1e-12", "twins 1e-6"])
@pytest.mark.parametrize("positive", [False, True])
def test_a_start_whose_atoms_depend_on_each_other(kind: str, positive: bool) -> None:
    x, atoms, largest = problem(kind)
    start = sparse_encode(x, atoms[:120], 0.00201 * largest, positive=positive, tol=1e-9)
    z0 = np.concatenate([start, start, np.zeros((len(x), 1))], axis=1) / 2
    result = sparse_encode(x, atoms, 0.002 * largest, positive=positive, z0=z0, tol=1e-9, return_solution=True)
    assert (gaps(x, atoms, result.z, 0.002 * largest, positive=positive) <= 1.001e-9).all()
    assert result.steps.mean() < 60  # a start that is left for zeros takes more
