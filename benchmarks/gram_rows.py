"""What bounds coordinate descent: reading rows of the Gram matrix, measured for the table of `benchmarks/lasso.py`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from common import interleaved, medians
from numpy.typing import NDArray

from sparsecode.kernels.certificate import correlate
from sparsecode.penalties import L1
from sparsecode.solvers import CoordinateDescent, QuadraticEnergy, solve

Array = NDArray[Any]


def reading_rows(x: Array, d: Array, alpha: float, tol: float, threads: int) -> dict[str, float]:
    """What reading the Gram matrix costs at least: a row for each active code in each sweep, at the speed of the cache that holds it.

    The speed is that of residual correlations of codes without zeros, which read the whole matrix; beside it that of a quarter of the
    matrix.
    """  # fmt: skip
    energy = QuadraticEnergy(torch.from_numpy(x), torch.from_numpy(d), L1(), alpha)
    solution = solve(energy, CoordinateDescent(), torch.zeros_like(energy.corr), max_steps=10_000, tol=tol)
    rows = int((solution.steps * (solution.z != 0).sum(dim=1)).sum())

    def per_second(gram: Array) -> float:
        q, work = np.zeros(len(gram), np.float32), np.zeros(len(gram), np.int64)
        codes = {"all": np.ones(len(gram), np.float32), "none": np.zeros(len(gram), np.float32)}
        runs = {name: lambda z=z: [correlate(gram, q, z, work, q) for _ in range(1000)] for name, z in codes.items()}
        seconds = medians(interleaved(runs, 7, clock=time.process_time))
        return 1000 * gram.nbytes / (seconds["all"] - seconds["none"])

    gram = np.ascontiguousarray(d @ d.T)
    speed, quarter = per_second(gram), per_second(np.ascontiguousarray(gram[: len(d) // 2, : len(d) // 2]))
    return {
        "rows": rows,
        "gigabytes_per_second": speed / 1e9,
        "gigabytes_per_second_of_a_quarter": quarter / 1e9,
        "seconds": rows * gram.nbytes / len(d) / speed / threads,
    }
