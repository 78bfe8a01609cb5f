"""What every metric promises: its closed-form cases, whatever the batches, the order or the dtype."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter  # pyright: ignore[reportMissingTypeStubs]
from sklearn.metrics import r2_score
from torch import Tensor
from toys import toy

from sparsecode.data import Split
from sparsecode.evaluate.evaluation import evaluate_model
from sparsecode.evaluate.metrics import (
    PSNR_CAP,
    CodeUse,
    ExplainedVariance,
    hoyer,
    l0,
    mean_squared_error,
    psnr,
    sees_structure,
    ssim,
    treves_rolls,
)
from sparsecode.evaluate.reconstruction.score import Score, score
from sparsecode.models.iterative import Iterative
from sparsecode.runs import Evaluate
from sparsecode.specs import from_json

Batches = list[tuple[Tensor, Tensor]]


def explained_variance(batches: Batches) -> list[float]:
    total = ExplainedVariance()
    for x, y in batches:
        total.update(x, y)
    return [total.result()]


def errors(batches: Batches) -> list[float]:
    total = ExplainedVariance()
    for x, y in batches:
        total.update(x, y)
    assert total.normalised_mse() == pytest.approx(1 - total.result(), rel=1e-12)
    return [total.mse(), total.normalised_mse()]


def unevenness(batches: Batches) -> list[float]:
    return [float(torch.cat([f(y.flatten(1)) for _, y in batches]).mean()) for f in (hoyer, treves_rolls)]


def mean_psnr(batches: Batches) -> list[float]:
    return [float(torch.cat([psnr(x, y, data_range=2.0) for x, y in batches]).mean())]


def mean_ssim(batches: Batches) -> list[float]:
    def larger(x: Tensor) -> Tensor:
        return x.repeat_interleave(5, dim=1).repeat_interleave(4, dim=2)

    return [float(torch.cat([ssim(larger(x), larger(y), data_range=2.0) for x, y in batches]).mean())]


def mean_l0(batches: Batches) -> list[float]:
    return [float(torch.cat([l0(y.flatten(1), theta=0.5) for _, y in batches]).mean())]


def code_use(batches: Batches) -> list[float]:
    use = CodeUse(12, theta=2.5)
    for _, y in batches:
        use.update(y.flatten(1))
    frequency, dead, always_on, dense, lifetime = use.result()
    return [*frequency.tolist(), dead, always_on, dense, *lifetime.tolist()]


METRICS: list[Callable[[Batches], list[float]]] = [
    explained_variance, errors, mean_psnr, mean_ssim, mean_l0, code_use, unevenness,
]  # fmt: skip

every_metric = pytest.mark.parametrize("metric", METRICS)


@pytest.fixture
def pair(rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """60 samples [3, 4] and a noisy copy of them."""
    x = torch.randn(60, 3, 4, generator=rng, dtype=torch.float64) + 5 * torch.rand(3, 4, generator=rng)
    return x, x + 0.3 * torch.randn(60, 3, 4, generator=rng, dtype=torch.float64)


@every_metric
@pytest.mark.parametrize("sizes", [[1, 59], [20, 20, 20], [59, 1], [7] * 8 + [4]])
def test_batches_do_not_matter(
    metric: Callable[[Batches], list[float]], sizes: list[int], pair: tuple[Tensor, Tensor]
) -> None:
    x, y = pair
    parts = list(zip(x.split(sizes), y.split(sizes), strict=True))
    assert metric(parts) == pytest.approx(metric([(x, y)]), rel=1e-12)


@every_metric
def test_order_does_not_matter(metric: Callable[[Batches], list[float]], pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    assert metric([(x.flip(0), y.flip(0))]) == pytest.approx(metric([(x, y)]), rel=1e-12)


@every_metric
def test_precision_does_not_matter(metric: Callable[[Batches], list[float]], pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    assert metric([(x.float(), y.float())]) == pytest.approx(metric([(x, y)]), rel=1e-5)


def test_units_do_not_matter_to_explained_variance_nor_offsets(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    assert explained_variance([(7 * x + 3, 7 * y + 3)]) == pytest.approx(explained_variance([(x, y)]), rel=1e-12)


def test_units_do_not_matter_to_psnr_if_the_range_has_them_too(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    torch.testing.assert_close(psnr(255 * x, 255 * y, 255.0), psnr(x, y, 1.0))


def test_predicting_the_mean_explains_nothing(pair: tuple[Tensor, Tensor]) -> None:
    x, _ = pair
    assert explained_variance([(x, x.mean(dim=0).expand_as(x))]) == [pytest.approx(0, abs=1e-12)]


def test_predicting_one_mean_for_all_features_explains_less_than_nothing(pair: tuple[Tensor, Tensor]) -> None:
    x, _ = pair
    assert explained_variance([(x, x.mean().expand_as(x))])[0] < -0.1


def test_a_perfect_reconstruction_explains_everything(pair: tuple[Tensor, Tensor]) -> None:
    x, _ = pair
    assert explained_variance([(x, x.clone())]) == [1.0]


def test_half_the_deviation_explains_three_quarters(pair: tuple[Tensor, Tensor]) -> None:
    x, _ = pair
    assert explained_variance([(x, (x + x.mean(dim=0)) / 2)]) == [pytest.approx(0.75, abs=1e-12)]


def test_explained_variance_survives_data_far_from_zero(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    far = 1e7 * torch.arange(12, dtype=torch.float64).reshape(3, 4)
    assert explained_variance([(x + far, y + far)]) == pytest.approx(explained_variance([(x, y)]), rel=1e-6)


def test_explained_variance_of_data_that_do_not_vary_is_undefined() -> None:
    x = torch.full((7, 3), 0.1, dtype=torch.float64)
    for batches in ([(x, x + 1)], [(x[:3], x[:3] + 1), (x[3:], x[3:] + 1)], []):
        assert explained_variance(batches) == [pytest.approx(float("nan"), nan_ok=True)]


@pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0])
def test_psnr_of_known_noise(sigma: float, rng: torch.Generator) -> None:
    x = torch.rand(20, 100_000, generator=rng)
    noisy = x + sigma * torch.randn(x.shape, generator=rng)
    expected = -20 * torch.log10(torch.tensor(sigma))
    torch.testing.assert_close(psnr(x, noisy, 1.0), expected.expand(20), rtol=0, atol=0.1)
    torch.testing.assert_close(psnr(x, x + sigma, 1.0), expected.expand(20), rtol=1e-5, atol=1e-5)


def test_psnr_of_equal_samples_is_the_cap(pair: tuple[Tensor, Tensor]) -> None:
    x, _ = pair
    assert PSNR_CAP == 100
    assert psnr(x, x.clone(), 1.0).tolist() == [pytest.approx(100.0)] * 60


def test_mean_squared_error_by_hand() -> None:
    x, y = torch.zeros(2, 1, 2), torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]]])
    assert mean_squared_error(x, y).tolist() == [5.0, 0.0]


@pytest.mark.parametrize(("theta", "expected"), [(0.0, [3.0, 0.0]), (0.5, [2.0, 0.0]), (5.0, [0.0, 0.0])])
def test_l0_by_hand(theta: float, expected: list[float]) -> None:
    z = torch.tensor([[0.0, -0.5, 2.0, -3.0], [0.0, 0.0, 0.0, 0.0]])
    assert l0(z, theta).tolist() == expected


@pytest.mark.parametrize(
    ("theta", "frequency", "dead", "always_on"),
    [(0.0, [1.0, 0.5, 0.0, 0.75], 1, 1), (1.0, [0.75, 0.0, 0.0, 0.5], 2, 0)],
)
def test_code_use_by_hand(theta: float, frequency: list[float], dead: int, always_on: int) -> None:
    use = CodeUse(4, theta)
    use.update(torch.tensor([[1.0, 0.0, 0.0, 2.0], [-2.0, 0.5, 0.0, 0.0]]))
    use.update(torch.tensor([[3.0, -1.0, 0.0, 0.5], [4.0, 0.0, 0.0, -2.0]]))
    actual = use.result()
    assert actual.frequency.tolist() == frequency
    assert (actual.dead, actual.always_on) == (dead, always_on)


def test_a_code_is_dense_above_a_tenth_of_the_samples() -> None:
    use = CodeUse(3)
    for i in range(20):
        use.update(torch.tensor([[float(i < 2), float(i < 3), 1.0]]))
    assert use.result().dense == 2


@pytest.mark.parametrize("measure", [hoyer, treves_rolls])
def test_unevenness_by_hand(measure: Callable[[Tensor], Tensor]) -> None:
    z = torch.tensor([[0.0, -3.0, 0.0, 0.0], [2.0, 2.0, -2.0, 2.0], [0.0, 5.0, 5.0, 0.0], [0.0] * 4])
    half = 2 - 2**0.5 if measure is hoyer else 2 / 3
    assert measure(z).tolist() == pytest.approx([1.0, 0.0, half, float("nan")], nan_ok=True, abs=1e-6)
    torch.testing.assert_close(measure(7 * z), measure(z), equal_nan=True)
    torch.testing.assert_close(measure(z[:, [2, 0, 3, 1]]), measure(z), equal_nan=True)


def test_lifetime_sparsity_is_that_of_each_code_over_the_samples(rng: torch.Generator) -> None:
    z = torch.relu(torch.randn(30, 5, generator=rng, dtype=torch.float64))
    z[:, 4] = 0
    use = CodeUse(5)
    for part in z.split(7):
        use.update(part)
    torch.testing.assert_close(use.result().lifetime_sparsity, treves_rolls(z.T), equal_nan=True)


def test_errors_by_hand() -> None:
    x, y = torch.tensor([[0.0, 2.0], [4.0, 2.0]]), torch.tensor([[1.0, 2.0], [4.0, 1.0]])
    assert errors([(x, y)]) == [0.5, 0.25]  # 2 of 4 values, and of a total variance of 8


def test_units_matter_to_mse_alone(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    mse, normalised = errors([(x, y)])
    assert errors([(7 * x + 3, 7 * y + 3)]) == pytest.approx([49 * mse, normalised], rel=1e-12)


def test_ssim_is_that_of_its_authors(rng: torch.Generator) -> None:
    """Against Gaussian filters of scipy; only places where the window fits count."""
    x = torch.rand(2, 3, 14, 17, generator=rng, dtype=torch.float64)
    y = x + 0.2 * torch.randn(2, 3, 14, 17, generator=rng, dtype=torch.float64)

    def blurred(image: Tensor) -> Any:
        return gaussian_filter(image.numpy(), 1.5, radius=5)[5:-5, 5:-5]

    for sample, other, actual in zip(x, y, ssim(x, y, 2.0).tolist(), strict=True):
        maps: list[Any] = []
        for a, b in zip(sample, other, strict=True):
            m, n = blurred(a), blurred(b)
            v, w, c = blurred(a * a) - m**2, blurred(b * b) - n**2, blurred(a * b) - m * n
            maps.append((2 * m * n + 0.02**2) * (2 * c + 0.06**2) / ((m**2 + n**2 + 0.02**2) * (v + w + 0.06**2)))
        assert actual == pytest.approx(np.mean(maps), rel=1e-12)
    assert ssim(x, x, 2.0).tolist() == pytest.approx([1.0, 1.0])
    assert float(ssim(x, 1 - x, 1.0).max()) < 0
    grey = ssim(x[:, 0], y[:, 0], 2.0)
    torch.testing.assert_close(grey, ssim(x[:, :1], y[:, :1], 2.0))


def test_ssim_needs_images_that_its_window_fits_into() -> None:
    assert [sees_structure(s) for s in ((11, 11), (3, 28, 28), (8, 8), (1, 40, 10), (400,), (2, 3, 20, 20))] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"\(1, 8, 8\); expected images of at least 11 x 11 pixels"):
        ssim(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8), 1.0)


def test_scores_of_older_versions_can_be_read() -> None:
    old = b"""{"format": 1, "spec": {"type": "score", "n": 2, "psnr": 20.0, "data_range": 1.0, "explained_variance": 0.5,
        "objective": 1.0, "gap_mean": null, "gap_max": null, "l0": 3.0, "theta": 0.0, "active_fraction": 0.3, "dead": 0,
        "always_on": 0, "n_code": 10}}"""
    actual = from_json(old, Score)
    assert (actual.l0, actual.dense, actual.normalised_mse) == (3.0, None, None)


@pytest.mark.parametrize("n", [5, 1001])  # few, and more than are coded together
def test_score_gathers_the_metrics(n: int, rng: torch.Generator) -> None:
    model = Iterative(n_code=3, weight=0.5).build((3,), seed=0)
    with torch.no_grad():
        model.decoder.get_parameter("atoms").copy_(torch.eye(3))
    x = torch.rand(n, 3, generator=rng)

    def coder(x: Tensor) -> Tensor:
        return torch.stack([x[:, 0], 0 * x[:, 1], x[:, 2]], dim=1)  # decodes to itself, feature 1 lost

    actual = score(model, coder, Split(x), data_range=1.0)
    assert (actual.n, actual.n_code, actual.l0, actual.dead, actual.always_on) == (n, 3, 2.0, 1, 2)
    assert actual.psnr == pytest.approx(float(psnr(x, coder(x), 1.0).mean()), rel=1e-5)
    assert actual.active_fraction == pytest.approx(2 / 3)
    assert actual.explained_variance == pytest.approx(explained_variance([(x, coder(x))])[0], rel=1e-6)
    assert [actual.mse, actual.normalised_mse] == pytest.approx(errors([(x, coder(x))]), rel=1e-6)
    assert actual.dense == 2
    assert actual.silent == 0
    assert score(model, lambda x: torch.relu(x - 0.5), Split(x), 1.0).silent == (x <= 0.5).all(dim=1).double().mean()
    assert actual.hoyer == pytest.approx(float(hoyer(coder(x)).mean()), rel=1e-5)
    assert actual.population_sparsity == pytest.approx(float(treves_rolls(coder(x)).mean()), rel=1e-5)
    assert actual.lifetime_sparsity == pytest.approx(float(treves_rolls(x.T)[[0, 2]].mean()), rel=1e-5)
    gap = model.gap(x, coder(x))
    assert gap is not None
    assert (actual.gap_mean, actual.gap_max) == pytest.approx((float(gap.mean()), float(gap.max())), rel=1e-5)
    assert 0 < float(gap.mean()) < float(gap.max())
    expected = x[:, 1].square() / 2 + 0.5 * (x[:, 0] + x[:, 2])
    assert actual.objective == pytest.approx(float(expected.mean()), rel=1e-5)


def test_a_split_of_one_sample_can_be_scored(rng: torch.Generator) -> None:
    """It does not vary, so its explained variance is undefined; the other scores are not."""
    model = Iterative(n_code=3, weight=0.5).build((3,), seed=0)
    actual = score(model, model.encode, Split(torch.rand(1, 3, generator=rng)), data_range=1.0)
    assert actual.n == 1
    assert actual.explained_variance is None


def by_feature(x: Tensor, y: Tensor, batch: int = 100) -> ExplainedVariance.ByFeature:
    total = ExplainedVariance()
    for a, b in zip(x.split(batch), y.split(batch), strict=True):
        total.update(a, b)
    return total.by_feature()


@pytest.mark.parametrize("batch", [100, 7])
def test_explained_variance_of_single_features_is_that_of_scikit_learn(batch: int) -> None:
    """One of 60 features holds most of the variance, and is reconstructed well; another one never varies."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 60)) + 3
    x[:, 7] *= 6
    x[:, 20] = 0.1
    y = x + rng.normal(size=x.shape) * 0.7
    actual = by_feature(torch.from_numpy(x), torch.from_numpy(y), batch)
    varies = np.delete(np.arange(60), 20)
    assert actual.mean == pytest.approx(r2_score(x[:, varies], y[:, varies], multioutput="uniform_average"))
    variance = x.var(axis=0)
    assert actual.large == [7]
    assert actual.share == pytest.approx(variance[7] / variance.sum())
    others = np.delete(np.arange(60), 7)
    error = np.square(x[:, others] - y[:, others]).sum()
    assert actual.rest == pytest.approx(1 - error / (100 * variance[others].sum()))


