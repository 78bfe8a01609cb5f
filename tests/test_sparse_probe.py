"""k-sparse probing and feature absorption, on planted codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from sparsecode.cli import main
from sparsecode.cli.concepts import ConceptsReport
from sparsecode.evaluate import AbsorptionSettings, KSparseSettings, feature_absorption, k_sparse_probe
from sparsecode.evaluate.probes.sparse_probe import class_differences, fitted_probe
from sparsecode.specs import from_json

RNG = np.random.default_rng(0)


def planted(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Class 1 is one code, class 2 is one of two, class 0 is none of these; other codes are noise."""
    label = np.arange(n) % 3
    z = RNG.exponential(size=(n, 12)) * (RNG.random((n, 12)) < 0.1)
    z[:, [3, 4, 5]] = 0
    z[label == 1, 3] = 5
    two = np.flatnonzero(label == 2)
    z[two[::2], 4], z[two[1::2], 5] = 9, 9
    return z, label


def test_planted_codes_are_chosen_and_do_what_they_can() -> None:
    (z, label), (test, test_label) = planted(600), planted(300)
    settings = KSparseSettings(ks=(1, 2, 3))
    result = k_sparse_probe(z, label, test, test_label, settings)
    one, two = result.classes[1], result.classes[2]
    assert one.codes[0] == 3
    assert one.accuracy == (1.0, 1.0, 1.0)
    assert {*two.codes[:2]} == {4, 5}
    assert two.accuracy[0] == pytest.approx(0.75)  # half of the class, and all others
    assert two.accuracy[1] == 1.0
    assert result.accuracy[0] == pytest.approx(np.mean([c.accuracy[0] for c in result.classes]))
    sparse = k_sparse_probe(csr_array(z), label, csr_array(test), test_label, settings)
    assert sparse == result


def test_probes_beside_are_those_of_all_columns() -> None:
    (z, label), (test, test_label) = planted(300), planted(150)
    x, x_test = (part @ RNG.normal(size=(12, 6)) for part in (z, test))
    result = k_sparse_probe(z, label, test, test_label, KSparseSettings(ks=(12,), codes=True), activations=(x, x_test))
    assert result.all_codes == pytest.approx(result.accuracy[0])
    deviation, mean = x.std(axis=0), x.mean(axis=0)
    expected = []
    for c in range(3):
        classifier = LogisticRegression(class_weight="balanced", max_iter=2000)
        classifier.fit((x - mean) / deviation, label == c)
        right = classifier.predict((x_test - mean) / deviation) == (test_label == c)
        expected.append((right[test_label == c].mean() + right[test_label != c].mean()) / 2)
    assert result.activations == pytest.approx(np.mean(expected))
    assert np.allclose(class_differences(z, label == 1), z[label == 1].mean(axis=0) - z[label != 1].mean(axis=0))
    weight, bias = fitted_probe(x, label == 1, 1.0)
    assert ((x @ weight + bias > 0) == (label == 1)).mean() > 0.9


