"""Codes in dictionaries of correlated atoms, to a relative duality gap of 1e-9 in float64, beside LARS and coordinate descent of others.

Atoms of 256 features and norm 1, of four kinds, seed 0. Incoherent: Gaussian. One direction: sqrt(0.99) u + sqrt(0.01) g_j, u and g_j
of norm 1 and g_j orthogonal to u, so that any two have cosines of about 0.99. Clusters: the same, with one of 32 directions u for each
atom. Neighbours: a_j = 0.99 a_(j-1) + sqrt(1 - 0.99^2) g_j, so that atoms beside each other have cosines of 0.99. A sample is the sum of
20 atoms with Gaussian codes, of mean norm 1, and noise of norm 0.05. Weights are shares of the median over samples of the largest
useful one.

Ours is compared with the same call on incoherent atoms, twice: at the same share, as a user would set it, and at the weight that gives as
many active codes there. The second is fairer: the time of every method grows with the number of active codes, and correlated atoms
need fewer at the same share.

    python benchmarks/correlated.py

One thread, processor time, medians of turns; the Gram matrix of the atoms is part of the time. Prints tables and saves
results/correlated.json (ten minutes).
"""

# peers are in another environment than pyright
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import interleaved, medians, save, show
from numpy.typing import NDArray

from sparsecode import alpha_max, sparse_encode

Array = NDArray[np.float64]
F, COSINE, TOL = 256, 0.99, 1e-9
KINDS = ("incoherent", "one direction", "clusters", "neighbours")
SHARES = (0.1, 0.03, 0.01, 0.003, 0.001)
ROWS, TURNS = {512: 100, 4096: 20}, {512: 15, 4096: 3}
PEER_ROWS, PEER_SHARES = 10, {512: SHARES, 4096: (0.01,)}
LARGE, LARGE_ROWS, LARGE_SHARE = 16_384, 10, 0.01
SHORT_SHARE = 0.03


def normed(a: Array) -> Array:
    """Rows of norm 1."""
    return a / np.linalg.norm(a, axis=1, keepdims=True)


def atoms_of(kind: str, n_code: int) -> Array:
    """Atoms [n_code, F] of norm 1."""
    rng = np.random.default_rng(0)
    g = rng.normal(size=(n_code, F))
    if kind == "incoherent":
        return normed(g)
    if kind == "neighbours":
        for j in range(1, n_code):
            g[j] = COSINE * g[j - 1] + (1 - COSINE**2) ** 0.5 * g[j]
        return normed(g)
    directions = normed(rng.normal(size=(1 if kind == "one direction" else 32, F)))
    u = directions[rng.integers(len(directions), size=n_code)]
    apart = normed(g - (g * u).sum(axis=1, keepdims=True) * u)
    return COSINE**0.5 * u + (1 - COSINE) ** 0.5 * apart


def samples_of(d: Array, n: int) -> Array:
    """Samples [n, F] made of 20 atoms each."""
    rng = np.random.default_rng(1)
    codes = np.zeros((n, len(d)))
    for code in codes:
        code[rng.choice(len(d), 20, replace=False)] = rng.normal(size=20)
    x = codes @ d
    return x / np.linalg.norm(x, axis=1).mean() + 0.05 * normed(rng.normal(size=x.shape))


def problem(kind: str, n_code: int, n: int) -> tuple[Array, Array, float]:
    """Samples, atoms, and the median of the weights from which on a code is 0."""
    d = atoms_of(kind, n_code)
    x = samples_of(d, n)
    return x, d, float(np.median(alpha_max(x, d)))


def gap(x: Array, d: Array, z: Array, alpha: float) -> float:
    """The largest relative duality gap."""
    r = x - z @ d
    s = np.minimum(1, alpha / np.abs(r @ d.T).max(axis=1))
    square, half = (r * r).sum(axis=1), (x * x).sum(axis=1) / 2
    primal, dual = square / 2 + alpha * np.abs(z).sum(axis=1), s * (x * r).sum(axis=1) - s * s * square / 2
    return float(((primal - dual) / half).max())


def ours(x: Array, d: Array, alpha: float) -> Array:
    """Codes by the library."""
    return sparse_encode(x, d, alpha, tol=TOL)


def spams_lars(x: Array, d: Array, alpha: float) -> Array:
    """SPAMS's LARS."""
    import spams

    codes = spams.lasso(np.asfortranarray(x.T), np.asfortranarray(d.T), lambda1=alpha, mode=spams.PENALTY, numThreads=1)
    return codes.toarray().T


def sklearn_lars(x: Array, d: Array, alpha: float) -> Array:
    """scikit-learn's LARS."""
    from sklearn.decomposition import sparse_encode as encode

    return encode(x, d, algorithm="lasso_lars", alpha=alpha, max_iter=10_000)


def sklearn_cd(x: Array, d: Array, alpha: float) -> Array:
    """scikit-learn's coordinate descent with a Gram matrix, to the same gap, 20 000 sweeps at most."""
    from sklearn.linear_model import Lasso

    gram = d @ d.T
    model = Lasso(alpha / F, fit_intercept=False, precompute=gram, max_iter=20_000)
    codes: list[Array] = []
    for row in x:
        model.tol = TOL / 2  # of |x|^2
        codes.append(model.fit(d.T, row).coef_.copy())
    return np.stack(codes)


