"""Time and memory against samples, atoms, features, threads and processes: lasso codes, and steps of a TopK autoencoder.

Each point is a process of its own, so that its peak memory is that of the point. Seconds are the processor's, the least of several
repetitions: on a machine that others use, the clock says how busy it is. Slopes are of log(time) over log(size), by least squares: 1 is
linear.

    python benchmarks/scale.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, save, show
from matplotlib.figure import Figure

from sparsecode.plots.style import colour, mark

SIZES: dict[str, Sequence[int]] = {
    "samples": (250, 500, 1000, 2000, 4000, 8000),
    "atoms": (256, 512, 1024, 2048, 4096, 8192, 16384),
    "features": (32, 64, 128, 256, 512, 1024),
    "threads": (1, 2),
}
BASE = {"samples": 500, "atoms": 512, "features": 64, "threads": 1}
SHARED = 8000  # samples that threads share
SHARE = 0.5  # of the weight at which a row's code is 0
RANKS = (1, 2)
MIB = 2**20


def encoded(point: dict[str, int], repeats: int) -> dict[str, float]:
    """Seconds of the processor and of the clock for the codes of random samples, and bytes in use."""
    import torch

    from sparsecode import sparse_encode

    torch.set_num_threads(point["threads"])
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(point["atoms"], point["features"])).astype(np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    x = rng.normal(size=(point["samples"], point["features"])).astype(np.float32)
    alpha = SHARE * float(np.median(np.abs(x[:100] @ atoms.T).max(axis=1)))
    sparse_encode(x[:10], atoms[:100], alpha)
    before = _peak()
    seconds: list[tuple[float, float]] = []
    z = x
    for _ in range(repeats):
        z = x  # the codes of the time before are not counted
        clock, processor = time.perf_counter(), time.process_time()
        z = sparse_encode(x, atoms, alpha)
        seconds.append((time.process_time() - processor, time.perf_counter() - clock))
    return {
        "seconds": min(seconds)[0],
        "clock": min(clock for _, clock in seconds),
        "l0": float(np.count_nonzero(z, axis=1).mean()),
        "peak_mib": (_peak() - before) / MIB,
        "arrays_mib": (x.nbytes + atoms.nbytes + z.nbytes) / MIB,
        "gram_mib": 4 * point["atoms"] ** 2 / MIB,
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def trained(ranks: int, repeats: int) -> dict[str, float]:
    """Seconds of a training of 4 096 codes of digits in `ranks` processes: the processor's of all together, the clock's of its steps."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            words = [
                "digits-topk",
                "--model.n-code",
                "4096",
                "--train.epochs",
                "5",
                "--no-figures",
                "--accelerator",
                "cpu",
            ]
            command = [
                sys.executable,
                "-m",
                "sparsecode",
                "train",
                *words,
                "--devices",
                str(ranks),
                "--out",
                f"{folder}/run",
            ]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, use = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
            records = [json.loads(line) for line in Path(folder, "run/metrics.jsonl").read_text().splitlines()]
            steps = [record for record in records if record["kind"] == "train"]
            figures = {
                "seconds": use.ru_utime + use.ru_stime,
                "clock": steps[-1]["seconds"],
                "peak_mib": use.ru_maxrss / 1024,
                "loss": steps[-1]["loss"],
            }
            best = min(best or figures, figures, key=lambda each: each["seconds"])
    return best


def slope(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The exponent of the power law through the larger half of the sizes, where fixed costs are small."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(seconds[half:]), 1)[0])


def drawn(axis: str, points: Sequence[dict[str, float]], sizes: Sequence[int]) -> Figure:
    """Seconds over sizes on logarithmic axes beside a line of slope 1, over threads and ranks on linear ones; peak memory below."""
    figure = Figure(figsize=(5, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    seconds, peaks = [point["seconds"] for point in points], [max(point["peak_mib"], 0.1) for point in points]
    above.plot(sizes, seconds, color=colour(0), marker=mark(0), label="processor, of all together")
    below.plot(sizes, peaks, color=colour(1), marker=mark(1), label="peak of one process")
    above.set_ylabel("seconds")
    below.set_ylabel("memory, MiB")
    below.set_xlabel(axis)
    if axis in ("threads", "ranks"):
        above.plot(sizes, [point["clock"] for point in points], color=colour(2), marker=mark(2), label="clock")
    else:
        above.plot(
            sizes, [seconds[-1] * size / sizes[-1] for size in sizes], "--", color=colour(6), label="proportional"
        )
        below.plot(
            sizes, [point["arrays_mib"] for point in points], "--", color=colour(6), label="samples, atoms, codes"
        )
    if axis == "atoms":
        below.plot(sizes, [point["gram_mib"] for point in points], ":", color=colour(2), label="Gram matrix")
    for axes in (above, below):
        if axis in ("threads", "ranks"):
            axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        else:
            axes.set_xscale("log")
            axes.set_yscale("log")
        axes.set_xticks(sizes, [f"{size}" for size in sizes])
        axes.minorticks_off()
        axes.legend(frameon=False)
    return figure


def main() -> None:
    """Measure, print a table for each axis, and write results/scale.json and a picture for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="axes to measure again; the results of the others stay")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.point:
        print(json.dumps(encoded(json.loads(chosen.point), chosen.repeats)))
        return
    path = RESULTS / "scale.json"
    results: dict[str, Any] = json.loads(path.read_text())["axes"] if chosen.only and path.exists() else {}
    for axis, sizes in SIZES.items():
        if chosen.only and axis not in chosen.only:
            continue
        base = {**BASE, "samples": SHARED} if axis == "threads" else BASE
        points = [_apart({**base, axis: size}, chosen.repeats) for size in sizes]
        power = slope(sizes, [p["seconds"] for p in points]) if axis != "threads" else None
        results[axis] = {"sizes": list(sizes), "points": points, "slope": power}
    if not chosen.only or "ranks" in chosen.only:
        points = [trained(ranks, chosen.repeats) for ranks in RANKS]
        results["ranks"] = {"sizes": list(RANKS), "points": points, "slope": None}
    for axis, result in results.items():
        rows = [
            (
                str(size),
                *(f"{point[name]:.3g}" if name in point else "-" for name in ("seconds", "clock", "l0", "peak_mib")),
            )
            for size, point in zip(result["sizes"], result["points"], strict=True)
        ]
        caption = None if result["slope"] is None else f"slope of log(time) over the larger half: {result['slope']:.2f}"
        show(f"against {axis}", (axis, "processor, s", "clock, s", "L0", "peak, MiB"), rows, caption)
        drawn(axis, result["points"], result["sizes"]).savefig(RESULTS / f"scale-{axis}.png", dpi=110)
    save("scale", {"base": BASE, "share_of_alpha_max": SHARE, "axes": results}, ["numba"])


def _apart(point: dict[str, int], repeats: int) -> dict[str, float]:
    words = [sys.executable, __file__, "--repeats", str(repeats), "--point", json.dumps(point)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}  # torch's threads would poll while they wait
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout)


if __name__ == "__main__":
    main()
