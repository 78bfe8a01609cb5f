"""What every constraint promises: a projection, in place and out of sight of autograd."""

import pytest
import torch
from torch import nn

from sparsecode.nn.constraints import Constraint, Free, UnitNorm

CONSTRAINTS: list[Constraint] = [UnitNorm(), UnitNorm(radius=0.5), Free()]

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


def test_free_changes_nothing(atoms: nn.Parameter) -> None:
    before = atoms.detach().clone()
    Free().apply_(atoms)
    assert torch.equal(atoms.detach(), before)
