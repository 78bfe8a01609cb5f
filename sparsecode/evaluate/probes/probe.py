"""Low-label classification: linear classifiers, trained with a few labels per class, on features learned without labels."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from sparsecode.choices import Classifier
from sparsecode.data.splits import Splits
from sparsecode.evaluate.base import CHUNK
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_gates, has_posterior
from sparsecode.ops.rng import generator
from sparsecode.specs import Count, Positive, Spec

__all__ = [
    "Classifier",
    "Probe",
    "ProbeFeatures",
    "ProbePoint",
    "ProbeReport",
    "ProbeResult",
    "ProbeTask",
    "Track",
    "Trial",
    "judged",
    "linear_trials",
    "pca",
    "probe_features",
    "representations",
    "scaled",
    "summary",
    "untracked",
]

Track = Callable[[Sequence[Any], str], Iterable[Any]]  # a progress bar: items and what is done with them
Map = Callable[[Tensor], Tensor]

UNLABELLED = 10_000  # training samples for the principal components
SCALED_BY = 2_000  # training samples for the scale of the features


def untracked(items: Sequence[Any], _what: str) -> Sequence[Any]:
    """No progress bar."""
    return items


class Probe(Spec, tag="probe"):
    """Settings of the low-label classification of features."""

    labels_per_class: Annotated[tuple[Count, ...], Meta(min_length=1, description="labelled samples per class")] = (
        1, 2, 5, 10, 20, 50, 100,
    )  # fmt: skip
    seeds: Annotated[int, Meta(ge=1, description="random subsets of labelled samples")] = 5
    all_labels: Annotated[bool, Meta(description="also with all training samples, once")] = False
    standardise: Annotated[
        bool, Meta(description="scale each feature to mean 0 and standard deviation 1; otherwise one scale for all")
    ] = False
    strengths: Annotated[
        tuple[Positive, ...], Meta(min_length=1, description="weights of the loss beside 1/2 |w|^2 to choose from")
    ] = tuple(10 ** (i / 2) for i in range(-4, 7))


class ProbeResult(Spec, tag="probe_result"):
    """Test accuracies with so many labels per class, one per subset seed, and the validation accuracies they were chosen by.

    `sd` is the sample standard deviation over the seeds, 0 for a single one. `least_recall`: of all classes and seeds the least
    share of test samples of a class that are recognised; None in reports of older versions. With all training samples
    `labels_per_class` is their mean number.
    """

    features: str
    n_features: int
    labels_per_class: int
    test: tuple[float, ...]
    valid: tuple[float, ...]
    mean: float
    sd: float
    classifier: Classifier = "linear"
    least_recall: float | None = None


class ProbePoint(Spec, tag="probe_point"):
    """Runs of a sweep that differ in nothing but seeds: accuracies of all their subsets at a value of what is swept."""

    line: str
    at: float
    labels_per_class: int
    values: tuple[float, ...]
    mean: float
    sd: float


class ProbeReport(Spec, tag="probe_report"):
    """What `probe.json` holds: folders of the runs by name, settings, results; of a sweep the `points` along `over`, too."""

    runs: dict[str, str]
    settings: Probe
    results: tuple[ProbeResult, ...]
    over: str = ""
    points: tuple[ProbePoint, ...] = ()


class Trial(NamedTuple):
    """One classifier: its number of labels per class, its accuracies at the best setting by validation, and the recall on
    test samples of the class that it knows least.
    """

    labels_per_class: int
    valid: float
    test: float
    least_recall: float | None = None


class ProbeTask(NamedTuple):
    """Which training samples are labelled.

    `rows`, sorted, are all those that any subset needs; `subsets` holds positions in `rows` by (labels per class, seed).
    Labels count from 0 to `n_classes` - 1. `unlabelled` are rows of the training set that stand for all of it.
    """

    rows: Tensor
    subsets: dict[tuple[int, int], Tensor]
    train: Tensor
    valid: Tensor
    test: Tensor
    n_classes: int
    unlabelled: Tensor

    @classmethod
    def of(cls, splits: Splits, spec: Probe) -> ProbeTask:
        """Balanced subsets, nested for each seed. Raises ValueError if labels are missing or a class has too few."""
        label, valid, test = splits.train.label, splits.valid.label, splits.test.label
        if label is None or valid is None or test is None:
            raise ValueError(
                "the data have no class labels; a probe needs a data source with labels, such as digits or mnist"
            )
        classes = label.unique()
        counts = {int(c): int((label == c).sum()) for c in classes}
        if len(counts) < 2:
            raise ValueError(
                f"all training samples are of class {next(iter(counts))}; a probe needs at least two classes"
            )
        rarest, most = min(counts, key=lambda c: counts[c]), max(spec.labels_per_class)
        if counts[rarest] < most:
            raise ValueError(
                f"labels_per_class is {most}, and class {rarest} has {counts[rarest]} training samples; ask for at most as many"
            )
        chosen: dict[tuple[int, int], Tensor] = {}
        for seed in range(spec.seeds):
            orders = [
                torch.nonzero(label == c).flatten()[
                    torch.randperm(counts[int(c)], generator=generator(seed, "probe", int(c)))
                ]
                for c in classes
            ]
            for k in spec.labels_per_class:
                chosen[k, seed] = torch.cat([order[:k] for order in orders])
        if spec.all_labels:
            chosen.setdefault((len(label) // len(classes), 0), torch.arange(len(label)))
        rows = torch.cat(list(chosen.values())).unique()
        pool = torch.randperm(len(label), generator=generator(0, "probe, unlabelled"))[:UNLABELLED]
        train, valid, test = (torch.searchsorted(classes, part.contiguous()) for part in (label[rows], valid, test))
        subsets = {key: torch.searchsorted(rows, result) for key, result in chosen.items()}
        return cls(rows, subsets, train, valid, test, len(classes), pool)


def representations(model: AbstractSparseModel) -> dict[str, Map]:
    """A model's coders; if its codes have gates, the mean of the slabs without them, too, as `mu`."""
    if not has_posterior(model) or not has_gates(model):
        return dict(model.coders())
    return {"mu": lambda x: model.posterior(x).mu, **model.coders()}


