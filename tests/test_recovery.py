"""Synthetic samples are what their spec says; matched dictionaries and codes are scored as by hand; a model finds them."""

import math
from pathlib import Path

import msgspec
import pytest
import torch

from sparsecode.data import Synthetic
from sparsecode.data.synthetic import ExponentialAmplitude, Firing, KnowsTruth, Part, UniformAmplitude
from sparsecode.evaluate.dictionary.dictionary_recovery import SupportCounts, matching, recovery
from sparsecode.evaluate.dictionary.geometry import cosines, dictionary_of, nearest_cosines
from sparsecode.evaluate.dictionary.stability import stability, subspace_angles
from sparsecode.models.iterative import Inference, Iterative
from sparsecode.nn.online import OnlineDictionary
from sparsecode.penalties import L1
from sparsecode.runner import run
from sparsecode.runs import Evaluate, Run
from sparsecode.specs import from_json, to_json
from sparsecode.train.optim import Optim
from sparsecode.train.plan import Train

SOURCE = Synthetic(n_atoms=40, n_features=20, firing=Firing(active=3), n_train=6000, n_valid=300, n_test=5000)


def changed(**fields: object) -> Synthetic:
    return msgspec.structs.replace(SOURCE, **fields)


@pytest.mark.parametrize("part", ["train", "valid", "test"])
@pytest.mark.usefixtures("global_rng_untouched")
def test_samples_are_the_dictionary_times_the_codes(part: Part) -> None:
    source = from_json(to_json(SOURCE), Synthetic)
    x, truth = getattr(SOURCE.load(), part).x, source.truth(part)
    torch.testing.assert_close(x, truth.codes @ truth.atoms)
    torch.testing.assert_close(truth.atoms.norm(dim=1), torch.ones(40))
    assert isinstance(SOURCE, KnowsTruth)


def test_noise_is_added_to_the_same_codes() -> None:
    noisy = changed(noise=0.1)
    rest = noisy.load().train.x - SOURCE.load().train.x
    assert float(rest.std()) == pytest.approx(0.1, rel=0.01)
    assert torch.equal(noisy.truth("train").codes, SOURCE.truth("train").codes)


def test_seeds_and_splits_differ_and_a_longer_split_begins_with_the_shorter_one() -> None:
    x = SOURCE.load()
    assert not torch.equal(changed(seed=1).load().train.x, x.train.x)
    assert not torch.equal(x.train.x[:300], x.valid.x)
    assert torch.equal(changed(n_train=8192).load().train.x[:4096], x.train.x[:4096])


@pytest.mark.parametrize("zipf", [0.0, 0.8])
@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_atoms_fire_as_often_as_stated(zipf: float, correlation: float) -> None:
    firing = Firing(active=3, zipf=zipf, correlation=correlation, group=4)
    active = changed(firing=firing, n_test=20_000).truth("test").codes != 0
    rates = active.double().mean(dim=0)
    torch.testing.assert_close(rates, firing.rates(40), atol=0.012, rtol=0)
    assert float(active.sum(dim=1).double().mean()) == pytest.approx(3, abs=0.1)
    if zipf:
        assert float(rates[0] / rates[7]) == pytest.approx(8**zipf, rel=0.15)
    together = torch.corrcoef(active[:, :8].double().T)
    inside, across = float(together[0, 1:4].mean()), float(together[0, 4:].mean())
    assert abs(across) < 0.02
    assert (inside > 0.15) if correlation else (abs(inside) < 0.02)


def test_amplitudes_follow_their_distribution_and_sign() -> None:
    for amplitude, mean in ((UniformAmplitude(1.0, 2.0), 1.5), (ExponentialAmplitude(0.5, 2.0), 2.5)):
        z = changed(amplitude=amplitude).truth("test").codes
        assert float(z[z != 0].mean()) == pytest.approx(mean, rel=0.03)
        assert float(z[z != 0].min()) >= amplitude.low
        signed = changed(amplitude=amplitude, signed=True).truth("test").codes
        assert torch.equal(signed.abs(), z)
        assert float((signed[signed != 0] > 0).double().mean()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: changed(firing=Firing(active=20, zipf=2.0)), "the first of 40 atoms would be active on 12"),
        (lambda: UniformAmplitude(2.0, 1.0), "expected low <= high"),
        (lambda: Firing(active=0), "Firing.active"),
        (lambda: changed(n_atoms=0), "Synthetic.n_atoms"),
    ],
)
def test_impossible_sources_are_named(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # pyright: ignore[reportCallIssue] - a function


def test_matching_finds_a_permutation_whatever_the_norms_and_signs() -> None:
    atoms = SOURCE.atoms()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    scale = torch.linspace(-3, 5, 40)[:, None]
    pairs = matching(atoms, (atoms * scale)[order])
    assert torch.equal(order[pairs.second], pairs.first)
    torch.testing.assert_close(pairs.cosine, torch.ones(40, dtype=torch.float64))
    # of codes that may not be negative, an atom and its opposite are two
    assert float(matching(atoms, -atoms, signed=False).cosine.max()) < 0.9


def test_matching_is_the_best_in_sum_and_leaves_out_what_has_no_partner() -> None:
    first = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    second = torch.tensor([[0.0, 0.0], [1.0, 0.1], [1.0, 0.0]])
    pairs = matching(first, second)
    assert pairs.first.tolist() == [0, 1]
    assert pairs.second.tolist() == [2, 1]
    assert len(matching(second, first).first) == 2


def test_support_scores_by_hand() -> None:
    counts = SupportCounts(3)
    true = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)
    actual = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]], dtype=torch.bool)
    counts.update(true[:3], actual[:3])
    counts.update(true[3:], actual[3:])
    precision, recall, f1 = (share.tolist() for share in counts.result())
    assert precision == pytest.approx([2 / 3, 1 / 2, 0])
    assert recall == pytest.approx([2 / 3, 1, 0])
    assert f1 == pytest.approx([2 / 3, 2 / 3, 0])


