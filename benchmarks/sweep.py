"""A sweep of eight noise levels: one stack, beside one process per run, all at once or two at a time.

Eight rectified autoencoders of 1000 codes that differ in the noise on their inputs, on latents of CIFAR-10 (256 numbers, if
SPARSECODE_DATA has them) or on MNIST's pixels, in batches of 1024. "all at once" are eight processes side by side, as a shell
script would start them; `processes` trains two at a time, a core each; `stacked` trains all in one process. All take the same steps; wall times are those of whole commands, from the shell: start-up,
reading the data, training, evaluation and pictures. The steady state is timed apart, from the records of the training
loss in each run's metrics: milliseconds per step and run. "exact" computes in float32 throughout, as separate runs of
that width do; "bf16" lets the stack use bfloat16 products, as `model.arithmetic` allows. The floor is the time of a step's
five dense float32 products alone, two runs at a time on a core each, as the stack trains them.

    python benchmarks/sweep.py [latents|mnist] [REPEATS] [EPOCHS]
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from common import save, show

from sparsecode.models import build_model
from sparsecode.models.stacked import Stacked
from sparsecode.overrides import assign
from sparsecode.recipes import RECIPES
from sparsecode.schedules import resolve
from sparsecode.train.fit import launch, open_session, train_alone
from sparsecode.train.plan import clock
from sparsecode.train.session import TrainingSession
from sparsecode.train.stacked import train_stacked

SIGMAS = (0, 0.05, 0.1, 0.3, 0.8, 1.5, 3, 10)
DATA = {"latents": {"type": "cifar10-latents"}, "mnist": {"type": "mnist"}}
WAYS = {
    "all at once": ("--backend", "processes", "--processes", "8"),
    "processes": ("--backend", "processes", "--processes", "2"),
    "stacked": ("--backend", "stacked", "--processes", "2"),
}


def settings(data: str, arithmetic: str, epochs: float) -> dict[str, Any]:
    """What all runs have in common, beside the recipe."""
    return {
        "data": json.dumps(DATA[data]), "model.n_code": 1000, "model.arithmetic": arithmetic, "train.batch_size": 1024,
        "train.epochs": epochs, "train.evaluate_every": epochs, "train.checkpoint_every": epochs, "train.log_every": 10,
        "evaluate.sigmas": "[0.3]",
    }  # fmt: skip


def command(data: str, arithmetic: str, epochs: float, way: str, out: str) -> list[str]:
    """One sweep, as a user would type it."""
    changes = [
        part for path, value in settings(data, arithmetic, epochs).items() for part in ("--set", f"{path}={value}")
    ]
    over = "model.corruption.sigma=" + ",".join(map(str, SIGMAS))
    return [
        sys.executable, "-m", "sparsecode", "sweep", "noise-digits", "--over", over, *changes, *WAYS[way], "--out", out,
        "--accelerator", "cpu",
    ]  # fmt: skip


def run(data: str, arithmetic: str, epochs: float, way: str) -> dict[str, Any]:
    """Wall seconds of a sweep, its steps, steady milliseconds per step and run, and the share of codes active at the end."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "sweep"
        began, used = time.perf_counter(), _cpu_seconds()
        subprocess.run(command(data, arithmetic, epochs, way, str(out)), check=True, stdout=subprocess.DEVNULL)
        seconds, cpu = time.perf_counter() - began, _cpu_seconds() - used
        pace: list[float] = []
        steps = 0
        for file in out.glob("*/metrics.jsonl"):
            trained = [r for r in map(json.loads, file.read_text().splitlines()) if r["kind"] == "train"]
            first, last = trained[0], trained[-1]
            steps = last["step"]
            pace.append((last["seconds"] - first["seconds"]) / (last["step"] - first["step"]))
        results = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    active = {
        r["overrides"]["model.corruption.sigma"]: r["measures"]["scores"]["encode"]["active_fraction"] for r in results
    }
    # processes share the cores, two or eight; the members of a stack share one clock
    per_step = statistics.mean(pace) / (2 if way == "processes" else len(SIGMAS))
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "steps": steps,
        "ms": 1e3 * per_step,
        "active": [active[s] for s in SIGMAS],
    }


