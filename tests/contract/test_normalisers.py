"""What every normaliser promises: an affine map and its inverse, kept in buffers."""

import pytest
import torch
from torch import Tensor

from sparsecode.nn.normalisers import Identity, Normaliser, NormaliserModule, Standardise, Whiten

NORMALISERS: list[Normaliser] = [
    Identity(),
    Standardise(mean=0.3, std=0.5),
    Standardise(),
    Whiten(),
    Whiten(floor=0.3),
]

every_normaliser = pytest.mark.parametrize("spec", NORMALISERS, ids=repr)


@pytest.fixture
def x(rng: torch.Generator) -> Tensor:
    """Correlated features of different size and mean, float64."""
    mix = torch.randn(6, 6, generator=rng, dtype=torch.float64)
    return torch.randn(500, 6, generator=rng, dtype=torch.float64) @ mix + torch.arange(6)


def built(spec: Normaliser, x: Tensor) -> NormaliserModule:
    module = spec.build(x.shape[1]).to(x.dtype)
    module.initialise_(x)
    return module


@every_normaliser
def test_undo_inverts(spec: Normaliser, x: Tensor) -> None:
    module = built(spec, x)
    torch.testing.assert_close(module.undo(module(x)), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(module(module.undo(x)), x, rtol=0, atol=1e-12)


@every_normaliser
def test_map_is_affine(spec: Normaliser, x: Tensor) -> None:
    module = built(spec, x)
    a, b = x[:250], x[250:]
    torch.testing.assert_close(module(0.3 * a + 0.7 * b), 0.3 * module(a) + 0.7 * module(b))


@every_normaliser
def test_state_is_in_buffers(spec: Normaliser, x: Tensor) -> None:
    module, fresh = built(spec, x), spec.build(6).double()
    assert list(module.parameters()) == []
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(fresh(x), module(x))
    assert torch.equal(fresh.undo(x), module.undo(x))


def test_identity_changes_nothing(x: Tensor) -> None:
    assert torch.equal(built(Identity(), x)(x), x)


def test_standardise_uses_its_two_numbers(x: Tensor) -> None:
    torch.testing.assert_close(built(Standardise(mean=2.0, std=4.0), x)(x), (x - 2) / 4)


@pytest.mark.parametrize(("mean", "std"), [(None, None), (2.0, None), (None, 4.0)])
def test_standardise_takes_from_the_samples_what_it_was_not_given(
    mean: float | None, std: float | None, x: Tensor
) -> None:
    expected = (x - (x.mean() if mean is None else mean)) / (x.std(correction=0) if std is None else std)
    torch.testing.assert_close(built(Standardise(mean=mean, std=std), x)(x), expected, rtol=1e-6, atol=1e-6)


def test_whitening_with_a_small_floor_gives_identity_covariance(x: Tensor) -> None:
    y = built(Whiten(floor=1e-9), x)(x)
    torch.testing.assert_close(torch.cov(y.T, correction=0), torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.mean(dim=0), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-12)


def test_floor_damps_each_direction_by_its_share_of_variance(x: Tensor) -> None:
    """Along an eigenvector the variance v becomes v / (v + floor * mean(v)); the directions stay."""
    v, directions = torch.linalg.eigh(torch.cov(x.T, correction=0))
    y = built(Whiten(floor=0.3), x)(x)
    expected = (directions * (v / (v + 0.3 * v.mean()))) @ directions.T
    torch.testing.assert_close(torch.cov(y.T, correction=0), expected)


def test_whitening_is_symmetric(x: Tensor) -> None:
    """ZCA, unlike PCA whitening, keeps features where they were."""
    matrix = built(Whiten(), x).state_dict()["matrix"]
    torch.testing.assert_close(matrix, matrix.T)
    assert (torch.linalg.eigvalsh(matrix) > 0).all()


def test_whitening_survives_a_feature_that_never_varies(x: Tensor) -> None:
    x[:, 2] = 5.0
    module = built(Whiten(), x)
    assert torch.isfinite(module(x)).all()
    torch.testing.assert_close(module.undo(module(x)), x)


@pytest.mark.parametrize("spec", [Standardise(), Standardise(mean=0.0), Whiten()], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 3, 7])
def test_data_that_do_not_vary_are_refused(spec: Normaliser, n: int, dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"{type(spec).__name__}: the {n} training samples are all equal"):
        spec.build(6).initialise_(torch.full((n, 6), 0.1, dtype=dtype))
