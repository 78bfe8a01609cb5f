"""Estimators beside scikit-learn's: objective, seconds of processor time in one thread, and accuracy of a linear classifier on the codes.

`python benchmarks/estimators.py`, with SPARSECODE_DATA for the faces of Olivetti, halved. The autoencoder has twice as many codes. Samples are standardised per feature (NMF: brought to
[0, 1]); 70 % train, 30 % test, three seeds of split and estimator, medians of the seconds, means of all else. The objective is
1/2 |x - z D|^2 + alpha |z|_1, alpha = 1, mean over the training samples, of codes solved to 1e-6 in the atoms, each of norm 1.
"""

# scikit-learn is typed in part
# pyright: reportArgumentType=false

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import save, show
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import NMF, PCA, MiniBatchDictionaryLearning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from threadpoolctl import threadpool_limits

import sparsecode as sc

SEEDS = (0, 1, 2)
Array = NDArray[Any]


def estimators(n: int, seed: int) -> dict[str, Callable[[], Any]]:
    """By name: those of scikit-learn and ours, at their defaults, with n codes, and ours with fewer steps."""
    return {
        "MiniBatchDictionaryLearning": lambda: MiniBatchDictionaryLearning(n, random_state=seed),
        "SparseDictionary": lambda: sc.SparseDictionary(n, scaler="none", random_state=seed),
        "SparseDictionary, 100 steps": lambda: sc.SparseDictionary(
            n, scaler="none", random_state=seed, epochs=100, batch_size=10**6
        ),
        "SparseAutoencoder": lambda: sc.SparseAutoencoder(2 * n, random_state=seed),
        "NMF": lambda: NMF(n, random_state=seed),
        "PCA": lambda: PCA(n, random_state=seed),
    }


def fitted(make: Callable[[], Any], x: Array) -> tuple[Any, Array, float]:
    """The estimator, the codes of its samples, and seconds of processor time."""
    estimator = make()
    began = time.process_time()
    codes = estimator.fit_transform(x)
    return estimator, codes, time.process_time() - began


def short() -> dict[str, float]:
    """Ratios: a third of the digits' benchmark, and of the cells' all."""
    warnings.simplefilter("ignore")
    result: dict[str, float] = {}
    peer, name = "MiniBatchDictionaryLearning", "SparseDictionary"
    sc.learn_dictionary(load_digits(return_X_y=True)[0], 8, 1.0, max_steps=2)
    for data, load, n, seeds in (("digits", load_digits, 64, (0,)), ("breast cancer", load_breast_cancer, 30, SEEDS)):
        x, y = load(return_X_y=True)
        seconds: dict[str, list[float]] = {peer: [], name: []}
        for seed in seeds:
            train = train_test_split(x, y, test_size=0.3, random_state=seed, stratify=y)[0]
            inputs = StandardScaler().fit_transform(train)
            for each in seconds:
                seconds[each].append(fitted(estimators(n, seed)[each], inputs)[2])
        middle = {each: statistics.median(times) for each, times in seconds.items()}
        result[f"{data}: {peer}"] = middle[peer] / middle[name]
    return result


def main() -> None:
    """Fit all, print a table for each data set, and save results/estimators.json."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    threadpool_limits(1)  # threads that wait at work would count as processor time
    faces = sc.data.Olivetti().load()
    parts = [faces.train, faces.valid, faces.test]
    images = np.concatenate([part.x.reshape(-1, 32, 2, 32, 2).mean((2, 4)).flatten(1).numpy() for part in parts])
    people = np.concatenate([np.asarray(part.label) for part in parts])
    sets = {
        "digits": (*load_digits(return_X_y=True), 64),
        "breast cancer": (*load_breast_cancer(return_X_y=True), 30),
        "Olivetti faces, 32 x 32": (images.astype(np.float64), people, 64),
    }
    sc.learn_dictionary(sets["digits"][0], 8, 1.0, max_steps=2)  # compilation is not what is compared
    rows: list[dict[str, Any]] = []
    for data, (x, y, n) in sets.items():
        results: dict[str, list[tuple[float | None, float, float]]] = {}
        for seed in SEEDS:
            train, test, labels, truth = train_test_split(x, y, test_size=0.3, random_state=seed, stratify=y)
            for name, make in estimators(n, seed).items():
                scaler = (MinMaxScaler(clip=True) if name == "NMF" else StandardScaler()).fit(train)
                inputs = scaler.transform(train)
                estimator, codes, seconds = fitted(make, inputs)
                classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(codes, labels)
                accuracy = classifier.score(estimator.transform(scaler.transform(test)), truth)
                results.setdefault(name, []).append((objective(inputs, estimator, name), seconds, accuracy))
        for name, values in results.items():
            objectives, times, accuracies = zip(*values, strict=True)
            rows.append(
                {
                    "data": data,
                    "estimator": name,
                    "objective": None if None in objectives else statistics.mean(objectives),
                    "seconds": statistics.median(times),
                    "accuracy": statistics.mean(accuracies),
                    "accuracy_deviation": statistics.stdev(accuracies),
                }
            )
        show(
            f"{data}, {n} codes",
            ("estimator", "objective", "seconds", "accuracy"),
            [
                (
                    r["estimator"],
                    "" if r["objective"] is None else f"{r['objective']:.3f}",
                    f"{r['seconds']:.2f}",
                    f"{r['accuracy']:.3f} ± {r['accuracy_deviation']:.3f}",
                )
                for r in rows
                if r["data"] == data
            ],
        )
    save("estimators", {"rows": rows}, ("scikit-learn",))


def objective(x: Array, estimator: Any, name: str) -> float | None:
    """The mean objective of codes in the atoms; None for estimators that minimise another."""
    if "Dictionary" not in name:
        return None
    atoms = np.asarray(estimator.components_)
    atoms = atoms / np.maximum(np.linalg.norm(atoms, axis=1, keepdims=True), 1e-12)
    return float(sc.sparse_encode(x, atoms, 1.0, tol=1e-6, return_solution=True).objective.mean())


if __name__ == "__main__":
    main()
