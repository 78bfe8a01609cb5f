"""What runs on a GPU, checked in less than four minutes: contract tests, a training that resumes, a table of step times.

    make gpu-check
    python benchmarks/gpu_check.py --device cpu      # the script itself, on any machine: small sizes

Without a GPU it says so, runs what the CPU can, and ends with 0; a check that fails ends it with 1. --json writes the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import torch

import sparsecode as sc
from sparsecode.losses import AuxK
from sparsecode.models import Amortised
from sparsecode.models.amortised import AmortisedModel
from sparsecode.nn import TopK
from sparsecode.ops.rng import Stream
from sparsecode.records import Batch, Event

ROOT = Path(__file__).parents[1]
LIMIT = 220.0  # seconds for all parts
SIZES = {
    "cuda": [(768, 24_576, 32, 4096), (2304, 65_536, 64, 4096)],
    "cpu": [(128, 1024, 16, 256)],
}  # d, codes, k, batch
BYTES = 30  # per weight: itself, its gradient, two moments, and half as much again


def main() -> int:
    """Run all parts; the number of those that failed is the exit code, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is one")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    start = time.monotonic()
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    print(described(device), flush=True)
    results: dict[str, Any] = {"device": described(device), "torch": torch.__version__}
    failed: list[str] = []
    for name, part in (("contract tests", tests), ("training", training), ("step times", timings)):
        left = LIMIT - (time.monotonic() - start)
        if left < 10:
            print(f"{name}: left out, {LIMIT:.0f} s are over", flush=True)
            continue
        try:
            results[name] = part(device, left)
            print(f"{name}: {results[name]}" if isinstance(results[name], str) else f"{name}: done", flush=True)
        except Exception as error:  # the other parts are still worth running
            failed.append(name)
            results[name] = f"failed: {error}"
            print(f"{name}: FAILED: {error}", flush=True)
    print(f"{time.monotonic() - start:.0f} s; {'failed: ' + ', '.join(failed) if failed else 'all passed'}")
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=2) + "\n")
    return bool(failed)


def described(device: str) -> str:
    """The device in words."""
    if device == "cuda":
        about = torch.cuda.get_device_properties(0)
        return f"{about.name}, {about.total_memory / 1e9:.0f} GB, compute capability {about.major}.{about.minor}, CUDA {torch.version.cuda}"
    there = "not used" if torch.cuda.is_available() else "no CUDA device here"
    return f"CPU with {torch.get_num_threads()} threads ({there}): what needs a GPU is skipped"


def tests(device: str, left: float) -> str:
    """The contract tests of devices, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract/test_devices.py"]
    hidden = {} if device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **hidden}, capture_output=True, text=True, timeout=left, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:])
    return done.stdout.strip().splitlines()[-1]


def training(device: str, left: float) -> str:
    """digits-topk in float32 and bf16, stopped and gone on with: the same bits on this device, and the score of the CPU."""
    del left
    words: list[str] = []
    with tempfile.TemporaryDirectory() as home:
        for precision in ("float32", "bf16"):
            base = sc.RECIPES["digits-topk"]()
            config = msgspec.structs.replace(
                base, train=msgspec.structs.replace(base.train, epochs=8.0, precision=precision)
            )

            def stop(event: Event) -> str | None:
                return "enough" if event.step == 70 else None

            whole = sc.run(config, f"{home}/{precision}", accelerator=device, figures=False)
            parts = Path(home, f"{precision}-parts")
            sc.run(config, parts, accelerator=device, figures=False, observers=[stop])
            again = sc.run(config, parts, accelerator=device, figures=False)
            models = [run.folder.best_model().state_dict() for run in (whole, again)]
            same = all(torch.equal(value, models[1][name]) for name, value in models[0].items())
            assert whole.evaluation is not None
            explained = whole.evaluation.scores["encode"].explained_variance
            if not same:
                raise RuntimeError(f"{precision}: a training that was resumed ends in other bits")
            if explained is None or explained < 0.7:
                raise RuntimeError(f"{precision}: explained variance {explained}; expected above 0.7")
            words.append(f"{precision} explained variance {explained:.4f}, resumed to the same bits")
    return "; ".join(words)


def timings(device: str, left: float) -> list[dict[str, Any]]:
    """Milliseconds of whole training steps of top-k models and the peak of memory, in float32, with TF32, and in bf16."""
    begin, rows = time.monotonic(), list[dict[str, Any]]()
    for d, n_code, k, batch in SIZES[device]:
        if device == "cuda" and 2 * d * n_code * BYTES > torch.cuda.mem_get_info()[0]:
            print(f"  {d} x {n_code}: more than the GPU's memory", flush=True)
            continue
        for name, low, tf32 in (("float32", False, False), ("TF32", False, True), ("bf16", True, False)):
            if (tf32 and device == "cpu") or time.monotonic() - begin > left - 20:
                continue
            torch.backends.cuda.matmul.allow_tf32 = tf32
            row = {
                "d": d,
                "n_code": n_code,
                "k": k,
                "batch": batch,
                "precision": name,
                **timed(device, d, n_code, k, batch, low),
            }
            rows.append(row)
            print("  " + ", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    torch.backends.cuda.matmul.allow_tf32 = False
    return rows


def timed(device: str, d: int, n_code: int, k: int, batch: int, low: bool) -> dict[str, float]:
    """The median of ten steps after three, by Adam."""
    spec = Amortised(n_code=n_code, activation=TopK(k=k), terms=(AuxK(dead_after=10**9),), arithmetic="dense")
    model: AmortisedModel = spec.build((d,), seed=0).to(device).train()
    model.in_bf16 = low
    x = torch.randn(batch, d, generator=torch.Generator().manual_seed(0)).to(device)
    adam = torch.optim.Adam(model.parameters(), lr=1e-4)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times: list[float] = []
    for step in range(13):
        wait(device)
        start = time.perf_counter()
        adam.zero_grad()
        model.loss(Batch(x), step, Stream(0, step)).total.backward()
        model.project_grads_()
        adam.step()
        model.constrain_()
        wait(device)
        times.append(time.perf_counter() - start)
    peak = {"peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2)} if device == "cuda" else {}
    return {"ms": round(1e3 * statistics.median(times[3:]), 2), **peak}


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