def floor(data: str, steps: int = 20) -> float:
    """Milliseconds per step and run of the five products of a dense step alone, the median of so many."""
    n, k, batch = {"latents": 256, "mnist": 784}[data], 1000, 1024
    cores = torch.get_num_threads()
    took: list[float] = []

    def multiply() -> None:
        torch.set_num_threads(1)  # of this thread
        x, z, weight, grad = torch.randn(n, batch), torch.randn(k, batch), torch.randn(k, n), torch.empty(k, n)
        for _ in range(steps):
            began = time.perf_counter()
            torch.mm(weight, x, out=z)
            torch.mm(weight.T, z)
            torch.mm(weight, x, out=z)
            torch.mm(z, x.T, out=grad)
            torch.mm(z, x.T, out=grad)
            took.append(time.perf_counter() - began)

    runs = [threading.Thread(target=multiply) for _ in range(cores)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    torch.set_num_threads(cores)
    return 1e3 * statistics.median(took) / cores


def short(epochs: float = 1) -> dict[str, float]:
    """Ratios of the steady state: processor time of training alone, one run after the other, and stacked."""
    splits = None
    fabric = launch("32-true", "cpu")

    def sessions(arithmetic: str, epochs: float) -> list[TrainingSession]:
        nonlocal splits
        result: list[TrainingSession] = []
        for sigma in SIGMAS:
            values = {**settings("latents", arithmetic, epochs), "model.corruption.sigma": sigma}
            config = assign(RECIPES["noise-digits"](), tuple(f"{path}={value}" for path, value in values.items()))
            splits = splits or config.data.load()
            planned = resolve(config, clock(config.train, splits.training.n))
            model = build_model(planned.model, splits.shape, config.seed)
            result.append(open_session(model, splits, planned.optim, config.train, config.seed, fabric=fabric))
        return result

    def timed(arithmetic: str, stack: bool, epochs: float) -> float:
        several = sessions(arithmetic, epochs)
        began = time.process_time()
        if stack:
            failed = train_stacked(Stacked([session.model for session in several]), several)
            if failed:
                raise next(iter(failed.values()))
        else:
            for session in several:
                train_alone(session)
        return time.process_time() - began

    for arithmetic, stack in (("exact", False), ("exact", True), ("bf16", True)):
        timed(arithmetic, stack, epochs / 23)  # first allocations
    alone = timed("exact", False, epochs)
    return {
        f"latents, {arithmetic}: steps": alone / timed(arithmetic, True, epochs) for arithmetic in ("exact", "bf16")
    }


def _cpu_seconds() -> float:
    """Of all processes that have ended: less disturbed by neighbours than wall time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(data: str, repeats: int, epochs: float) -> list[dict[str, Any]]:
    """The lines of one data set, sweeps in turn."""
    cases = [("all at once", "exact"), ("processes", "exact"), ("stacked", "exact"), ("stacked", "bf16")]
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {case: [] for case in cases}
    for _ in range(repeats):
        for way, arithmetic in cases:
            runs[way, arithmetic].append(run(data, arithmetic, epochs, way))
    middle = {
        case: {key: statistics.median(r[key] for r in result) for key in ("seconds", "cpu_seconds", "ms")}
        for case, result in runs.items()
    }
    base = middle["all at once", "exact"]
    return [
        {
            "data": data, "backend": way, "arithmetic": arithmetic, "steps": runs[way, arithmetic][0]["steps"],
            **middle[way, arithmetic], "times_faster": base["seconds"] / middle[way, arithmetic]["seconds"],
            "times_less_cpu": base["cpu_seconds"] / middle[way, arithmetic]["cpu_seconds"],
            "times_faster_steady": base["ms"] / middle[way, arithmetic]["ms"],
            "all_seconds": [r["seconds"] for r in runs[way, arithmetic]],
            "active": runs[way, arithmetic][-1]["active"],
        }
        for way, arithmetic in cases
    ]  # fmt: skip


def main() -> None:
    """Measure, print, save."""
    chosen = sys.argv[1:2] if sys.argv[1:] else ["latents" if os.environ.get("SPARSECODE_DATA") else "mnist"]
    repeats, epochs = int((sys.argv[2:] or ["3"])[0]), float((sys.argv[3:] or ["5"])[0])
    rows = [row for data in chosen for row in measure(data, repeats, epochs)]
    floors = {data: floor(data) for data in chosen}
    show(
        f"eight noise levels, 1000 codes, batches of 1024, {torch.get_num_threads()} cores; median of {repeats} in turn",
        ["data, backend, arithmetic", "steps", "seconds", "times faster", "of cores", "times less", "ms / step and run", "times faster"],
        [
            [
                f"{row['data']}, {row['backend']}, {row['arithmetic']}", str(row["steps"]), f"{row['seconds']:.1f}",
                f"{row['times_faster']:.2f}", f"{row['cpu_seconds']:.1f}", f"{row['times_less_cpu']:.2f}", f"{row['ms']:.1f}", f"{row['times_faster_steady']:.2f}",
            ]
            for row in rows
        ],
        "seconds: whole commands, with start-up, reading, evaluation and pictures, and what they took of all cores together; ms: the steady state of training "
        f"alone; five float32 products alone: {', '.join(f'{data} {ms:.1f} ms' for data, ms in floors.items())}",
    )  # fmt: skip
    print(f"saved to {save('sweep', {'rows': rows, 'products_ms': floors})}")


if __name__ == "__main__":
    main()
