"""Disentanglement: four scores of codes against known factors of variation, each 1 at best.

Codes are real numbers [n, n_code], factors whole numbers from 0 [n, n_factors]. A code that does not vary says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.data.splits import Factor
from sparsecode.specs import Spec

__all__ = [
    "DCI",
    "Disentanglement",
    "dci",
    "disentanglement",
    "factor_vae_score",
    "mutual_information_gap",
    "sap_score",
]

CodeArray = NDArray[np.float64]
Values = NDArray[np.int64]

BINS = 20
TREES, LEAF, TRAINED = 30, 5, 0.7
VOTES, DRAWN = 800, 64
LEAST_SPREAD = 1e-3  # standard deviation, relative to the largest, below which a code is taken for constant


class DCI(Spec, tag="dci"):
    """`disentanglement`: each code matters to one factor; `completeness`: each factor needs one code; `informativeness`:
    share of held-out samples whose factor is predicted correctly from the codes, mean over factors.
    """

    disentanglement: float
    completeness: float
    informativeness: float


class Disentanglement(Spec, tag="disentanglement"):
    """Scores of n samples. `informativeness`, by factor, is the share of held-out samples whose value is predicted correctly; `gaps` the MIG of each."""

    n: int
    mig: float
    sap: float
    factor_vae: Annotated[float, Meta(description="by chance about 1 / number of factors")]
    dci: DCI
    gaps: dict[str, float]
    informativeness: dict[str, float]


def disentanglement(z: Tensor, factors: Tensor, names: Sequence[Factor], seed: int = 0) -> Disentanglement:
    """All four scores of codes z [n, n_code]. Raises ValueError unless there is a row of `factors` for each, two codes and two factors."""
    codes, values = np.asarray(z.double().cpu()), np.asarray(factors.cpu())
    if len(codes) != len(values) or values.shape[1] != len(names) or min(codes.shape[1], len(names)) < 2:
        raise ValueError(
            f"z {codes.shape} and factors {values.shape} with {len(names)} names; expected [n, n_code] and [n, n_factors] of the same n, "
            "at least two of each"
        )
    codes = _standardised(codes)
    result, informative = dci(codes, values, seed)
    gaps = mutual_information_gap(codes, values)
    labels = [factor.name for factor in names]
    return Disentanglement(
        n=len(codes),
        mig=float(gaps.mean()),
        sap=float(sap_score(codes, values, names).mean()),
        factor_vae=factor_vae_score(codes, values, seed),
        dci=result,
        gaps=dict(zip(labels, gaps.tolist(), strict=True)),
        informativeness=dict(zip(labels, informative.tolist(), strict=True)),
    )


def _standardised(codes: CodeArray) -> CodeArray:
    """Each code scaled to mean 0 and standard deviation 1; (nearly) constant codes are 0."""
    spread = codes.std(axis=0)
    varies = spread > LEAST_SPREAD * spread.max(initial=0.0)
    return np.where(varies, (codes - codes.mean(axis=0)) / np.where(varies, spread, 1.0), 0.0)


def mutual_information_gap(codes: CodeArray, values: Values) -> NDArray[np.float64]:
    """(I(z_a; v) - I(z_b; v)) / H(v) of each factor v [n_factors], a and b the codes that know most of it.

    I from a histogram of 20 bins of equal width for each code. Source: Chen, Li, Grosse & Duvenaud, NeurIPS 2018, eq. 6.
    """
    low, high = codes.min(axis=0), codes.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    binned = np.minimum(((codes - low) / width * BINS).astype(np.int64), BINS - 1)
    gaps = np.empty(values.shape[1])
    for k, value in enumerate(values.T):
        value_entropy = _entropy(np.bincount(value))
        shared = np.sort([_entropy(np.bincount(b)) + value_entropy - _entropy(_together(b, value)) for b in binned.T])
        gaps[k] = (shared[-1] - shared[-2]) / value_entropy if value_entropy > 0 else 0.0
    return gaps


def _together(a: Values, b: Values) -> Values:
    """The count of each pair of values."""
    return np.bincount(a * (int(b.max()) + 1) + b)


def _entropy(counts: NDArray[np.int64]) -> float:
    """In nats."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def dci(codes: CodeArray, values: Values, seed: int = 0) -> tuple[DCI, NDArray[np.float64]]:
    """Scores from a matrix R [n_code, n_factors] of the importance of each code to a random forest that predicts a factor; and its accuracies.

    With R's rows as shares P: D_j = 1 - H(P_j) / log n_factors, weighted by each row's part of the sum of R; with its columns as shares:
    C_k = 1 - H(P_k) / log n_code, their mean. Accuracies [n_factors] are of the 30 % of samples that trained no tree.
    Source: Eastwood & Williams, ICLR 2018, section 2.
    """
    from sklearn.ensemble import RandomForestClassifier

    rows = np.random.RandomState(seed).permutation(len(codes))
    train, test = np.split(rows, [int(TRAINED * len(rows))])
    matters, informative = np.zeros((codes.shape[1], values.shape[1])), np.zeros(values.shape[1])
    for k in range(values.shape[1]):
        # all codes are candidates at each split, or codes that know nothing would be given a part of it
        every: Any = 1.0  # typed as a word in scikit-learn
        forest = RandomForestClassifier(TREES, max_features=every, min_samples_leaf=LEAF, random_state=seed)
        forest.fit(codes[train], values[train, k])
        matters[:, k] = forest.feature_importances_
        informative[k] = float(forest.score(codes[test], values[test, k]))
    total = matters.sum()
    weight = matters.sum(axis=1) / total if total > 0 else np.zeros(len(matters))
    result = DCI(
        disentanglement=float(weight @ _concentration(matters)),
        completeness=float(_concentration(matters.T).mean()),
        informativeness=float(informative.mean()),
    )
    return result, informative


