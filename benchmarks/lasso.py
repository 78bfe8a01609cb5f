"""Sparse codes of photograph patches beside SPAMS, scikit-learn and a plain torch FISTA; orthogonal matching pursuit, too.

10 000 patches of 16x16 pixels without their means, 512 learned unit-norm atoms, about a tenth of the codes active.
Easy: whitened, so that atoms correlate little. Hard: not whitened. Each solver is tuned, knowing the optimum (float64
codes), to just reach a relative suboptimality of 1e-6 in the total objective. Solvers that cost seconds are timed on
the first 2 000 patches and scaled by five (their cost is linear in patches), which the table says.

    python benchmarks/lasso.py [easy] [hard] [omp] [--busy]

With `--busy`, for a machine that does other work: one thread, processor time, the first 1 000 patches, three repeats, and
one contender of each kind.
"""

# peers are in another environment than pyright
# pyright: reportMissingImports=false

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import spams
import torch
from common import interleaved, medians, save, show, stored
from gram_rows import reading_rows
from numpy.typing import NDArray
from sklearn.decomposition import sparse_encode as sklearn_encode

from sparsecode import learn_dictionary, omp_encode, sparse_encode
from sparsecode.data import Photos
from sparsecode.nn.normalisers import Whiten
from sparsecode.solvers import FISTA

Array = NDArray[Any]
N, PART, N_CODE = 10_000, 2_000, 512
ALPHAS = {"easy": 0.0481, "hard": 0.03}  # about a tenth of the codes active
ACCURATE, FEW = 1e-6, 1_000  # the second: patches, with --busy
BUSY = ("sparse_encode", "SPAMS lasso (LARS), f64", "SPAMS cd, f32", "scikit-learn, tuned, f32", "plain torch FISTA")
THREADS, REPEATS, N_NONZERO, SAME = 2, 5, 10, 1e-3  # the last of errors
SHORT = {
    "hard": ("SPAMS lasso (LARS), f64", "scikit-learn, tuned, f32", "plain torch FISTA"),
    "easy": ("SPAMS lasso (LARS), f64", "SPAMS cd, f32", "scikit-learn, tuned, f32", "plain torch FISTA"),
}


class Contender(NamedTuple):
    """`make(x, setting)` gives a run; `grid` goes from fast to accurate; `rows` are timed."""

    make: Callable[[Array, Any], Callable[[], Any]]
    grid: Sequence[Any]
    rows: int


def problem(name: str) -> tuple[Array, Array]:
    """Patches of mean squared norm 1, and atoms learned from others."""
    rows = Photos(size=16, shrink=1, n_train=60_000, n_test=N).load()
    train, x = (split.x.flatten(1) for split in (rows.train, rows.test))
    train, x = (split - split.mean(dim=1, keepdim=True) for split in (train, x))
    if name == "easy":
        whiten = Whiten(floor=0.01).build((256,))
        whiten.initialise_(train)
        train, x = whiten(train), whiten(x)
    scale = train.square().sum(dim=1).mean().sqrt()
    atoms = learn_dictionary((train / scale).numpy(), N_CODE, ALPHAS[name], max_steps=120, tol=1e-2).atoms
    return np.ascontiguousarray((x / scale).numpy()), np.ascontiguousarray(atoms)


def plain_fista(x: Array, d: Array, alpha: float, steps: int) -> Array:
    """What one writes in ten minutes: torch, fixed steps, the residual in data space."""
    xt, dt = torch.from_numpy(x), torch.from_numpy(d)
    eta = 1 / torch.linalg.matrix_norm(dt, 2) ** 2
    z = y = torch.zeros(len(x), len(d))
    t = 1.0
    for _ in range(steps):
        v = y - eta * (y @ dt - xt) @ dt.T
        new = v.sign() * (v.abs() - eta * alpha).clamp(min=0)
        t_new = (1 + (1 + 4 * t * t) ** 0.5) / 2
        y = new + (t - 1) / t_new * (new - z)
        z, t = new, t_new
    return z.numpy()


def fortran(x: Array, dtype: Any) -> Array:
    """SPAMS's layout, made before the clock starts."""
    return np.asfortranarray(x.T.astype(dtype))