def absorbing(n: int, share: float, absorbs: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A parent along e0 in class 1, in `share` of it with a child along e1, whose code has the parent's direction if it absorbs."""
    label = (np.arange(n) % 2).astype(np.int64)
    child = (label == 1) & (RNG.permutation(n) < 2 * share * n)
    child &= np.cumsum(child) <= share * n / 2
    other = label == 0
    x = 0.01 * RNG.normal(size=(n, 6))
    x[label == 1, 0] += 1
    x[child, 1] += 1
    x[other, 2] += 1
    z = np.zeros((n, 4))
    z[(label == 1) & ~(child & absorbs), 0] = 1
    z[child, 1] = np.sqrt(2) if absorbs else 1
    z[other, 2] = 1
    return x, z, label


ATOMS = np.eye(6)[:4]
ABSORBING = ATOMS.copy()
ABSORBING[1] = [2**-0.5, 2**-0.5, 0, 0, 0, 0]


def test_planted_absorption_is_counted_exactly() -> None:
    train, test = absorbing(1000, 0.04, True), absorbing(500, 0.04, True)
    child = int((test[1][:, 1] > 0).sum())  # so few that their code is no part of the class's
    assert 0 < child <= 10
    for form in (lambda z: z, csr_array):
        parts = [(x, form(z), y) for x, z, y in (train, test)]
        result = feature_absorption(1, parts[0], parts[1], ABSORBING)
        assert result.main == (0,)
        assert (result.n, result.silent, result.absorbed) == (250, child, child)
        assert result.rate == pytest.approx(child / 250)
        assert result.fraction == pytest.approx(child / 250)
        assert result.absorbing == ((1, child),)
    frequent = feature_absorption(1, absorbing(1000, 0.3, True), absorbing(500, 0.3, True), ABSORBING)
    assert (frequent.main, frequent.absorbed) == ((0, 1), 0)  # one code for each part of the class
    strict = AbsorptionSettings(cosine=0.9)  # the child's atom has cosine about 0.7
    assert feature_absorption(1, train, test, ABSORBING, strict).absorbed == 0


# Codes 4 and 5 stand along e0, too, 6 across, and the cosine of 7 to e0 - e2 is 0.05.
PARTS = np.concatenate([ATOMS, ATOMS[:1], ATOMS[:1], np.eye(6)[3:4], [[0.05 * 2**0.5, 0, 0, 0, 0.995**0.5, 0]]])


@pytest.mark.parametrize(
    ("row", "absorbed", "fraction"),
    [
        ({1: 1.0, 4: 0.3, 5: 0.2}, 0, 1.0),  # two codes, none of them explains enough
        ({4: 0.5, 5: 0.2}, 1, 1.0),
        ({0: 0.25, 4: 0.5}, 0, 0.5 / 0.75),  # a main code that is weaker than it should be
        ({0: 0.5, 4: 0.8}, 0, 0.5),  # no more than the main code leaves
        ({0: 0.7, 4: 0.3}, 0, 0.0),  # less than 40 %
        ({0: 1.0, 4: 0.5}, 0, 0.0),  # nothing is left
        ({7: 0.5 / (0.05 * 2**0.5)}, 1, 0.0),  # a small cosine is enough for the one code that explains most
        ({6: 3.0}, 0, 0.0),  # silent, and nothing explains it
    ],
)
def test_shares_of_absorbing_codes_by_hand(row: dict[int, float], absorbed: int, fraction: float) -> None:
    """Activations are e0 in class 1 and e2 in class 0: the probe is along e0 - e2, the projection of a row e0 from the others' mean is sqrt(2), of e0 alone."""
    label = np.array([0, 1] * 20)
    x = np.where(label[:, None] == 1, [1.0, 0, 0, 0, 0, 0], [0.0, 0, 1, 0, 0, 0])
    z = np.zeros((40, 8))
    z[label == 1, 0], z[label == 0, 2] = 1, 1
    test = z[:2].copy()
    test[1] = 0
    for code, value in row.items():
        test[1, code] = 2 * value  # e0 . p is 1 / sqrt(2), so that 2 explains all of sqrt(2)
    result = feature_absorption(1, (x, z, label), (x[:2], test, label[:2]), PARTS)
    assert result.main == (0,)
    assert (result.n, result.absorbed) == (1, absorbed)
    assert result.fraction == pytest.approx(fraction)
    from_zero = AbsorptionSettings(origin="zero")  # the projection is 1 / sqrt(2): all explain twice as much
    at_zero = feature_absorption(1, (x, z, label), (x[:2], test / 2, label[:2]), PARTS, from_zero)
    assert (at_zero.absorbed, at_zero.fraction) == (result.absorbed, pytest.approx(fraction))


@pytest.mark.parametrize("constant", [0.1, -0.3])
def test_a_constant_activation_changes_nothing(constant: float) -> None:
    """Rounding of its mean would be a deviation, and the direction of the probe."""
    train, test = absorbing(1000, 0.04, True), absorbing(500, 0.04, True)
    wanted = feature_absorption(1, train, test, ABSORBING)
    assert wanted.absorbed > 0
    for x, *_ in (train, test):
        x[:, 5] = constant
    with_constant = feature_absorption(1, train, test, ABSORBING)
    assert with_constant.absorbed == wanted.absorbed
    assert with_constant.fraction == pytest.approx(wanted.fraction, rel=1e-3)
    assert abs(fitted_probe(train[0], train[2] == 1, 1.0)[0][5]) < 1e-6


def test_a_child_beside_its_parent_is_no_absorption() -> None:
    train, test = absorbing(1000, 0.04, False), absorbing(500, 0.04, False)
    result = feature_absorption(1, train, test, ATOMS)
    assert (result.main, result.silent, result.absorbed, result.rate, result.fraction) == ((0,), 0, 0, 0.0, 0.0)


def test_what_does_not_fit_is_refused() -> None:
    z, label = planted(30)
    with pytest.raises(ValueError, match=r"train has shape \(30, 12\) and labels \(29,\)"):
        k_sparse_probe(z, label[:-1], z, label)
    with pytest.raises(ValueError, match="test has 11 codes and train 12"):
        k_sparse_probe(z, label, z[:, :11], label)
    with pytest.raises(ValueError, match="at least two classes"):
        k_sparse_probe(z, 0 * label, z, label)
    with pytest.raises(ValueError, match="label is 7; train has 0 of 30 rows of it"):
        feature_absorption(7, (z, z, label), (z, z, label), np.eye(12))
    with pytest.raises(ValueError, match="with 11 atoms"):
        feature_absorption(1, (z, z, label), (z, z, label), np.eye(12)[:11])


def test_the_command_scores_classes_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "digits"
    assert main(["train", "digits-topk", "--out", str(run), "--train.epochs", "0.3", "--no-figures"]) == 0
    capsys.readouterr()
    words = ["concepts", str(run), "--ks", "1", "5", "--json", str(tmp_path / "concepts.json")]
    assert main(words) == 0
    report = from_json((tmp_path / "concepts.json").read_bytes(), ConceptsReport)
    probe = report.probes["digits"]
    assert len(probe.classes) == 10
    assert 0.5 < probe.accuracy[0] < probe.accuracy[1] <= 1
    assert probe.activations is not None
    assert probe.activations > 0.9
    assert len(report.absorption["digits"]) == 10
    text = " ".join(capsys.readouterr().out.split())
    assert f"{probe.accuracy[1]:.3f}" in text
    assert main(words) == 3  # the report is there
