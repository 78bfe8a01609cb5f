"""Anomalies: samples of classes that training has not seen, ranked by how badly a model explains each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import rows_together
from sparsecode.evaluate.metrics import mean_squared_error
from sparsecode.models.base import AbstractSparseModel
from sparsecode.records import Batch
from sparsecode.specs import Spec

__all__ = ["Anomalies", "Detection", "anomalies", "anomaly_scores", "reference_anomaly_scores", "roc"]

EXPLAINED = 0.9  # share of the variance that principal components hold
FEW = 0.05  # share of false alarms at which detections are counted


class Detection(Spec, tag="detection"):
    """How well a score tells anomalies from other samples.

    `auc`: the probability that an anomaly has the higher score, ties counted half; 0.5 is chance. `detected`: the share of anomalies above the
    threshold that 5 % of the other samples exceed.
    """

    auc: float
    detected: float


class Anomalies(Spec, tag="anomalies"):
    """Detection of `n_anomalous` samples of `classes` among `n_normal` others by several scores."""

    classes: tuple[int, ...]
    n_normal: int
    n_anomalous: int
    by: dict[str, Detection]


@torch.no_grad()
def anomaly_scores(model: AbstractSparseModel, split: Split) -> dict[str, NDArray[np.float64]]:
    """Per sample, `error`: the mean squared error of its reconstruction in data space, and `objective`: the model's objective of its codes.

    The objective is what `Score.objective` averages: of variational models the negative bound. High values are anomalous.
    Raises ValueError for models that do not reconstruct their samples.
    """
    if not model.reconstructs:
        raise ValueError("the model does not reconstruct its samples; choose one that is no classifier or transcoder")
    error: list[Tensor] = []
    objective: list[Tensor] = []
    for _, part in split.chunks(rows_together(model.n_code)):
        z = model.encode(part.x)
        error.append(mean_squared_error(part.x, model.output(part.x, z)))
        objective.append(model.objective(Batch(part.x, part.target, part.label), z))
    return {"error": _array(torch.cat(error)), "objective": _array(torch.cat(objective))}


def reference_anomaly_scores(train: Float[Tensor, "n *f"], x: Float[Tensor, "m *f"]) -> dict[str, NDArray[np.float64]]:
    """Scores without a model: the mean squared distance from the training mean, and from the subspace of as many principal
    components of training samples as hold 90 % of their variance."""
    rows, known = x.flatten(1).double(), train.flatten(1).double()
    mean = known.mean(dim=0)
    centred = rows - mean
    values, vectors = torch.linalg.eigh((known - mean).T @ (known - mean))
    share = values.flip(0).clamp(min=0).cumsum(0)
    count = 1 + int((share < EXPLAINED * share[-1]).sum())
    basis = vectors.flip(1)[:, :count]
    rest = centred - centred @ basis @ basis.T
    return {
        "distance from the training mean": _array(centred.square().mean(dim=1)),
        f"error of {count} principal components": _array(rest.square().mean(dim=1)),
    }


def roc(score: NDArray[np.float64], anomalous: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of false alarms and of detections, at every threshold."""
    from sklearn.metrics import roc_curve  # slow to import

    false, right, _ = roc_curve(anomalous, score)
    return np.asarray(false), np.asarray(right)


def anomalies(scores: Mapping[str, NDArray[np.float64]], label: NDArray[np.int64], classes: Sequence[int]) -> Anomalies:
    """`Anomalies` of samples with class labels [n]; those of `classes` are the anomalous ones.

    Raises ValueError if no sample, or every one, is of `classes`.
    """
    anomalous = np.isin(label, classes)
    n = int(anomalous.sum())
    if n in (0, len(label)):
        raise ValueError(
            f"{n} of {len(label)} samples are of class {', '.join(map(str, classes))}; expected some of these and some of other classes"
        )
    detections: dict[str, Detection] = {}
    for name, score in scores.items():
        false, right = roc(score, anomalous)
        detections[name] = Detection(float(np.trapezoid(right, false)), float(right[false <= FEW].max()))
    return Anomalies(tuple(classes), len(label) - n, n, detections)


def _array(x: Tensor) -> NDArray[np.float64]:
    return np.asarray(x.cpu(), np.float64)