def _concentration(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - entropy / log(length) of each row as shares; 0 for a row of zeros."""
    total = rows.sum(axis=1, keepdims=True)
    p = rows / np.where(total > 0, total, 1.0)
    entropy = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)
    return np.where(total[:, 0] > 0, 1 - entropy / np.log(rows.shape[1]), 0.0)


def factor_vae_score(codes: CodeArray, values: Values, seed: int = 0) -> float:
    """Accuracy of a majority vote that predicts which factor was held fixed from the code that varies least.

    A vote: a factor and one of its values at random, 64 samples that have it, and the code of the least variance, relative to that over
    all samples. 800 votes fix for each code the factor it stands for, 800 others are predicted by it. Samples are drawn with
    replacement, since there is no generator behind them. 0 where no code varies.
    Source: Kim & Mnih, ICML 2018, section 4.
    """
    codes = codes[:, codes.std(axis=0) > 0]
    if not codes.shape[1]:
        return 0.0
    rng = np.random.RandomState(seed)
    rows_of = [[np.flatnonzero(column == v) for v in np.unique(column)] for column in values.T]
    votes = np.zeros((2, codes.shape[1], len(rows_of)), np.int64)
    for i in range(2 * VOTES):
        k = rng.randint(len(rows_of))
        rows = rows_of[k][rng.randint(len(rows_of[k]))]
        drawn = codes[rows[rng.randint(len(rows), size=DRAWN)]]
        votes[i % 2, drawn.var(axis=0).argmin(), k] += 1
    stands_for = votes[0].argmax(axis=1)
    return float(votes[1][np.arange(len(stands_for)), stands_for].sum()) / VOTES


def sap_score(codes: CodeArray, values: Values, names: Sequence[Factor]) -> NDArray[np.float64]:
    """For each factor [n_factors], the difference between the scores of the best and the second best single code.

    The score of a code for an ordered factor is the squared correlation, another one by the balanced accuracy of thresholds on the code
    (one less than there are values). Source: Kumar, Sattigeri & Balakrishnan, ICLR 2018, section 3.
    """
    scores = np.empty((codes.shape[1], values.shape[1]))
    for k, factor in enumerate(names):
        for j, code in enumerate(codes.T):
            scores[j, k] = _r2(code, values[:, k]) if factor.ordered else _thresholds(code, values[:, k])
    best = np.sort(scores, axis=0)
    return best[-1] - best[-2]


def _r2(code: NDArray[np.float64], value: Values) -> float:
    a, b = code - code.mean(), value - value.mean()
    spread = float((a @ a) * (b @ b))
    return float(a @ b) ** 2 / spread if spread > 0 else 0.0


def _thresholds(code: NDArray[np.float64], value: Values) -> float:
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=max(2, len(np.unique(value))), class_weight="balanced", random_state=0)
    return float(balanced_accuracy_score(value, tree.fit(code[:, None], value).predict(code[:, None])))