def contenders(d: Array, alpha: float, threads: int = THREADS) -> dict[str, Contender]:
    """Ours first, then SPAMS, scikit-learn and torch."""
    d64, columns = d.astype(np.float64), {kind: fortran(d, kind) for kind in (np.float32, np.float64)}

    def ours(x: Array, tol: float, solver: Any = None) -> Callable[[], Array]:
        return lambda: sparse_encode(x, d, alpha, tol=tol, solver=solver)

    def spams_lars(x: Array, _: None) -> Callable[[], Any]:
        given = fortran(x, np.float64)
        return lambda: spams.lasso(given, columns[np.float64], lambda1=alpha, mode=spams.PENALTY, numThreads=threads)

    def spams_cd(x: Array, setting: tuple[float, int], kind: Any) -> Callable[[], Any]:
        given, start = fortran(x, kind), spams_zeros(len(x), kind)
        tol, most = setting
        return lambda: spams.cd(
            given, columns[kind], start, lambda1=alpha, mode=spams.PENALTY, itermax=most, tol=tol, numThreads=threads
        )

    def sklearn_cd(x: Array, max_iter: int, atoms: Array = d, n_jobs: int = 1) -> Callable[[], Array]:
        given = x.astype(atoms.dtype)
        return lambda: sklearn_encode(given, atoms, algorithm="lasso_cd", alpha=alpha, max_iter=max_iter, n_jobs=n_jobs)

    tols = np.geomspace(1e-1, 1e-6, 41).tolist()
    sweeps = np.unique(np.geomspace(15, 1000, 24).astype(int)).tolist()
    cd = (
        [(tol, 100) for tol in (1e-2, 5e-3, 2e-3)] + [(1e-3, most) for most in (50, 70, 100, 200, 500)] + [(1e-4, 2000)]
    )
    return {
        "sparse_encode": Contender(ours, tols, N),
        "sparse_encode, FISTA": Contender(partial(ours, solver=FISTA(restart=True)), tols[10:], N),
        "SPAMS lasso (LARS), f64": Contender(spams_lars, [None], PART),
        "SPAMS cd, f32": Contender(partial(spams_cd, kind=np.float32), cd, N),
        "SPAMS cd, f64": Contender(partial(spams_cd, kind=np.float64), cd, PART),
        "scikit-learn, default (f64)": Contender(partial(sklearn_cd, atoms=d64), [1000], PART),
        "scikit-learn, tuned, f32": Contender(sklearn_cd, sweeps, PART),
        "scikit-learn, tuned, f32, 2 jobs": Contender(partial(sklearn_cd, n_jobs=2), sweeps, N),
        "plain torch FISTA": Contender(lambda x, n: lambda: plain_fista(x, d, alpha, n), sweeps, N),
    }


def spams_zeros(n: int, kind: Any) -> Any:
    """SPAMS's start, a sparse matrix."""
    from scipy.sparse import csc_matrix

    return csc_matrix((N_CODE, n), dtype=kind)


def dense(codes: Any) -> Array:
    """Codes [n, n_code] in float64, whatever a solver returns."""
    return codes.toarray().T.astype(np.float64) if hasattr(codes, "toarray") else codes.astype(np.float64)


def objectives(x: Array, d: Array, alpha: float, z: Array) -> Array:
    """The energy of each row, in float64."""
    return np.square(x - z @ d.astype(np.float64)).sum(axis=1) / 2 + alpha * np.abs(z).sum(axis=1)


def compare(name: str, busy: bool = False) -> None:
    """Tune, time in turn, print and save."""
    alpha, threads = ALPHAS[name], 1 if busy else THREADS
    x, d = problem(name)
    x = x[:FEW] if busy else x
    exact = sparse_encode(x.astype(np.float64), d.astype(np.float64), alpha, tol=1e-9, max_steps=100_000)
    best = objectives(x, d, alpha, exact)

    def above(codes: Any) -> float:
        z = dense(codes)
        return float(objectives(x[: len(z)], d, alpha, z).sum() / best[: len(z)].sum() - 1)

    runs: dict[str, Callable[[], Any]] = {}
    settings: dict[str, Any] = {}
    rows: dict[str, int] = {}
    reached: dict[str, float] = {}
    for label, (make, grid, n) in contenders(d, alpha, threads).items():
        if busy and label not in BUSY:
            continue
        n = min(n, len(x))
        # By bisection on the timed patches, as grids go from fast to accurate.
        low, high = 0, len(grid) - 1
        while low < high:
            middle = (low + high) // 2
            good = above(make(x[:n], grid[middle])()) <= ACCURATE
            low, high = (low, middle) if good else (middle + 1, high)
        runs[label], settings[label], rows[label] = make(x[:n], grid[low]), grid[low], n
        reached[label] = above(runs[label]())
        print(f"  {label}: {settings[label]}, {reached[label]:.1e}", flush=True)
    clock = time.process_time if busy else time.perf_counter
    seconds = interleaved(runs, 3 if busy else REPEATS, warm=False, clock=clock)
    report(
        name,
        f"{name}: {N} patches, {N_CODE} atoms, {(exact != 0).mean():.1%} active, largest eigenvalue "
        f"{np.linalg.norm(d, 2) ** 2:.1f}, {'1 thread, processor time' if busy else f'{THREADS} threads'}",
        seconds,
        rows,
        {label: {"setting": settings[label], "suboptimality": reached[label]} for label in runs},
        {"reading_rows": reading_rows(x, d, alpha, settings["sparse_encode"], threads)},
    )


def errors(x: Array, d: Array, z: Array) -> float:
    """The mean squared residual."""
    return float(np.square(x - z @ d).sum(axis=1).mean())


def same_as(ours: float, theirs: float, label: str) -> None:
    """Raises SystemExit if the errors of two pursuits differ: then their times say nothing."""
    if abs(theirs / ours - 1) > SAME:
        raise SystemExit(f"{label} leaves a mean squared residual of {theirs:.4f}, ours {ours:.4f}: nothing is saved")


