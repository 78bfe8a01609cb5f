"""Forgetting of earlier tasks in continual learning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsecode.specs import Spec

__all__ = ["ForgettingScores", "forgetting"]


class ForgettingScores(Spec, tag="forgetting"):
    """Accuracy on each task after each: `matrix[t][s]`, s up to all tasks, over all classes' logits (one head for all).

    `accuracy` is the mean over tasks at the end; `forgetting` the mean, over all tasks but the last, of the drop in
    accuracy from its highest value. Source: Chaudhry et al., "Riemannian walk for incremental learning", ECCV 2018.
    """

    tasks: tuple[tuple[int, ...], ...]
    matrix: tuple[tuple[float, ...], ...]
    accuracy: float
    forgetting: float


def forgetting(classes_after: Sequence[Sequence[float]], tasks: tuple[tuple[int, ...], ...]) -> ForgettingScores:
    """From the accuracy of each class after each task; classes of a task count alike."""
    after = np.array([[np.mean([accuracy[c] for c in task]) for task in tasks] for accuracy in classes_after])
    best = after.max(axis=0)
    lost = float((best - after[-1])[:-1].mean()) if len(tasks) > 1 else 0.0
    return ForgettingScores(tasks, tuple(tuple(float(v) for v in row) for row in after), float(after[-1].mean()), lost)
