"""Dictionaries of samples with missing entries and weights."""

from typing import Any

import numpy as np
import pytest
import torch

from sparsecode import learn_dictionary, sparse_encode


def planted(n: int = 1500, n_code: int = 20, n_features: int = 16, seed: int = 1):
    """Samples of two atoms each, the atoms, and a mask that lacks 30 % of the entries."""
    rng = np.random.default_rng(seed)
    atoms = rng.normal(size=(n_code, n_features))
    D = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
    z = np.zeros((n, n_code))
    for row in z:
        signs = rng.choice([-1, 1], 2)
        row[rng.choice(n_code, 2, replace=False)] = signs * (2 + rng.random(2))
    x = z @ D + 0.02 * rng.normal(size=(n, n_features))
    return x.astype(np.float32), D, rng.random((n, n_features)) < 0.7


def likeness(D: Any, atoms: Any):
    """The cosine of each true atom with the nearest learned one."""
    return np.abs(D @ (atoms / np.linalg.norm(atoms, axis=1, keepdims=True)).T).max(axis=1)


def test_atoms_are_recovered_with_30_percent_missing() -> None:
    x, D, mask = planted()
    fit = learn_dictionary(np.where(mask, x, np.nan), 20, 0.2, batch_size=128, max_steps=300, missing="nan")
    assert np.median(likeness(D, fit.atoms)) > 0.99
    assert (likeness(D, fit.atoms) > 0.95).sum() >= 18
    zeros = learn_dictionary(mask * x, 20, 0.2, batch_size=128, max_steps=300)
    assert (likeness(D, zeros.atoms) > 0.95).sum() <= 10  # what a fit that takes missing entries for zeros gives


@pytest.mark.parametrize("weighted", [False, True])
def test_every_step_lowers_the_masked_objective(weighted: bool) -> None:
    x, _, mask = planted(n=200)
    x = x.astype(np.float64)
    weight = np.linspace(0.1, 3, len(x)) if weighted else np.ones(len(x))
    steps = learn_dictionary(
        x, 20, 0.2, batch_size=len(x), max_steps=15, forgetting=0.0, tol=1e-8, mask=mask, sample_weight=weight
    )
    assert (np.diff(steps.objective) < 1e-9).all()
    assert steps.objective[-1] < 0.9 * steps.objective[0]
    result = sparse_encode(x, steps.atoms, 0.2, mask=mask, tol=1e-8, return_solution=True, sample_weight=weight)
    assert result.objective.sum() / weight.sum() <= steps.objective[-1] + 1e-9


def test_a_mask_of_ones_and_weights_of_one_change_nothing() -> None:
    x, _, mask = planted(n=300)
    plain = learn_dictionary(x, 10, 0.2, max_steps=20)
    given = learn_dictionary(x, 10, 0.2, max_steps=20, mask=np.ones_like(mask), sample_weight=np.ones(300))
    np.testing.assert_allclose(given.atoms, plain.atoms, atol=1e-4)
    tensor = learn_dictionary(torch.from_numpy(x), 10, 0.2, max_steps=20, mask=torch.from_numpy(mask))
    array = learn_dictionary(x, 10, 0.2, max_steps=20, mask=mask)
    np.testing.assert_allclose(tensor.atoms.numpy(), array.atoms, atol=1e-4)
    nan = learn_dictionary(np.where(mask, x, np.nan), 10, 0.2, max_steps=20, missing="nan")
    np.testing.assert_allclose(nan.atoms, array.atoms, atol=1e-4)


def test_weights_are_numbers_of_copies() -> None:
    x, D, mask = planted(n=90)
    x, count = x.astype(np.float64), np.arange(90) % 3
    settings: dict[str, Any] = {"n_code": 20, "alpha": 0.2, "init": D, "tol": 1e-12}
    copies = np.repeat(x, count, axis=0), np.repeat(mask, count, axis=0)
    weighted = learn_dictionary([x] * 3, mask=[mask] * 3, sample_weight=[count] * 3, **settings)
    repeated = learn_dictionary([copies[0]] * 3, mask=[copies[1]] * 3, **settings)
    np.testing.assert_allclose(weighted.atoms, repeated.atoms, atol=1e-8)
    np.testing.assert_allclose(weighted.objective, repeated.objective, rtol=1e-9)
    assert np.abs(weighted.atoms - learn_dictionary([x] * 3, mask=[mask] * 3, **settings).atoms).max() > 1e-3


def test_arguments_for_a_stream_are_iterables() -> None:
    x, _, mask = planted(n=60)
    with pytest.raises(ValueError, match="mask ends after 1 batches; expected an array for each batch of x"):
        learn_dictionary([x, x], 5, 0.2, mask=[mask])
    with pytest.raises(TypeError, match="sample_weight is a ndarray beside a stream; expected an iterable of arrays"):
        learn_dictionary([x], 5, 0.2, sample_weight=np.ones(60))
    with pytest.raises(ValueError, match=r"NaN or infinity, first in row 0 of batch 0.*missing='nan'"):
        learn_dictionary([np.full_like(x, np.nan)], 5, 0.2)
