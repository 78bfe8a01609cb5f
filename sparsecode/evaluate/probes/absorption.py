"""Feature absorption: where the code of a class is silent although the class is there, because other codes have taken its direction over."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.evaluate.probes.sparse_probe import class_differences, fitted_probe
from sparsecode.specs import Count, Positive, Spec

__all__ = ["Absorption", "AbsorptionSettings", "feature_absorption"]


class AbsorptionSettings(Spec, tag="absorption_settings"):
    """Limits of the definitions in `feature_absorption`."""

    most: Annotated[Count, Meta(description="main codes of a class")] = 10
    f1_gain: Annotated[float, Meta(ge=0, le=1, description="of one more main code")] = 0.03
    share: Annotated[float, Meta(ge=0, le=1, description="of the projection that absorbing codes have to explain")] = (
        0.4
    )
    cosine: Annotated[
        float, Meta(ge=-1, le=1, description="least cosine of probe and atom, of the code that absorbs a row")
    ] = 0.025
    part_cosine: Annotated[
        float, Meta(ge=-1, le=1, description="least cosine of probe and atom, of codes that absorb a part of a row")
    ] = 0.1
    parts: Annotated[Count, Meta(description="codes that may absorb parts of a row")] = 3
    origin: Annotated[
        Literal["others", "zero"], Meta(description="projections from the mean of rows of other classes, or from 0")
    ] = "others"
    strength: Annotated[Positive, Meta(description="of the probes, as of `k_sparse_probe`")] = 1.0


class Absorption(Spec, tag="absorption"):
    """Absorption of one class on test rows, as `feature_absorption` defines it.

    `main`: the codes of the class, and `f1` of a probe on them (training rows). `n`: test rows of the class that the dense probe recognises; of these
    `silent` have no main code active, and `absorbed` are explained by another code. `rate` = absorbed / n; `fraction`: the mean share of the projection that
    absorbing codes have. `absorbing`: the codes that explain absorbed rows, and in how many they do, the most frequent first.
    """

    label: int
    main: tuple[int, ...]
    f1: float
    n: int
    silent: int
    absorbed: int
    rate: float
    fraction: float
    absorbing: tuple[tuple[int, int], ...]


def feature_absorption(
    label: int,
    train: tuple[NDArray[Any], Any, NDArray[np.int64]],
    test: tuple[NDArray[Any], Any, NDArray[np.int64]],
    atoms: NDArray[Any],
    settings: AbsorptionSettings | None = None,
) -> Absorption:
    """Absorption of a class, from activations x [n, d], codes z [n, n_code] (dense or SciPy sparse) and labels [n] of training and test rows, and `atoms` [n_code, d].

    - p is the weight of a logistic regression of the class on x, divided by its norm. The *main codes* are the first of those with the largest mean in
      the class less the mean elsewhere: one, and a next one as long as the F1 of a logistic regression on them (training rows) grows by `f1_gain` (feature splitting is no absorption).
    - On a test row of the class that the dense probe recognises, code j explains c_j = z_j (d_j . p) of the projection P = (x - m) . p, with m the mean of the
      training rows of other classes. Rows with P <= 0 are never absorbed.
    - A row is *absorbed* if no main code is active and, of all codes, the one with the largest c_j has cos(d_j, p) >= `cosine` and c_j >= `share` P.
    - `fraction` is the mean over the recognised rows of A / (A + M). M is the sum of c_j over the main codes, A that of the `parts` largest c_j of other
      codes with cos(d_j, p) >= `part_cosine`, but at most P - M; 1 if M <= 0; 0 if M >= P or those codes explain less than `share` P.

    Source: Chanin et al., "A is for absorption", arXiv 2409.14507, without its ablations: by projections on the probe, with the limits of SAEBench
    (Karvonen et al., ICML 2025, `evals/absorption`). There, on the first letters of a vocabulary, projections are taken from 0 (`origin="zero"`) as atoms have norm 1, main codes come
    from a probe on all codes with an L1 penalty, and their F1 is that of test rows.
    Raises ValueError for shapes that do not fit, and a class without training and test rows.
    """
    settings = settings or AbsorptionSettings()
    (x, z, y), (x_test, z_test, y_test) = train, test
    for name, (rows, codes, labels) in (("train", train), ("test", test)):
        if not (len(rows) == codes.shape[0] == len(labels)) or codes.shape[1] != len(atoms):
            raise ValueError(
                f"{name} has {len(rows)} rows, codes of shape {tuple(codes.shape)} and {len(labels)} labels, with {len(atoms)} atoms; expected "
                "[n, d], [n, n_code], [n] and [n_code, d]"
            )
        if not (labels == label).any() or (labels == label).all():
            raise ValueError(
                f"label is {label}; {name} has {int((labels == label).sum())} of {len(labels)} rows of it; expected some, and others"
            )
    is_class, test_class = y == label, y_test == label
    probe, bias = fitted_probe(x, is_class, settings.strength)
    main, f1 = _main_codes(z, is_class, settings)
    rows = np.flatnonzero(test_class & (x_test @ probe + bias > 0))
    codes = np.asarray(z_test[rows].toarray() if hasattr(z_test, "toarray") else z_test[rows], dtype=np.float64)
    norm = max(float(np.linalg.norm(probe)), 1e-300)
    direction = atoms @ (probe / norm)
    cosines = direction / np.maximum(np.linalg.norm(atoms, axis=1), 1e-300)
    origin = x[~is_class].mean(axis=0, dtype=np.float64) if settings.origin == "others" else 0.0
    projection = (x_test[rows] - origin) @ (probe / norm)
    explained = codes * direction
    by_main = explained[:, list(main)].sum(axis=1)
    silent = (codes[:, list(main)] == 0).all(axis=1)
    needed = np.where(projection > 0, settings.share * projection, np.inf)

    first = explained.argmax(axis=1)
    largest = explained[np.arange(len(rows)), first]
    absorbed = silent & (largest > 0) & (largest >= needed) & (cosines[first] >= settings.cosine)

    candidates = cosines >= settings.part_cosine
    candidates[list(main)] = False
    parts = np.sort(np.where(candidates, np.maximum(explained, 0), 0), axis=1)[:, -settings.parts :].sum(axis=1)
    counted = (parts > 0) & (parts >= needed) & (by_main < projection)
    by_parts, rest = np.minimum(parts, projection - by_main), np.maximum(by_main, 0)
    fraction = np.where(counted, by_parts / np.where(counted, by_parts + rest, 1), 0)

    which, times = np.unique(first[absorbed], return_counts=True)
    order = np.lexsort((which, -times))
    return Absorption(
        label=label,
        main=main,
        f1=f1,
        n=len(rows),
        silent=int(silent.sum()),
        absorbed=int(absorbed.sum()),
        rate=float(absorbed.mean()) if len(rows) else 0.0,
        fraction=float(fraction.mean()) if len(rows) else 0.0,
        absorbing=tuple((int(which[i]), int(times[i])) for i in order),
    )


def _main_codes(z: Any, is_class: NDArray[np.bool_], settings: AbsorptionSettings) -> tuple[tuple[int, ...], float]:
    """The main codes, and the F1 of the probe on them."""
    difference = class_differences(z, is_class)
    best = np.lexsort((np.arange(len(difference)), -difference))[: settings.most]
    part = z.tocsc()[:, best].toarray() if hasattr(z, "tocsc") else z[:, best]
    rows = np.asarray(part, dtype=np.float64)
    chosen, f1 = 1, _f1(rows[:, :1], is_class, settings.strength)
    for k in range(2, len(best) + 1):
        more = _f1(rows[:, :k], is_class, settings.strength)
        if more < f1 + settings.f1_gain:
            break
        chosen, f1 = k, more
    return tuple(best[:chosen].tolist()), f1


def _f1(x: NDArray[Any], is_class: NDArray[np.bool_], strength: float) -> float:
    """Of the probe on its own training rows."""
    weight, bias = fitted_probe(x, is_class, strength)
    predicted = x @ weight + bias > 0
    return float(2 * (predicted & is_class).sum() / max(predicted.sum() + is_class.sum(), 1))
