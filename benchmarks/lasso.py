"""Sparse codes of photograph patches: sparse_encode beside scikit-learn and a plain torch FISTA, in one run.

Each solver works to a relative suboptimality of 1e-6 or better in total objective; the optimum comes from float64
codes to a gap of 1e-10. Prints a table with medians and ratios, and saves it as JSON beside this file.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import sparse_encode as sklearn_sparse_encode

from sparsecode import sparse_encode
from sparsecode.data import Photos
from sparsecode.nn.normalisers import Whiten

Array = NDArray[np.float32]
N, N_CODE, ALPHA, REPEATS = 2000, 256, 0.5, 5


def problem() -> tuple[Array, Array]:
    """Whitened 12x12 patches, and as many unit-norm patches for atoms."""
    splits = Photos(n_train=20_000).load()
    whiten = Whiten(floor=0.1).build(144)
    whiten.initialise_(splits.train.x.flatten(1))
    x = whiten(splits.train.x.flatten(1)).numpy()
    lively = x[np.linalg.norm(x, axis=1) > 4]
    atoms = lively[:N_CODE] / np.linalg.norm(lively[:N_CODE], axis=1, keepdims=True)
    return np.ascontiguousarray(x[-N:]), atoms


def objective(x: Array, d: Array, z: NDArray[Any]) -> float:
    """Total energy in float64."""
    r = x.astype(np.float64) - z.astype(np.float64) @ d.astype(np.float64)
    return float((r**2).sum() / 2 + ALPHA * np.abs(z).sum())


def plain_fista(x: Array, d: Array, steps: int) -> Array:
    """What one writes in ten minutes: torch, fixed steps, the residual in data space."""
    xt, dt = torch.from_numpy(x), torch.from_numpy(d)
    eta = 1 / torch.linalg.matrix_norm(dt, 2) ** 2
    z = y = torch.zeros(len(x), len(d))
    t = 1.0
    for _ in range(steps):
        v = y - eta * (y @ dt - xt) @ dt.T
        new = v.sign() * (v.abs() - eta * ALPHA).clamp(min=0)
        t_new = (1 + (1 + 4 * t * t) ** 0.5) / 2
        y = new + (t - 1) / t_new * (new - z)
        z, t = new, t_new
    return z.numpy()


def main() -> None:
    """Time the solvers in turn and print the table."""
    x, d = problem()
    exact = sparse_encode(x.astype(np.float64), d, ALPHA, tol=1e-10, max_steps=100_000)
    best = objective(x, d, exact)

    def accurate(make: Callable[[float], Callable[[], Array]], grid: list[float]) -> Callable[[], Array]:
        return next(run for run in map(make, grid) if objective(x, d, run()) / best - 1 <= 1e-6)

    solvers = {
        "sparse_encode": accurate(
            lambda tol: lambda: sparse_encode(x, d, ALPHA, tol=tol), [1e-2, 3e-3, 1e-3, 3e-4, 1e-4]
        ),
        "plain torch FISTA": accurate(
            lambda n: lambda: plain_fista(x, d, int(n)), [50, 75, 100, 150, 200, 300, 500, 800]
        ),
        "scikit-learn lasso_cd": lambda: sklearn_sparse_encode(x, d, algorithm="lasso_cd", alpha=ALPHA, max_iter=1000),
    }
    seconds: dict[str, list[float]] = {name: [] for name in solvers}
    for _ in range(REPEATS):
        for name, run in solvers.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    ours = statistics.median(seconds["sparse_encode"])
    rows = {
        name: {
            "median_s": statistics.median(times),
            "ratio_to_ours": statistics.median(times) / ours,
            "suboptimality": objective(x, d, solvers[name]()) / best - 1,
        }
        for name, times in seconds.items()
    }
    sizes = f"{N} patches of 144 pixels, {N_CODE} atoms, {(exact != 0).mean():.1%} active"
    title = f"{sizes}, float32, {torch.get_num_threads()} threads"
    table = Table("solver", "median s", "times ours", "rel. suboptimality", title=title)
    for name, row in rows.items():
        table.add_row(name, f"{row['median_s']:.3f}", f"{row['ratio_to_ours']:.2f}", f"{row['suboptimality']:.1e}")
    Console().print(table)
    machine = {"processor": platform.processor() or platform.machine(), "torch": str(torch.__version__)}
    result = {"problem": title, "machine": machine, "solvers": rows}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
