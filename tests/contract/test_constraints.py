"""What every constraint promises: a projection, in place and out of sight of autograd."""

import pytest
import torch
from torch import nn

from sparsecode.nn.constraints import Bounded, Constraint, Free, UnitBall, UnitNorm
from sparsecode.ops.norms import LARGE, remove_parallel_

BOUNDED: list[Bounded] = [
    UnitNorm(),
    UnitNorm(radius=0.5),
    UnitNorm(positive=True),
    UnitBall(),
    UnitBall(radius=4.0, positive=True),
]
CONSTRAINTS: list[Constraint] = [*BOUNDED, Free()]

every_constraint = pytest.mark.parametrize("constraint", CONSTRAINTS, ids=repr)


@pytest.fixture
def atoms(rng: torch.Generator) -> nn.Parameter:
    return nn.Parameter(3 * torch.randn(7, 5, generator=rng))


@every_constraint
def test_applying_twice_is_applying_once(constraint: Constraint, atoms: nn.Parameter) -> None:
    constraint.apply_(atoms)
    once = atoms.detach().clone()
    constraint.apply_(atoms)
    torch.testing.assert_close(atoms.detach(), once)


@every_constraint
def test_parameters_stay_leaves_that_train(constraint: Constraint, atoms: nn.Parameter) -> None:
    constraint.apply_(atoms)
    assert atoms.is_leaf
    assert atoms.requires_grad


@pytest.mark.parametrize("radius", [1.0, 0.5])
def test_unit_norm_keeps_directions(radius: float, atoms: nn.Parameter) -> None:
    before = atoms.detach().clone()
    UnitNorm(radius=radius).apply_(atoms)
    expected = radius * before / torch.linalg.vector_norm(before, dim=1, keepdim=True)
    torch.testing.assert_close(atoms.detach(), expected)


def test_unit_norm_leaves_an_atom_of_zeros_at_zero() -> None:
    atoms = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    UnitNorm().apply_(atoms)
    torch.testing.assert_close(atoms, torch.tensor([[0.0, 0.0], [0.6, 0.8]]))


@pytest.mark.parametrize("constraint", BOUNDED, ids=repr)
def test_nothing_within_the_constraint_is_nearer(
    constraint: Bounded, atoms: nn.Parameter, rng: torch.Generator
) -> None:
    before = atoms.detach().clone()
    constraint.apply_(atoms)
    least, greatest = constraint.norms()
    norms = torch.linalg.vector_norm(atoms.detach(), dim=1)
    assert ((norms > least - 1e-6) & (norms < greatest + 1e-6)).all()
    assert not constraint.positive or (atoms >= 0).all()
    others = 3 * torch.randn(500, 1, 5, generator=rng)
    others = others.abs() if constraint.positive else others
    norms = torch.linalg.vector_norm(others, dim=2, keepdim=True)
    others = others / norms * norms.clamp(least, greatest)
    assert ((others - before).norm(dim=2) >= (atoms - before).norm(dim=1) - 1e-6).all()


def test_positive_atoms_without_a_positive_entry_are_zero() -> None:
    atoms = torch.tensor([[-1.0, -2.0], [-1.0, 0.5]])
    UnitNorm(positive=True).apply_(atoms)
    torch.testing.assert_close(atoms, torch.tensor([[0.0, 0.0], [0.0, 1.0]]))


def test_free_changes_nothing(atoms: nn.Parameter) -> None:
    before = atoms.detach().clone()
    Free().apply_(atoms)
    assert torch.equal(atoms.detach(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_removal_of_parallel_gradients_is_the_plain_one(dtype: torch.dtype, rng: torch.Generator) -> None:
    rows, grad = (torch.randn(2000, 600, generator=rng, dtype=dtype) for _ in range(2))
    rows[3] = 0
    assert grad.numel() >= LARGE
    expected = grad.clone()
    for part in range(0, 2000, 500):
        remove_parallel_(expected[part : part + 500], rows[part : part + 500])
    remove_parallel_(grad, rows)
    torch.testing.assert_close(grad, expected)
    torch.testing.assert_close((grad * rows).sum(dim=1), torch.zeros(2000, dtype=dtype), rtol=0, atol=1e-3)
