"""Codes at 50 alphas: `sparse_path` beside 50 calls of `sparse_encode`, in seconds of processor time.

    python benchmarks/path.py

Rows are turns, interleaved; writes results/path.json.
"""

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

from sparsecode import alpha_max, learn_dictionary, sparse_encode, sparse_path
from sparsecode.data import Photos

REPEATS = 3
TOL = 1e-4
Array = NDArray[Any]


def problems() -> dict[str, tuple[Array, Array]]:
    """Codes that made the samples, and patches of photographs with a learned dictionary."""
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(512, 64)).astype(np.float32) / 8
    made = (rng.random((500, 512)) < 0.01) * rng.normal(size=(500, 512))
    x = (made @ atoms + 0.05 * rng.normal(size=(500, 64))).astype(np.float32)
    patches = Photos(n_train=2000).load().train.x.flatten(1).numpy()
    patches = patches - patches.mean(axis=1, keepdims=True)
    learned = learn_dictionary(patches, n_code=256, alpha=0.2, epochs=1).atoms
    return {"made by sparse codes, 512 atoms": (x, atoms), "patches, 256 atoms": (patches[:200], learned)}


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time, of all threads, and the result."""
    began = time.process_time()
    result = run()
    return time.process_time() - began, result


def compare(x: Array, d: Array, repeats: int = REPEATS) -> tuple[list[float], list[float], float]:
    """Seconds of separate calls and of the path, in turn, and how far apart their objectives are, over half of the square."""
    alphas = alpha_max(x, d).max() * np.geomspace(1, 1e-3, 50)

    def separate() -> Array:
        actual = [sparse_encode(x, d, float(a), tol=TOL, return_solution=True).objective for a in alphas]
        return np.stack([each.mean(dtype=np.float64) for each in actual])

    turns = [(timed(separate), timed(lambda: sparse_path(x, d, tol=TOL).objective)) for _ in range(repeats)]
    apart = float(np.abs(turns[0][0][1] - turns[0][1][1]).max() / (np.square(x).sum(axis=1).mean() / 2))
    return [turn[0][0] for turn in turns], [turn[1][0] for turn in turns], apart


def short() -> dict[str, float]:
    """Ratios, in float32."""
    warnings.simplefilter("ignore")
    sparse_encode(np.eye(2, dtype=np.float32), np.eye(2), 0.5)
    result: dict[str, float] = {}
    for name, (x, d) in problems().items():
        one, all_, _ = compare(x, d, repeats=2)
        result[f"{name}, float32: separate calls"] = min(one) / min(all_)
    return result


def main() -> None:
    """Time both on each problem, in both precisions."""
    for kind in (np.float32, np.float64):
        sparse_encode(np.eye(2, dtype=kind), np.eye(2), 0.5)  # compiles
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: list[list[str]] = []
    results: dict[str, dict[str, Any]] = {}
    for name, (x32, d32) in problems().items():
        for dtype in (np.float32, np.float64):
            x, d = x32.astype(dtype), d32.astype(dtype)
            one, all_, apart = compare(x, d)
            ratio = statistics.median(b / a for a, b in zip(one, all_, strict=True))
            label = f"{name}, {np.dtype(dtype).name}"
            results[label] = {
                "separate_seconds": one,
                "path_seconds": all_,
                "ratio": ratio,
                "objectives_apart_over_half_square": apart,
            }
            rows.append(
                [
                    label,
                    f"{statistics.median(one):.2f}",
                    f"{statistics.median(all_):.2f}",
                    f"{ratio:.2f}",
                    f"{apart:.0e}",
                ]
            )
    columns = ("problem", "50 calls, s", "sparse_path, s", "ratio", "objectives differ")
    show(f"50 alphas from alpha_max to 0.001 of it, tol {TOL:g}, one thread, processor time", columns, rows)
    save("path", {"tol": TOL, "n_alphas": 50, "results": results}, ("numba",))


if __name__ == "__main__":
    main()