def test_equal_features_and_few_features_have_no_large_one() -> None:
    x = torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    assert by_feature(x, 0.5 * x).large == []
    assert np.isnan(by_feature(x, 0.5 * x).rest)
    few = x[:, :3] * torch.tensor([100.0, 1.0, 1.0])
    assert by_feature(few, 0.5 * few).large == []
    still = torch.full((9, 4), 0.1)
    assert np.isnan(by_feature(still, still).mean)


def test_a_feature_that_dominates_explained_variance_is_a_warning(tmp_path: Path) -> None:
    config = toy("digits-topk", tmp_path)
    splits = config.data.load()
    model = config.model.build(splits.shape, seed=0)
    model.initialise_(splits.train.x)
    assert not [w for w in evaluate_model(model, splits, Evaluate(sigmas=()), 0).warnings if "variance" in w]

    def louder(split: Split) -> Split:
        x = split.x.clone()
        x[..., 3, 4] *= 10
        return split._replace(x=x)

    loud = splits._replace(test=louder(splits.test))
    evaluation = evaluate_model(model, loud, Evaluate(sigmas=()), 0)
    (warning,) = [w for w in evaluation.warnings if "of the variance" in w]
    actual = evaluation.scores["encode"]
    assert actual.large_features == (28,)
    assert actual.large_share is not None
    assert actual.large_share > 0.5
    assert warning.startswith(f"1 feature holds {actual.large_share:.0%} of the variance (number 28)")
    assert f"{actual.explained_variance:.3f} by encode is {actual.explained_variance_rest:.3f} without" in warning
    assert "standardise_features" in warning


@torch.no_grad()
@pytest.mark.parametrize("name", ["digits-sdl", "digits-lista", "digits-topk", "digits-satlin"])
def test_the_objective_is_what_its_words_say(name: str, tmp_path: Path) -> None:
    config = toy(name, tmp_path)
    split = config.data.load().test.take(slice(50))
    model = config.model.build(tuple(split.x.shape[1:]), seed=0).eval()
    model.initialise_(split.x)
    codes = next(iter(model.coders().values()))
    actual = score(model, codes, split, 1.0)
    z = codes(split.x)
    error = (model.normalise(split.x) - model.decode(z)).square().sum(dim=1)
    weight = model.state_dict().get("terms.l1.weight", getattr(model, "weight", 0.0))
    size = float(weight) * z.abs().sum(dim=1)  # L1 is the penalty of those that have one here
    expected = {
        "1/2 |x - decode(z)|^2 + weight * penalty(z) in model space": error / 2 + size,
        "|x - decode(z)|^2 + weight * penalty(z) in model space": error + size,
        "|x - decode(z)|^2 in model space": error,
    }
    assert actual.objective_of is not None
    assert actual.objective == pytest.approx(float(expected[actual.objective_of].mean()), rel=1e-4)
