"""References at equal L0, and how far codes are from the best with the same dictionary: closed-form cases and bounds."""

import math

import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from sparsecode import omp_encode
from sparsecode.data import Digits, Split
from sparsecode.evaluate.dictionary.geometry import Dictionary, dictionary_of
from sparsecode.evaluate.reconstruction.amortisation import amortisation_gap, lasso_at, model_gaps
from sparsecode.evaluate.reconstruction.references import (
    ReferencePoint,
    by_pursuit,
    by_strongest,
    principal_components,
    random_directions,
    random_rows,
    reference_scores,
    references,
)
from sparsecode.models.iterative import Iterative
from sparsecode.nn.decoders import OneHidden
from sparsecode.nn.normalisers import Standardise, Whiten

SPLITS = Digits().load()
TRAIN, TEST = SPLITS.train.x.flatten(1).double(), SPLITS.test.x.flatten(1).double()


def points(approximate: object, l0s: list[float], x: Tensor = TEST) -> list[ReferencePoint]:
    return reference_scores(approximate, Split(x), 1.0, l0s)  # pyright: ignore[reportArgumentType] - an Approximate


def explained(result: list[ReferencePoint]) -> list[float]:
    return [math.nan if p.explained_variance is None else p.explained_variance for p in result]


@pytest.mark.parametrize("k", [0, 1, 10, 40])
def test_principal_components_are_those_of_scikit_learn(k: int) -> None:
    ours = principal_components(TRAIN)(TEST, torch.full((len(TEST),), k))
    fitted = PCA(k).fit(TRAIN.numpy())
    theirs = fitted.inverse_transform(fitted.transform(TEST.numpy())) if k else fitted.mean_ + 0 * TEST.numpy()
    torch.testing.assert_close(ours, torch.as_tensor(theirs))


