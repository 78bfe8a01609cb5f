"""What every normaliser promises: an affine map and its inverse, kept in buffers."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from toys import toy

from sparsecode.nn.normalisers import (
    Centre,
    Identity,
    Normaliser,
    NormaliserModule,
    Standardise,
    StandardiseFeatures,
    Whiten,
)
from sparsecode.ops.rng import Stream
from sparsecode.records import Batch

NORMALISERS: list[Normaliser] = [
    Identity(),
    Standardise(mean=0.3, std=0.5),
    Standardise(),
    StandardiseFeatures(),
    Centre(),
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
    module = spec.build(x.shape[1:]).to(x.dtype)
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
    module, fresh = built(spec, x), spec.build((6,)).double()
    assert list(module.parameters()) == []
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(fresh(x), module(x))
    assert torch.equal(fresh.undo(x), module.undo(x))


def test_each_site_has_a_scale_of_its_own(x: Tensor) -> None:
    sites = torch.stack([x, 20 * x + 1], dim=1)  # [500, 2, 6]
    module = Centre(sites=True).build((2, 6)).double()
    module.initialise_(sites.flatten(1))
    rows = module(sites.flatten(1)).reshape(-1, 2, 6)
    torch.testing.assert_close(rows[:, 0], rows[:, 1])
    torch.testing.assert_close(rows[:, 0], built(Centre(), x)(x))
    torch.testing.assert_close(module.undo(rows.flatten(1)), sites.flatten(1), rtol=0, atol=1e-11)
    with pytest.raises(
        ValueError, match=r"normaliser 'centre' has sites, and samples have shape \(6,\); expected \[sites"
    ):
        Centre(sites=True).build((6,))


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


def test_each_feature_is_standardised_as_by_scikit_learn() -> None:
    """Pascal, degrees Celsius, metres, and a sensor that is stuck."""
    size, offset = np.array([1e5, 1.0, 1e-3, 0.0]), np.array([1e5, 20.0, 0.0, 0.1])
    x = np.random.default_rng(0).normal(size=(500, 4)) * size + offset
    module = built(StandardiseFeatures(), torch.from_numpy(x))
    y = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(y, StandardScaler().fit_transform(x), rtol=0, atol=1e-6)
    np.testing.assert_allclose(y.std(axis=0), [1, 1, 1, 0], rtol=0, atol=1e-6)
    assert module.state_dict()["constant"].tolist() == [False, False, False, True]
    assert float(module.scale[3]) == 1


def test_small_variation_about_a_large_mean_is_no_constant() -> None:
    x = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0)) * 0.1 + 1e5  # float32 resolves 0.008
    module = StandardiseFeatures().build((1,))
    module.initialise_(x)
    assert not bool(module.state_dict()["constant"])
    torch.testing.assert_close(module(x).std(), torch.tensor(1.0), rtol=1e-2, atol=0)


@pytest.mark.parametrize("name", ["noise-cifar-convmixer", "digits-topk", "digits-sdl"])
def test_features_of_images_are_standardised_in_every_kind_of_model(name: str, tmp_path: Path) -> None:
    config = toy(name, tmp_path)
    train = config.data.load().train.take(slice(300))
    x = train.x.float()
    model = msgspec.structs.replace(config.model, normaliser=StandardiseFeatures()).build(tuple(x.shape[1:]), seed=0)
    model.initialise_(x)
    rows = model.normalise(x)
    constant = x.flatten(1).std(dim=0) == 0
    assert bool(constant.any())
    torch.testing.assert_close(rows.std(dim=0, correction=0), (~constant).float(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(model.denormalise(rows), x, rtol=1e-5, atol=1e-5)
    assert bool(torch.isfinite(model.loss(Batch(x, label=train.label), 0, Stream(0, 0)).total))


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


@pytest.mark.parametrize(
    "spec", [Standardise(), Standardise(mean=0.0), StandardiseFeatures(), Centre(), Whiten()], ids=repr
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 3, 7])
def test_data_that_do_not_vary_are_refused(spec: Normaliser, n: int, dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"{type(spec).__name__}: the {n} training samples are all equal"):
        spec.build((6,)).initialise_(torch.full((n, 6), 0.1, dtype=dtype))