class ProbeFeatures(NamedTuple):
    """Features of the labelled training rows, of validation and of test [N, n_features]."""

    train: Tensor
    valid: Tensor
    test: Tensor


@torch.no_grad()
def probe_features(
    transform: Map, splits: Splits, task: ProbeTask, track: Track = untracked
) -> tuple[ProbeFeatures, Tensor]:
    """`transform` of the samples that the task needs, and of 2 000 unlabelled ones; no others are touched."""
    wanted = (
        splits.train.x[task.rows],
        splits.valid.x,
        splits.test.x,
        splits.train.x[task.unlabelled[:SCALED_BY]],
    )
    chunks = [(i, part) for i, x in enumerate(wanted) for part in x.split(CHUNK)]
    done: list[list[Tensor]] = [[] for _ in wanted]
    for i, part in track(chunks, "features"):
        done[i].append(transform(part).flatten(1).float())
    train, valid, test, unlabelled = (torch.cat(parts) for parts in done)
    return ProbeFeatures(train, valid, test), unlabelled


def scaled(features: ProbeFeatures, unlabelled: Tensor, standardise: bool) -> ProbeFeatures:
    """Scaling of the features by one number or feature by feature, from unlabelled samples alone."""
    if standardise:
        shift, scale = unlabelled.mean(dim=0), unlabelled.std(dim=0) * math.sqrt(unlabelled.shape[1])
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # a code that is never active says nothing
    else:
        shift = torch.zeros(unlabelled.shape[1])
        scale = unlabelled.square().sum(dim=1).mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)
    return ProbeFeatures(*((part - shift) / scale for part in features))


def linear_trials(
    features: ProbeFeatures, unlabelled: Tensor, task: ProbeTask, spec: Probe, track: Track = untracked
) -> Iterator[Trial]:
    """Multinomial logistic regression with an L2 penalty on each subset: 1/2 |w|^2 + strength * sum of log losses.

    The scale of the features comes from the unlabelled samples alone: one number, so that the mean squared norm is 1
    (the zeros of sparse codes stay), or, if `standardise`, a mean and a standard deviation per feature. The strength is the one
    of the best validation accuracy, the least of several; the test samples decide nothing.
    """
    from sklearn.linear_model import LogisticRegression

    train, valid, test = (np.asarray(part) for part in scaled(features, unlabelled, spec.standardise))
    labels = np.asarray(task.train)
    for (k, _), rows in track(list(task.subsets.items()), "linear classifiers"):
        x, y = train[np.asarray(rows)], labels[np.asarray(rows)]
        # From weak to strong, each fit starting where the last one ended.
        classifier = LogisticRegression(max_iter=5000, warm_start=True)
        best = Trial(k, -1.0, 0.0)
        for strength in sorted(spec.strengths):
            classifier.set_params(C=strength).fit(x, y)
            accuracy, _ = judged(classifier.predict(valid), task.valid)
            if accuracy > best.valid:
                best = Trial(k, accuracy, *judged(classifier.predict(test), task.test))
        yield best


def judged(predicted: Any, label: Tensor) -> tuple[float, float]:
    """Accuracy of predicted classes [n], and the recall of the class that is recognised least."""
    truth = np.asarray(label)
    right = np.asarray(predicted) == truth
    recall = np.bincount(truth, weights=right) / np.maximum(np.bincount(truth), 1)
    return float(right.mean()), float(recall[np.unique(truth)].min())


def pca(normalise: Map, splits: Splits, task: ProbeTask, n_components: int) -> Map:
    """The first principal components of normalised samples, fitted on unlabelled training samples (at most 10 000)."""
    from sklearn.decomposition import PCA

    x = np.asarray(normalise(splits.train.x[task.unlabelled]))
    fitted = PCA(min(n_components, *x.shape), svd_solver="covariance_eigh").fit(x)
    mean, axes = torch.as_tensor(fitted.mean_), torch.as_tensor(fitted.components_)
    return lambda samples: (normalise(samples) - mean) @ axes.T


def summary(
    name: str, n_features: int, trials: Iterable[Trial], classifier: Classifier = "linear"
) -> list[ProbeResult]:
    """Mean and standard deviation over the seeds, a result per number of labels."""
    grouped: dict[int, list[Trial]] = {}
    for trial in trials:
        grouped.setdefault(trial.labels_per_class, []).append(trial)
    return [
        ProbeResult(
            features=name,
            n_features=n_features,
            labels_per_class=k,
            test=tuple(t.test for t in result),
            valid=tuple(t.valid for t in result),
            mean=statistics.fmean(t.test for t in result),
            sd=statistics.stdev([t.test for t in result]) if len(result) > 1 else 0.0,
            classifier=classifier,
            least_recall=min((t.least_recall for t in result if t.least_recall is not None), default=None),
        )
        for k, result in grouped.items()
    ]
