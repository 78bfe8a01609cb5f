"""Low-label classification: which samples are labelled, what is chosen by what, and what the references are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from sparsecode.data import Digits, Splits
from sparsecode.data.splits import Split
from sparsecode.evaluate.probes.lista_probe import lista_trials
from sparsecode.evaluate.probes.probe import (
    Probe,
    ProbeFeatures,
    ProbeTask,
    Trial,
    linear_trials,
    pca,
    probe_features,
    summary,
)


@pytest.fixture(scope="module")
def digits() -> Splits:
    return Digits().load()


def flat(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1)


def test_subsets_are_balanced_nested_and_differ_by_seed(digits: Splits) -> None:
    how = Probe(labels_per_class=(1, 3, 10), seeds=3)
    task = ProbeTask.of(digits, how)
    assert digits.train.label is not None
    for (k, seed), positions in task.subsets.items():
        rows = task.rows[positions]
        assert torch.equal(task.train[positions], digits.train.label[rows])
        assert torch.bincount(digits.train.label[rows], minlength=10).tolist() == [k] * 10
        larger = task.rows[task.subsets[10, seed]]
        assert set(rows.tolist()) <= set(larger.tolist())
    chosen = [frozenset(task.subsets[10, seed].tolist()) for seed in range(3)]
    assert len(set(chosen)) == 3
    assert len(task.rows) == len(frozenset[int]().union(*chosen))
    again = ProbeTask.of(digits, how)
    assert all(torch.equal(task.subsets[key], again.subsets[key]) for key in task.subsets)


def test_only_what_is_needed_is_encoded(digits: Splits) -> None:
    task = ProbeTask.of(digits, Probe(labels_per_class=(2,), seeds=2))
    seen = 0

    def counting(x: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += len(x)
        return flat(x)

    features, unlabelled = probe_features(counting, digits, task)
    assert seen == len(task.rows) + digits.valid.n + digits.test.n + len(unlabelled)
    assert len(task.rows) <= 40
    assert torch.equal(features.train, flat(digits.train.x[task.rows]))


@pytest.mark.parametrize("standardise", [False, True])
def test_accuracy_is_that_of_scikit_learn_at_the_strength_of_best_validation(digits: Splits, standardise: bool) -> None:
    how = Probe(labels_per_class=(5,), seeds=1, standardise=standardise, strengths=(0.01, 1.0, 100.0))
    task = ProbeTask.of(digits, how)
    features, pool = probe_features(flat, digits, task)
    (trial,) = linear_trials(features, pool, task, how)

    shift = np.asarray(pool.mean(dim=0)) if standardise else 0.0
    scale = (
        np.asarray(pool.std(dim=0)) * math.sqrt(64) if standardise else float(pool.norm(dim=1).square().mean().sqrt())
    )
    scale = np.where(scale > 0, scale, 1.0)
    train, valid, test = ((np.asarray(part) - shift) / scale for part in features)
    rows = task.subsets[5, 0]
    scored: list[tuple[float, float]] = []
    for strength in how.strengths:
        fit = LogisticRegression(C=strength, max_iter=5000).fit(train[rows], np.asarray(task.train[rows]))
        scored.append((float(fit.score(valid, task.valid)), float(fit.score(test, task.test))))
    best = max(range(3), key=lambda i: (scored[i][0], -i))
    assert (trial.valid, trial.test) == pytest.approx(scored[best], abs=0.012)  # two samples: solvers stop early
    assert trial.test > 0.6


def test_labels_of_the_test_split_decide_nothing(digits: Splits) -> None:
    how = Probe(labels_per_class=(2,), seeds=2)
    task = ProbeTask.of(digits, how)
    features, pool = probe_features(flat, digits, task)
    wrong = task._replace(test=(task.test + 1) % 10)
    honest, misled = (list(linear_trials(features, pool, t, how)) for t in (task, wrong))
    assert [t.valid for t in honest] == [t.valid for t in misled]
    assert all(a.test > 0.4 > b.test for a, b in zip(honest, misled, strict=True))


def test_two_classes_work(digits: Splits) -> None:
    def only(split: Split) -> Split:
        assert split.label is not None
        return split.take(torch.nonzero((split.label == 3) | (split.label == 8)).flatten())

    pair = digits._replace(train=only(digits.train), valid=only(digits.valid), test=only(digits.test))
    how = Probe(labels_per_class=(20,), seeds=1)
    task = ProbeTask.of(pair, how)
    features, pool = probe_features(flat, pair, task)
    (trial,) = linear_trials(features, pool, task, how)
    assert trial.test > 0.85


def test_principal_components_are_those_of_scikit_learn(digits: Splits) -> None:
    task = ProbeTask.of(digits, Probe(labels_per_class=(1,), seeds=1))
    x = flat(digits.train.x[task.unlabelled]).numpy()
    expected = PCA(5, svd_solver="full").fit(x).transform(flat(digits.test.x).numpy())
    result = np.asarray(pca(flat, digits, task, 5)(digits.test.x))
    np.testing.assert_allclose(np.abs(result), np.abs(expected), atol=1e-3)
    assert pca(flat, digits, task, 1000)(digits.test.x).shape == (digits.test.n, 64)


def test_lista_classifier_learns_and_keeps_its_best_weights(digits: Splits, global_rng_untouched: None) -> None:
    how = Probe(labels_per_class=(10,), seeds=1)
    task = ProbeTask.of(digits, how)
    pixels = ProbeFeatures(*((p - 0.3) / 0.38 for p in probe_features(flat, digits, task)[0]))
    first, again = (next(lista_trials(pixels, 16, task)) for _ in range(2))
    assert first == again
    assert first.labels_per_class == 10
    assert first.test > 0.75
    assert first.valid > 0.75


def test_summary_is_mean_and_sample_deviation() -> None:
    trials = [Trial(1, 0.5, 0.2), Trial(5, 0.9, 0.8), Trial(1, 0.5, 0.4)]
    one, five = summary("pixels", 64, trials)
    assert (one.labels_per_class, one.mean, one.test) == (1, pytest.approx(0.3), (0.2, 0.4))
    assert one.sd == pytest.approx(0.2 / math.sqrt(2))
    assert (five.mean, five.sd) == (0.8, 0.0)


def without_labels(s: Splits) -> Splits:
    return s._replace(train=Split(s.train.x))


def of_one_class(s: Splits) -> Splits:
    assert s.train.label is not None
    return s._replace(train=s.train.take(torch.nonzero(s.train.label == 4).flatten()))


@pytest.mark.parametrize(
    ("change", "labels", "message"),
    [
        (without_labels, 1, "the data have no class labels"),
        (of_one_class, 1, "all training samples are of class 4"),
        (lambda s: s, 500, r"labels_per_class is 500, and class \d has 1\d\d training samples"),
    ],
)
def test_what_cannot_be_probed_is_named(
    digits: Splits, change: Callable[[Splits], Splits], labels: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ProbeTask.of(change(digits), Probe(labels_per_class=(labels,)))


@pytest.mark.parametrize(
    "wrong", [{"labels_per_class": ()}, {"labels_per_class": (0,)}, {"seeds": 0}, {"strengths": (0.0,)}]
)
def test_settings_check_their_ranges(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Probe(**wrong)
