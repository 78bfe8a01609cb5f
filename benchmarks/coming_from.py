"""Codes of equal problems by scikit-learn, SPAMS, sporco and sparsecode: the agreement that docs/coming-from.md states.

20 random samples and 32 random atoms of 16 features in float64, seed 0, lasso weight 0.5, 4 atoms for pursuit. For each peer: the
largest difference of a code, and the most that one of its objectives is above ours, relative to |x|^2 / 2; tolerances as written below.

Not a benchmark of speed (that is `lasso.py`). Prints a table and saves results/coming-from.json.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import spams
from common import save, show
from numpy.typing import NDArray
from sklearn.decomposition import sparse_encode as sklearn_encode
from sklearn.linear_model import Lasso
from sporco.admm.bpdn import BPDN

from sparsecode import omp_encode, sparse_encode

Array = NDArray[np.float64]
ALPHA, K, N, N_CODE, F = 0.5, 4, 20, 32, 16
BPDN_OPTIONS = {"Verbose": False, "MaxMainIter": 20_000, "RelStopTol": 1e-8, "AutoRho": {"Enabled": True}}


def problem() -> tuple[Array, Array]:
    """Samples [n, f] and atoms [k, f] of norm 1."""
    rng = np.random.default_rng(0)
    x, atoms = rng.normal(size=(N, F)), rng.normal(size=(N_CODE, F))
    return x, atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


def by_columns(x: Array) -> Array:
    """As SPAMS reads it: samples in columns, in Fortran order."""
    return np.asfortranarray(x.T)


def lasso_of_rows(x: Array, atoms: Array) -> Array:
    """A `Lasso` for each row; its error is divided by the number of features."""
    model = Lasso(alpha=ALPHA / F, fit_intercept=False, tol=1e-12, max_iter=1_000_000)
    return np.stack([model.fit(atoms.T, row).coef_.copy() for row in x])


def objective(x: Array, z: Array, atoms: Array) -> Array:
    """1/2 |x - z D|^2 + alpha |z|_1 [n], relative to |x|^2 / 2."""
    return (((x - z @ atoms) ** 2).sum(1) / 2 + ALPHA * np.abs(z).sum(1)) / ((x**2).sum(1) / 2)


def main() -> None:
    """Solve, compare, print, save."""
    x, atoms = problem()
    solved = sparse_encode(x, atoms, ALPHA, tol=1e-12, return_solution=True)
    pursued = omp_encode(x, atoms, K)
    peers: dict[str, tuple[Array, Callable[[], Any]]] = {}
    peers["scikit-learn sparse_encode (lasso_cd)"] = (
        solved.z, lambda: sklearn_encode(x, atoms, algorithm="lasso_cd", alpha=ALPHA, max_iter=100_000),
    )  # fmt: skip
    peers["scikit-learn Lasso"] = solved.z, lambda: lasso_of_rows(x, atoms)
    peers["scikit-learn sparse_encode (omp)"] = (
        pursued, lambda: sklearn_encode(x, atoms, algorithm="omp", n_nonzero_coefs=K),
    )  # fmt: skip
    peers["SPAMS lasso"] = (
        solved.z,
        lambda: spams.lasso(by_columns(x), D=by_columns(atoms), lambda1=ALPHA, mode=2, numThreads=1).toarray().T,
    )
    peers["sporco BPDN"] = (
        solved.z, lambda: BPDN(atoms.T.copy(), x.T.copy(), ALPHA, BPDN.Options(BPDN_OPTIONS)).solve().T,
    )  # fmt: skip
    rows: dict[str, dict[str, float]] = {}
    for name, (ours, solve) in peers.items():
        theirs = np.asarray(solve())
        above = objective(x, theirs, atoms) - objective(x, ours, atoms)
        rows[name] = {"difference": float(np.abs(theirs - ours).max()), "objective_above_ours": float(above.max())}
    show(
        "Codes of equal problems",
        ("peer", "largest difference of a code", "largest objective above ours"),
        [(name, f"{row['difference']:.1e}", f"{row['objective_above_ours']:.1e}") for name, row in rows.items()],
    )
    result = {
        "n": N,
        "n_code": N_CODE,
        "n_features": F,
        "alpha": ALPHA,
        "largest_gap": float(solved.gap.max()),
        "peers": rows,
    }
    save("coming-from", result, ["scikit-learn", "spams-bin", "sporco"])


if __name__ == "__main__":
    main()