def spams_omp(x: Array, d: Array, threads: int) -> Callable[[], Any]:
    """SPAMS's pursuit; without `eps` it reads memory that nothing was written to, and in float32 often returns no codes, in half of the time."""
    return lambda: spams.omp(x, d, L=N_NONZERO, eps=0.0, numThreads=threads)


def pursue() -> None:
    """Orthogonal matching pursuit: codes, and so errors, are the same; only time is compared."""
    x, d = problem("easy")
    given, columns = ({kind: fortran(a, kind) for kind in (np.float32, np.float64)} for a in (x, d))
    part = x[:PART].astype(np.float64)
    runs: dict[str, Callable[[], Any]] = {
        "omp_encode": lambda: omp_encode(x, d, N_NONZERO),
        "omp_encode, f64": lambda: omp_encode(x.astype(np.float64), d, N_NONZERO),
        "SPAMS omp, f32": spams_omp(given[np.float32], columns[np.float32], THREADS),
        "SPAMS omp, f64": spams_omp(given[np.float64], columns[np.float64], THREADS),
        "scikit-learn omp, f64": lambda: sklearn_encode(
            part, d.astype(np.float64), algorithm="omp", n_nonzero_coefs=N_NONZERO
        ),
        "scikit-learn omp, f64, 2 jobs": lambda: sklearn_encode(
            x.astype(np.float64), d.astype(np.float64), algorithm="omp", n_nonzero_coefs=N_NONZERO, n_jobs=2
        ),
    }
    rows = {label: PART if label == "scikit-learn omp, f64" else N for label in runs}
    first, left = dense(runs["omp_encode"]()), dict[str, float]()
    for label, n in rows.items():
        left[label] = errors(x[:n], d, dense(runs[label]()))
        same_as(errors(x[:n], d, first[:n]), left[label], label)
    seconds = interleaved(runs, REPEATS, warm=False)
    title = f"omp: {N} patches, {N_CODE} atoms, {N_NONZERO} non-zeros, {THREADS} threads"
    report("omp", title, seconds, rows, {label: {"mean_squared_residual": left[label]} for label in runs})


def short() -> dict[str, float]:
    """Ratios: 2 000 patches at the stored settings, one thread, processor time."""
    warnings.simplefilter("ignore")
    result: dict[str, float] = {}
    for kind, names in SHORT.items():
        x, d = problem(kind)
        x, makes = x[:PART], contenders(d, ALPHAS[kind], threads=1)
        before = stored(f"lasso-{kind}")["results"]
        runs = {name: makes[name].make(x, before[name]["setting"]) for name in ("sparse_encode", *names)}
        runs["sparse_encode"]()
        middle = medians(interleaved(runs, 3 if kind == "hard" else 7, warm=False, clock=time.process_time))
        result |= {f"{kind}: {name}": middle[name] / middle["sparse_encode"] for name in names}
    pursuits: dict[str, Callable[[], Any]] = {
        "ours": lambda: omp_encode(x, d, N_NONZERO),
        "peer": spams_omp(fortran(x, np.float32), fortran(d, np.float32), threads=1),
    }
    same_as(*(errors(x, d, dense(run())) for run in pursuits.values()), "SPAMS omp, f32")
    middle = medians(interleaved(pursuits, 9, clock=time.process_time))
    return result | {"omp: SPAMS omp, f32": middle["peer"] / middle["ours"]}


def report(
    name: str, title: str, seconds: dict[str, list[float]], rows: dict[str, int], more: dict[str, dict[str, Any]],
    bounds: dict[str, dict[str, float]] | None = None,
) -> None:  # fmt: skip
    """Median seconds for all patches, ratios to the first run, and how far from the optimum."""
    scaled = {label: median * N / rows[label] for label, median in medians(seconds).items()}
    ours = next(iter(scaled.values()))
    last = list(next(iter(more.values())))[-1]
    table = [
        [
            label + ("" if rows[label] == N else f" ({rows[label]} patches, scaled)"),
            f"{value:.3f}",
            f"{value / ours:.2f}",
            f"{more[label][last]:.1e}",
        ]
        for label, value in scaled.items()
    ]
    show(title, ("solver", "median s", "times ours", last.replace("_", " ")), table)
    results = {
        label: {"seconds": value, "times_ours": value / ours, "rows_timed": rows[label], "repeats": seconds[label]}
        | more[label]
        for label, value in scaled.items()
    }
    for what, each in (bounds or {}).items():
        print(f"  {what}: {', '.join(f'{value:.3g} {unit}' for unit, value in each.items())}")
    save(
        f"lasso-{name}",
        {"problem": title, "results": results, **(bounds or {})},
        ("scikit-learn", "spams-bin", "numba"),
    )


def main() -> None:
    """Run the parts named on the command line, or all."""
    busy = "--busy" in sys.argv
    torch.set_num_threads(1 if busy else THREADS)
    warnings.simplefilter("ignore")  # scikit-learn's about max_iter: it is tuned to stop there
    for name in [arg for arg in sys.argv[1:] if arg != "--busy"] or ["easy", "hard", "omp"]:
        began = time.perf_counter()
        pursue() if name == "omp" else compare(name, busy)
        print(f"{name}: {time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