def test_the_truth_recovers_itself_and_missing_atoms_count_as_nothing() -> None:
    truth = SOURCE.truth("valid")
    whole = recovery(matching(truth.atoms, truth.atoms), truth.codes, truth.codes)
    assert (whole.mcc, whole.found, whole.precision, whole.recall, whole.f1) == (pytest.approx(1), 1, 1, 1, 1)
    half = recovery(matching(truth.atoms, truth.atoms[:20]), truth.codes, truth.codes[:, :20])
    assert (half.mcc, half.found, half.recall, half.f1) == (pytest.approx(0.5), 0.5, 0.5, 0.5)
    none = recovery(matching(truth.atoms, truth.atoms), truth.codes, truth.codes, theta=9.0)
    assert (none.mcc, none.f1) == (pytest.approx(1), 0)


def test_cosines_by_hand() -> None:
    root = math.sqrt(0.5)
    atoms = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    nearest, pairs = nearest_cosines(atoms)
    assert nearest.tolist() == pytest.approx([root, root, 1, 1, 0], abs=1e-6)
    actual = cosines(atoms)
    assert (pairs, actual.pairs, actual.duplicates, actual.empty) == (1, 0.1, 2, 1)
    assert actual.mean == pytest.approx((2 * root + 2) / 5)
    assert actual.quantiles[2] == pytest.approx(root)
    with pytest.raises(ValueError, match="at least two atoms"):
        cosines(atoms[:1])


def test_cosines_do_not_depend_on_order_norms_or_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = SOURCE.atoms()
    before = cosines(atoms)
    monkeypatch.setattr("sparsecode.evaluate.dictionary.geometry.CHUNK", 7)
    other = cosines((atoms * torch.linspace(0.1, 9, 40)[:, None]).flip(0).double())
    assert other.quantiles == pytest.approx(before.quantiles, rel=1e-5)
    assert (other.mean, other.largest) == pytest.approx((before.mean, before.largest), rel=1e-5)


def test_a_dictionary_is_as_stable_as_it_is_turned() -> None:
    atoms = SOURCE.atoms()
    same, _ = stability(atoms, -2 * atoms.flip(0))
    assert (same.mcc, same.same, same.largest_angle) == (pytest.approx(1), 1, pytest.approx(0, abs=1e-3))
    other, pairs = stability(atoms, changed(seed=1).atoms(), ("a", "b"))
    assert (other.first, other.second, other.n_atoms) == ("a", "b", (40, 40))
    assert 0.3 < other.mcc < 0.8
    assert other.same < 0.1
    assert other.mcc == pytest.approx(float(pairs.cosine.mean()))


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 20.0, 45.0, 89.0, 90.0])
def test_subspace_angles_by_hand(degrees: float) -> None:
    turn = math.radians(degrees)
    first = torch.eye(4, dtype=torch.float64)[:2]
    second = torch.tensor([[0.0, 1, 0, 0], [math.cos(turn), 0, math.sin(turn), 0]], dtype=torch.float64)
    assert subspace_angles(first, second).tolist() == pytest.approx([0, degrees], abs=1e-9)


def test_a_model_finds_the_dictionary_and_its_codes(tmp_path: Path) -> None:
    source = changed(n_atoms=30, n_train=4000, n_test=500, noise=0.02)
    config = Run(
        data=source,
        model=Iterative(
            n_code=30,
            weight=0.1,
            encoder=None,
            decoder=OnlineDictionary(),
            penalty=L1(positive=True),
            inference=Inference(start="zero", tol=1e-2),
        ),
        optim=Optim(groups={}),
        train=Train(epochs=8, batch_size=100, select="last"),
        evaluate=Evaluate(sigmas=()),
    )
    model = run(config, tmp_path / "run", accelerator="cpu", figures=False).folder.best_model()
    truth = source.truth("test")
    learned = dictionary_of(model, data_space=True)
    pairs = matching(truth.atoms, learned.atoms, signed=False)
    actual = recovery(pairs, truth.codes, model.encode(source.load().test.x), theta=0.1)
    untrained = config.model.build((20,), 0)
    chance = matching(truth.atoms, dictionary_of(untrained).atoms, signed=False)
    assert float(chance.cosine.mean()) < 0.7
    assert actual.mcc > 0.95
    assert actual.found > 0.9
    assert actual.f1 > 0.8
