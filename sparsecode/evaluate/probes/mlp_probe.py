"""Low-label classification by a perceptron with one hidden layer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from sparsecode.evaluate.probes.probe import Probe, ProbeFeatures, ProbeTask, Track, Trial, judged, scaled, untracked

__all__ = ["mlp_trials"]

HIDDEN = 100
DECAYS = (1.0, 0.1, 0.001)  # of the weights, from strong to weak
EPOCHS = 200


def mlp_trials(
    features: ProbeFeatures, unlabelled: Tensor, task: ProbeTask, spec: Probe, track: Track = untracked
) -> Iterator[Trial]:
    """Two layers, 100 ReLU units between them, on each subset; scaling and choice of the weight decay as in `linear_trials`.

    scikit-learn's classifier: Adam, at most 200 epochs in batches of at most 200, initial weights by the subset's seed.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    train, valid, test = (np.asarray(part) for part in scaled(features, unlabelled, spec.standardise))
    # the default initial weights of MLPClassifier suit features of standard deviation 1: rescale from unit mean norm
    train, valid, test = (part * np.sqrt(train.shape[1]) for part in (train, valid, test))
    labels = np.asarray(task.train)
    for (k, seed), rows in track(list(task.subsets.items()), "classifiers of two layers"):
        best = Trial(k, -1.0, 0.0)
        for decay in DECAYS:
            classifier = MLPClassifier((HIDDEN,), alpha=decay, max_iter=EPOCHS, random_state=seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # the end of the epochs is one
                classifier.fit(train[np.asarray(rows)], labels[np.asarray(rows)])
            accuracy, _ = judged(classifier.predict(valid), task.valid)
            if accuracy > best.valid:
                best = Trial(k, accuracy, *judged(classifier.predict(test), task.test))
        yield best