def test_a_mean_between_two_numbers_of_components_lies_between_their_scores() -> None:
    low, middle, high = points(principal_components(TRAIN), [5, 5.5, 6])
    assert middle.l0 == pytest.approx(5.5, abs=1 / len(TEST))
    for quantity in ("psnr", "explained_variance"):
        assert getattr(low, quantity) < getattr(middle, quantity) < getattr(high, quantity)
    assert middle.normalised_mse == pytest.approx(1 - explained([middle])[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_references_rise_to_everything_and_do_not_depend_on_precision_or_batches(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, approximate in references(SPLITS.train.x.to(dtype), 100).items():
        result = explained(points(approximate, [1, 4, 16, 64], TEST.to(dtype)))
        assert sorted(result) == result, name
        assert result[0] > 0
        if not name.endswith("top-k"):
            assert result[-1] > 0.98, name
        with monkeypatch.context() as patch:
            patch.setattr("sparsecode.evaluate.reconstruction.references.CHUNK", 50)
            again = explained(points(approximate, [4, 16], TEST.to(dtype)))
        assert again == pytest.approx(result[1:3], rel=1e-4)


def test_references_do_not_depend_on_units_or_offsets() -> None:
    one, other = references(TRAIN, 100, seed=3), references(7 * TRAIN - 2, 100, seed=3)
    for name, approximate in one.items():
        assert explained(points(other[name], [7], 7 * TEST - 2)) == pytest.approx(
            explained(points(approximate, [7])), rel=1e-4
        ), name


def test_random_dictionaries_are_unit_vectors_and_a_function_of_the_seed() -> None:
    for draw in (lambda seed: random_directions(30, 64, seed), lambda seed: random_rows(TRAIN, 30, seed)):
        torch.testing.assert_close(draw(0).norm(dim=1), torch.ones(30))
        assert torch.equal(draw(0), draw(0))
        assert not torch.equal(draw(0), draw(1))
    assert len(random_rows(TRAIN[:20], 30, 0)) == 20


def test_pursuit_is_the_best_k_terms_of_an_orthonormal_dictionary() -> None:
    basis = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    budgets = torch.full((len(TEST),), 9)
    kept = (TEST @ basis.T).square().sort(dim=1, descending=True).values[:, :9].sum(dim=1)
    for approximate in (by_pursuit(basis), by_strongest(basis)):
        left = (TEST - approximate(TEST, budgets)).square().sum(dim=1)
        torch.testing.assert_close(left, TEST.square().sum(dim=1) - kept)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("target", [0.7, 6.0, 20.0])
def test_the_lasso_comes_to_the_l0_asked_for(target: float, positive: bool) -> None:
    D = random_rows(TRAIN, 120, 0).double()
    result = lasso_at(target, TEST, D, positive)
    assert result.l0 == pytest.approx(target, rel=0.02)
    assert result.l0 == float((result.z != 0).sum(dim=1).double().mean())
    assert result.gap <= 1e-3
    assert not positive or bool((result.z >= 0).all())
    assert lasso_at(target, 9 * TEST, D, positive).weight == pytest.approx(9 * result.weight, rel=0.05)


def test_an_l0_that_no_weight_reaches_gives_the_nearest_codes() -> None:
    D = torch.eye(64, dtype=torch.float64)[:5]
    most = float((TEST[:, :5] != 0).sum(dim=1).double().mean())
    assert lasso_at(50.0, TEST, D).l0 == pytest.approx(most, abs=0.05)
    with pytest.raises(ValueError, match="target is 0"):
        lasso_at(0.0, TEST, D)


@pytest.fixture(scope="module")
def setting() -> tuple[Tensor, Dictionary]:
    """Samples, and 120 atoms of norms from .5 to 2 with a bias."""
    scales = torch.linspace(0.5, 2, 120, dtype=torch.float64)[:, None]
    return TEST, Dictionary(random_rows(TRAIN, 120, 0).double() * scales, TRAIN.mean(dim=0))


def test_pursuit_leaves_no_gap_and_half_its_amplitudes_leave_three_quarters_of_what_they_explain(
    setting: tuple[Tensor, Dictionary],
) -> None:
    x, (atoms, bias) = setting
    z = omp_encode(x - bias, atoms, 8)
    result = amortisation_gap(x, z, Dictionary(atoms, bias))
    assert (result.l0, result.positive, result.n) == (8, False, len(x))
    assert result.coder_error == pytest.approx(result.pursuit, rel=1e-9)
    assert result.coder_error == pytest.approx(result.refitted, rel=1e-9)
    assert result.amplitude_gap == pytest.approx(0, abs=1e-9)
    assert result.best <= result.pursuit
    half = amortisation_gap(x, z / 2, Dictionary(atoms, bias))
    assert half.refitted == pytest.approx(result.refitted, rel=1e-9)  # the support is all there
    explained_energy = (z @ atoms).square().sum() / (x - x.mean(dim=0)).square().sum()
    assert half.amplitude_gap == pytest.approx(float(explained_energy) / 4, rel=1e-6)
    assert half.gap == pytest.approx(half.amplitude_gap + half.support_gap, rel=1e-9)


@pytest.mark.parametrize("positive", [False, True])
def test_the_lasso_optimum_is_where_its_own_codes_are(positive: bool, setting: tuple[Tensor, Dictionary]) -> None:
    """Its error is that of the reference, refitting helps it, and every part of the gap is as it should be."""
    x, (atoms, bias) = setting
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    z = lasso_at(10.0, x - bias, atoms, positive).z
    result = amortisation_gap(x, z, Dictionary(atoms, bias))
    assert result.positive == positive
    assert result.lasso == pytest.approx(result.coder_error, rel=0.01)
    assert result.lasso_refitted == pytest.approx(result.refitted, rel=0.02)
    assert result.refitted < result.coder_error
    assert result.gap == pytest.approx(result.amplitude_gap + result.support_gap)
    assert min(result.amplitude_gap, result.support_gap) >= 0


def test_the_gap_does_not_depend_on_units_norms_or_the_order_of_atoms(setting: tuple[Tensor, Dictionary]) -> None:
    x, (atoms, bias) = setting
    z = torch.relu((x - bias) @ atoms.T - 0.6)  # a one-layer coder
    result = amortisation_gap(x, z, Dictionary(atoms, bias))
    scales = torch.linspace(0.2, 5, 120, dtype=torch.float64)[:, None]
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    for other in (
        amortisation_gap(3 * x + 1, z, Dictionary(3 * atoms, 3 * bias + 1)),
        amortisation_gap(x, z / scales[:, 0], Dictionary(atoms * scales, bias)),
        amortisation_gap(x, z[:, order], Dictionary(atoms[order], bias)),
        amortisation_gap(x.flip(0), z.flip(0), Dictionary(atoms, bias)),
    ):
        for field in ("coder_error", "refitted", "pursuit", "lasso", "lasso_refitted", "l0"):
            assert getattr(other, field) == pytest.approx(getattr(result, field), rel=0.01), field
    assert result.gap > 0.1


def test_codes_that_are_never_zero_need_a_theta(setting: tuple[Tensor, Dictionary]) -> None:
    x, dictionary = setting
    z = torch.sigmoid((x - dictionary.bias) @ dictionary.atoms.T)
    with pytest.raises(ValueError, match="theta is 0, and all codes are above it"):
        amortisation_gap(x, z, dictionary)
    with pytest.raises(ValueError, match="theta is 1, and no code is above it"):
        amortisation_gap(x, z, dictionary, theta=1.0)
    result = amortisation_gap(x, z, dictionary, theta=0.9)
    assert result.theta == 0.9
    assert result.l0 == pytest.approx(float((z > 0.9).sum(dim=1).double().mean()))


@pytest.mark.parametrize("normaliser", [Standardise(), Whiten()])
def test_a_models_dictionary_is_read_off_its_decoder(normaliser: Standardise | Whiten) -> None:
    model = Iterative(n_code=20, weight=0.3, normaliser=normaliser).build((8, 8), seed=0)
    model.initialise_(SPLITS.train.x)
    local, data = dictionary_of(model), dictionary_of(model, data_space=True)
    z = model.encode(SPLITS.test.x)
    torch.testing.assert_close(z @ local.atoms + local.bias, model.decode(z), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        z @ data.atoms + data.bias, model.reconstruct(SPLITS.test.x).flatten(1), rtol=1e-4, atol=1e-4
    )


def test_the_encoder_of_a_model_has_a_gap_and_its_solver_only_that_of_shrunken_amplitudes() -> None:
    model = Iterative(n_code=100, weight=0.5, normaliser=Standardise()).build((8, 8), seed=0)
    model.initialise_(SPLITS.train.x)
    with torch.no_grad():
        model.decoder.get_parameter("atoms").copy_(random_rows(TRAIN.float(), 100, 0))
    result = model_gaps(model, SPLITS.test.x[:60])
    solver, encoder = result["encode"], result["amortised"]
    assert solver.lasso == pytest.approx(solver.coder_error, rel=0.02)
    assert solver.lasso_weight == pytest.approx(0.5, rel=0.1)
    assert solver.amplitude_gap > solver.support_gap >= 0
    assert encoder.gap > 3 * solver.gap
    assert model_gaps(model, SPLITS.test.x[:60], coders=["encode"]) == {"encode": solver}


def test_a_decoder_that_is_not_linear_has_no_dictionary() -> None:
    model = Iterative(n_code=20, weight=0.3, decoder=OneHidden(n_hidden=30)).build((8, 8), seed=0)
    with pytest.raises(ValueError, match="decoder is not linear, so it has no dictionary"):
        dictionary_of(model)