PEERS = {"SPAMS lasso (LARS)": spams_lars, "scikit-learn lasso_lars": sklearn_lars, "scikit-learn Lasso": sklearn_cd}


def as_many(x: Array, d: Array, largest: float, wanted: float) -> float:
    """The weight at which the mean number of active codes is `wanted`, to a twentieth."""
    low, high = 1e-4 * largest, largest
    for _ in range(12):
        middle = (low * high) ** 0.5
        active = float((sparse_encode(x, d, middle, tol=1e-4) != 0).sum(axis=1).mean())
        if abs(active - wanted) <= wanted / 20:
            break
        low, high = (middle, high) if active > wanted else (low, middle)
    return (low * high) ** 0.5


def timed(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Microseconds of processor time."""
    middle = medians(interleaved(runs, repeats, warm=False, clock=time.process_time))
    return {name: 1e6 * value for name, value in middle.items()}


def compare(kind: str, n_code: int, share: float) -> dict[str, Any]:
    """Ours on these atoms and on incoherent ones, and peers, in microseconds for a row."""
    n = ROWS[n_code]
    x, d, largest = problem(kind, n_code, n)
    easy_x, easy, easy_largest = problem("incoherent", n_code, n)
    alpha = share * largest
    z = ours(x, d, alpha)
    active = float((z != 0).sum(axis=1).mean())
    matched = as_many(easy_x[:50], easy, easy_largest, active)
    runs: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(x, d, alpha),
        "same share": lambda: ours(easy_x, easy, share * easy_largest),
        "as many active": lambda: ours(easy_x, easy, matched),
    }
    row: dict[str, Any] = {"atoms": kind, "n_code": n_code, "share": share, "active": active}
    row["gap"] = gap(x, d, z, alpha)
    row["microseconds"] = {name: value / n for name, value in timed(runs, TURNS[n_code]).items()}
    part = x[:PEER_ROWS]
    few = {name: (lambda run=run: run(part, d, alpha)) for name, run in PEERS.items()}
    if share in PEER_SHARES[n_code]:
        row["peers"] = {name: value / PEER_ROWS for name, value in timed(few, 1).items()}
        row["peer_gaps"] = {name: gap(part, d, run(), alpha) for name, run in few.items()}
    return row


def large(kind: str) -> dict[str, Any]:
    """Seconds and memory of one call with 16 384 atoms, in this process: each kind has its own."""
    import resource

    x, d, largest = problem(kind, LARGE, LARGE_ROWS)
    ours(x[:1, :8].copy(), d[:16, :8].copy(), 0.1)  # compiles
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    z = ours(x, d, LARGE_SHARE * largest)
    seconds, peak = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "atoms": kind,
        "n_code": LARGE,
        "rows": LARGE_ROWS,
        "share": LARGE_SHARE,
        "active": float((z != 0).sum(axis=1).mean()),
        "gap": gap(x, d, z, LARGE_SHARE * largest),
        "seconds": seconds,
        "peak_mib": peak / 1024,
        "peak_mib_before": before / 1024,
    }


def short() -> dict[str, float]:
    """Ratios at one weight, 512 atoms: to incoherent atoms, and to the fastest peer."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    ours(np.eye(2), np.eye(2), 0.5)  # compiles
    result: dict[str, float] = {}
    for kind in KINDS[1:]:
        row = compare(kind, 512, SHORT_SHARE)
        times = row["microseconds"]
        result[f"512, {kind}, weight {SHORT_SHARE:g}: incoherent atoms"] = times["same share"] / times["ours"]
        result[f"512, {kind}, weight {SHORT_SHARE:g}: the fastest peer"] = min(row["peers"].values()) / times["ours"]
    return result


def main() -> None:
    """Measure, print, save; with --large KIND only that, as a line of JSON."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if "--large" in sys.argv:
        print(json.dumps(large(sys.argv[-1])))
        return
    ours(np.eye(2), np.eye(2), 0.5)  # compiles
    rows = [compare(kind, n_code, share) for n_code in ROWS for kind in KINDS[1:] for share in SHARES]
    head = ("atoms", "weight", "active", "us a row", "incoherent", "as many active", *PEERS)
    lines = [
        (
            f"{r['n_code']}, {r['atoms']}",
            f"{r['share']:g}",
            f"{r['active']:.0f}",
            *(f"{value:.0f}" for value in r["microseconds"].values()),
            *(f"{r['peers'][name]:.0f}, {r['peer_gaps'][name]:.0e}" if "peers" in r else "" for name in PEERS),
        )
        for r in rows
    ]
    show("Correlated atoms, to a gap of 1e-9, and the gaps of peers", head, lines)
    big: list[dict[str, Any]] = []
    for kind in KINDS:
        out = subprocess.run([sys.executable, __file__, "--large", kind], check=True, capture_output=True, text=True)
        big.append(json.loads(out.stdout.splitlines()[-1]))
        print(big[-1], flush=True)
    save("correlated", {"tol": TOL, "cosine": COSINE, "n_features": F, "rows": rows, "large": big}, ("scikit-learn",))


if __name__ == "__main__":
    main()
