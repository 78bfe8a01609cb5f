"""Codes of samples with missing entries: `sparse_encode(mask=)` beside scikit-learn's `Lasso`, row by row, in processor time of one thread.

256 random atoms of 64 features, samples made by 5 % of them and noise of 0.05, half of the entries observed, another half for each row; float64, seed 0,
alpha a tenth of the largest useful one of all rows. A `Lasso` is fitted to the observed features of each row. Microseconds per row at two tolerances,
medians of runs in turn, and how far the objectives are apart, relative to that of z = 0.

    python benchmarks/masked_codes.py

Prints a table and saves results/masked-codes.json (half a minute).
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import torch
from common import interleaved, medians, save, show
from numpy.typing import NDArray
from sklearn.linear_model import Lasso

from sparsecode import sparse_encode

Array = NDArray[np.float64]
N, N_CODE, F, ALPHA = 1000, 256, 64, 0.1
SETTINGS = {"1e-4": (1e-4, 5), "1e-12": (1e-12, 1)}  # tolerance, turns


def problem() -> tuple[Array, Array, NDArray[np.bool_], float]:
    """Samples [n, f], atoms [k, f] of norm 1, what is observed, and alpha."""
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(N_CODE, F))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    x = ((rng.random((N, N_CODE)) < 0.05) * rng.normal(size=(N, N_CODE))) @ atoms + 0.05 * rng.normal(size=(N, F))
    observed = rng.random((N, F)) < 0.5
    return x, atoms, observed, ALPHA * float(np.abs((x * observed) @ atoms.T).max())


def by_rows(x: Array, atoms: Array, observed: NDArray[np.bool_], alpha: float, tol: float) -> Array:
    """A `Lasso` for each row, on its observed features; its error is divided by their number."""
    z = np.zeros((len(x), len(atoms)))
    for row, seen, code in zip(x, observed, z, strict=True):
        model = Lasso(alpha=alpha / seen.sum(), fit_intercept=False, tol=tol, max_iter=1_000_000)
        code[:] = model.fit(atoms[:, seen].T, row[seen]).coef_
    return z


def objective(x: Array, z: Array, atoms: Array, observed: NDArray[np.bool_], alpha: float) -> Array:
    """1/2 |m (x - z D)|^2 + alpha |z|_1 [n], relative to that of z = 0."""
    error = ((x - z @ atoms) * observed) ** 2
    return (error.sum(1) / 2 + alpha * np.abs(z).sum(1)) / (((x * observed) ** 2).sum(1) / 2)


def main() -> None:
    """Time both, compare, print, save."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    x, atoms, observed, alpha = problem()
    rows: list[dict[str, Any]] = []
    for label, (tol, turns) in SETTINGS.items():
        runs = {
            "sparsecode": lambda tol=tol: sparse_encode(x, atoms, alpha, mask=observed, tol=tol),
            "scikit-learn": lambda tol=tol: by_rows(x, atoms, observed, alpha, tol),
        }
        ours, theirs = (objective(x, run(), atoms, observed, alpha) for run in runs.values())
        seconds = medians(interleaved(runs, turns, warm=False, clock=time.process_time))
        microseconds = {name: 1e6 * value / len(x) for name, value in seconds.items()}
        rows.append(
            {"tol": label, "microseconds": microseconds, "objectives_apart": float(np.abs(ours - theirs).max())}
        )
    head = ("tolerance", "sparsecode, microseconds a row", "scikit-learn", "objectives differ by")
    lines = [
        (r["tol"], *(f"{v:.0f}" for v in r["microseconds"].values()), f"{r['objectives_apart']:.1e}") for r in rows
    ]
    show(f"{N} rows, {N_CODE} atoms of {F} features, half observed", head, lines)
    l0 = float((sparse_encode(x, atoms, alpha, mask=observed) != 0).sum(axis=1).mean())
    save("masked-codes", {"alpha": alpha, "l0": l0, "rows": rows}, ("scikit-learn", "numba"))


if __name__ == "__main__":
    main()
