"""k-sparse probing: the accuracy with which k codes alone separate a class from all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.specs import Count, Positive, Spec

__all__ = ["ClassProbe", "KSparse", "KSparseSettings", "class_differences", "k_sparse_probe"]

Labels = NDArray[np.int64]

CONSTANT = 1e-10  # relative standard deviation below which numbers are one number, rounded


class KSparseSettings(Spec, tag="k_sparse_settings"):
    """How many codes a probe may use, and how it is fitted."""

    ks: Annotated[tuple[Count, ...], Meta(min_length=1, description="numbers of codes")] = (1, 2, 5, 10, 20, 50)
    strength: Annotated[
        Positive, Meta(description="weight of the loss beside 1/2 |w|^2, on features of standard deviation 1")
    ] = 1.0
    codes: Annotated[bool, Meta(description="also a probe on all codes, which is slow for many")] = False


class ClassProbe(Spec, tag="class_probe"):
    """Probes of one class against all others: `codes`, the best ones in order; the `accuracy` with each number `ks` of codes, and of probes
    on all activations and on all codes (None if there was none)."""

    label: int
    n_train: int
    n_test: int
    codes: tuple[int, ...]
    accuracy: tuple[float, ...]
    activations: float | None
    all_codes: float | None


class KSparse(Spec, tag="k_sparse"):
    """`ClassProbe` of each class, and means over the classes: `accuracy` with `ks` codes each, on `activations` and on `all_codes`."""

    settings: KSparseSettings
    classes: tuple[ClassProbe, ...]
    ks: tuple[int, ...]
    accuracy: tuple[float, ...]
    activations: float | None
    all_codes: float | None


def class_differences(codes: Any, is_class: NDArray[np.bool_]) -> NDArray[np.float64]:
    """mean of z where `is_class` [n] less the mean elsewhere [n_code], of codes [n, n_code], dense or a SciPy sparse array."""
    inside, outside = is_class / max(is_class.sum(), 1), ~is_class / max((~is_class).sum(), 1)
    return np.asarray(codes.T @ (inside - outside), dtype=np.float64).reshape(-1)


def k_sparse_probe(
    train: Any,
    train_label: Labels,
    test: Any,
    test_label: Labels,
    settings: KSparseSettings | None = None,
    *,
    activations: tuple[NDArray[Any], NDArray[Any]] | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> KSparse:
    """For each class a logistic regression on the k codes that separate it best from all others, for several k.

    The codes are those with the largest |mean of z in the class - mean of z elsewhere| on the training rows, ties by number. The probe
    minimises 1/2 |w|^2 + strength sum_i c_i log(1 + exp(-y_i (w . z_i / s + b))), with s the standard deviations of the codes on training rows
    and c_i such that the class and the rest have equal weight. Its accuracy is the mean of the two recalls on the test rows, 0.5 by chance, the accuracy on
    equally many rows of both. `train` and `test` [n, n_code] are dense or SciPy sparse; `activations`, the rows that were coded of both, give a
    dense probe beside. Classes with less than two training rows or no test row are left out.

    Source: Gurnee et al., "Finding neurons in a haystack", TMLR 2023; as a measure of autoencoders Karvonen et al., "SAEBench", ICML 2025.
    Raises ValueError for labels that do not fit the rows and fewer than two classes.

    >>> import numpy as np
    >>> label = np.arange(100) % 2
    >>> z = np.stack([np.where(label == 1, 1.0, 0.0), np.arange(100) / 100], axis=1)
    >>> result = k_sparse_probe(z[:60], label[:60], z[60:], label[60:], KSparseSettings(ks=(1,)))
    >>> result.ks, result.accuracy, result.classes[1].codes
    ((1,), (1.0,), (0,))
    """
    settings = settings or KSparseSettings()
    _check("train", train, train_label)
    _check("test", test, test_label)
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"test has {test.shape[1]} codes and train {train.shape[1]}; expected the same")
    classes = [int(c) for c in np.unique(train_label) if (train_label == c).sum() > 1 and (test_label == c).any()]
    if len(np.unique(train_label)) < 2 or not classes:
        raise ValueError("labels: expected at least two classes among the training rows, and test rows of them")
    columns = [part.tocsc() if hasattr(part, "tocsc") else part for part in (train, test)]
    results: list[ClassProbe] = []
    for number, label in enumerate(classes):
        results.append(_of_class(label, columns, (train_label == label, test_label == label), settings, activations))
        report(number + 1)
    means = np.mean([each.accuracy for each in results], axis=0)
    return KSparse(
        settings=settings,
        classes=tuple(results),
        ks=tuple(_ks(settings, train.shape[1])),
        accuracy=tuple(means.tolist()),
        activations=_mean([each.activations for each in results]),
        all_codes=_mean([each.all_codes for each in results]),
    )


def _of_class(
    label: int,
    columns: Sequence[Any],
    is_class: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    settings: KSparseSettings,
    activations: tuple[NDArray[Any], NDArray[Any]] | None,
) -> ClassProbe:
    n_code = columns[0].shape[1]
    ks = _ks(settings, n_code)
    difference = np.abs(class_differences(columns[0], is_class[0]))
    best = np.lexsort((np.arange(n_code), -difference))[: ks[-1]]
    train, test = (_dense(part[:, best]) for part in columns)
    strength = settings.strength
    return ClassProbe(
        label=label,
        n_train=int(is_class[0].sum()),
        n_test=int(is_class[1].sum()),
        codes=tuple(best.tolist()),
        accuracy=tuple(probe_accuracy(train[:, :k], is_class[0], test[:, :k], is_class[1], strength) for k in ks),
        activations=None
        if activations is None
        else probe_accuracy(activations[0], is_class[0], activations[1], is_class[1], strength),
        all_codes=probe_accuracy(_dense(columns[0]), is_class[0], _dense(columns[1]), is_class[1], strength)
        if settings.codes
        else None,
    )


def _ks(settings: KSparseSettings, n_code: int) -> list[int]:
    return sorted({min(k, n_code) for k in settings.ks})


def fitted_probe(x: NDArray[Any], is_class: NDArray[np.bool_], strength: float) -> tuple[NDArray[np.float64], float]:
    """Weights [d], in units of x, and bias of the probe of `k_sparse_probe`."""
    from sklearn.linear_model import LogisticRegression

    deviation = x.std(axis=0, dtype=np.float64)
    varies = deviation > CONSTANT * np.abs(x).max(axis=0)  # what rounding leaves of a constant would become a direction
    scale = np.where(varies, deviation, 1.0)
    shift = x.mean(axis=0, dtype=np.float64)
    classifier = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    classifier.fit((x - shift) / scale, is_class)
    weight = np.asarray(classifier.coef_).reshape(-1) / scale
    return weight, float(np.asarray(classifier.intercept_).reshape(-1)[0] - weight @ shift)


def probe_accuracy(
    x: NDArray[Any],
    is_class: NDArray[np.bool_],
    test: NDArray[Any],
    test_is_class: NDArray[np.bool_],
    strength: float,
) -> float:
    """The mean recall of a class and of all others on test rows."""
    weight, bias = fitted_probe(x, is_class, strength)
    predicted = np.asarray(test @ weight + bias > 0)
    groups = [(test_is_class, True), (~test_is_class, False)]
    recalls = [float(np.mean(predicted[rows] == truth)) for rows, truth in groups if rows.any()]
    return float(np.mean(recalls))


def _dense(part: Any) -> NDArray[np.float64]:
    return np.asarray(part.toarray() if hasattr(part, "toarray") else part, dtype=np.float64)


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None


def _check(name: str, codes: Any, label: Labels) -> None:
    if len(codes.shape) != 2 or label.shape != codes.shape[:1]:
        raise ValueError(
            f"{name} has shape {tuple(codes.shape)} and labels {label.shape}; expected [n, n_code] and [n]"
        )
