"""Time to the first result: whole processes from their start, with an empty cache of kernels and with a full one.

Each row is the median over several processes, in turn, of seconds by the clock and of processor seconds (user and system, of the
process and of those that it started). The processor's are those to compare on a machine that others use too.

    python benchmarks/start.py [--repeats 5] [--label before]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common import RESULTS, machine, show

SAMPLES = (
    "import numpy as np; r = np.random.default_rng(0); x, D = r.normal(size=(100, 64)), r.normal(size=(128, 64)); "
)
RUN = "runs/toy"
TRAIN = ["-m", "sparsecode", "train", "digits-topk", "--train.epochs", "0.05", "--out"]
FIRST_STEP = """
import sys
from sparsecode.cli import main
from sparsecode.train import session
def stop(*_):
    import os
    os._exit(0)
session.TrainingSession._advance = stop
main()
"""
SPLIT = """
import atexit, os, sys
import torch
imported = sum(os.times()[:4])
atexit.register(lambda: print(f"\\n{imported} {sum(os.times()[:4]) - imported}", flush=True))
"""


class Work(NamedTuple):
    """A process: the words after `python`, and whether its cost with an empty cache is measured, too."""

    words: Sequence[str]
    cold: bool = False


def works(fresh: Path) -> dict[str, Work]:
    """What is measured, by name; `fresh` is a folder for what is written."""
    encode = SAMPLES + "import sparsecode as sc; sc.sparse_encode(x, D, alpha=1.0)"
    encode32 = SAMPLES + "import sparsecode as sc; sc.sparse_encode(x.astype('f4'), D.astype('f4'), alpha=1.0)"
    missing = SAMPLES + "import sparsecode as sc; sc.sparse_encode(x, D, alpha=1.0, mask=x < 1)"
    pursue = SAMPLES + "import sparsecode as sc; sc.omp_encode(x, D, 5)"
    learn = SAMPLES + "import sparsecode as sc; sc.learn_dictionary(x, 16, 1.0, epochs=1)"
    fit = "import sparsecode as sc; from sklearn.datasets import load_digits; x = load_digits().data / 16; sc.SparseAutoencoder(n_components=128, k=8, epochs=1).fit(x)"
    cli = ["-m", "sparsecode"]
    return {
        "import torch": Work(["-c", "import torch"]),
        "import torch, sklearn.datasets": Work(["-c", "import torch; from sklearn.datasets import load_digits; load_digits()"]),
        "import sparsecode": Work(["-c", "import sparsecode"]),
        "sparse_encode": Work(["-c", encode], cold=True),
        "sparse_encode, float32": Work(["-c", encode32], cold=True),
        "sparse_encode, missing entries": Work(["-c", missing], cold=True),
        "omp_encode": Work(["-c", pursue], cold=True),
        "learn_dictionary": Work(["-c", learn], cold=True),
        "SparseAutoencoder().fit": Work(["-c", fit], cold=True),
        "train, to its first step": Work(["-c", FIRST_STEP, *TRAIN[2:], str(fresh / "first")], cold=True),
        "train, one step": Work([*TRAIN, str(fresh / "whole")], cold=True),
        "train, one step, no figures": Work([*TRAIN, str(fresh / "bare"), "--no-figures"]),
        "eval": Work([*cli, "eval", RUN]),
        "plot": Work([*cli, "plot", RUN]),
        "encode": Work([*cli, "encode", RUN, "--split", "test", "--out", str(fresh / "codes.npz"), "--force"]),
        "runs ls": Work([*cli, "runs", "ls", "runs"]),
        "--help": Work([*cli, "--help"]),
        "train digits-topk --help": Work([*cli, "train", "digits-topk", "--help"]),
        "plot --help": Work([*cli, "plot", "--help"]),
    }  # fmt: skip


def with_cache(cache: Path) -> dict[str, str]:
    """The environment of a process that keeps its kernels there, and Python's byte code beside the sources, as is usual."""
    without = ("NUMBA_CACHE_DIR", "PYTHONDONTWRITEBYTECODE")
    return {key: value for key, value in os.environ.items() if key not in without} | {"SPARSECODE_CACHE": str(cache)}


def timed(work: Work, folder: Path, cache: Path) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *work.words], cwd=folder, env=with_cache(cache), stdout=subprocess.DEVNULL
    )
    _, status, use = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(work.words)}: exit code {process.returncode}")
    return seconds, use.ru_utime + use.ru_stime


def after_torch(work: Work, folder: Path, cache: Path) -> tuple[float, float]:
    """Processor seconds that a process takes until torch is imported, and from there to its end."""
    kind, code, *arguments = work.words
    code = code if kind == "-c" else f"import runpy; runpy.run_module({code!r}, run_name='__main__')"
    process = subprocess.run(
        [sys.executable, "-c", SPLIT + code, *arguments],
        cwd=folder,
        env=with_cache(cache),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise SystemExit(f"{' '.join(work.words)}: exit code {process.returncode}\n{process.stderr}")
    before, after = process.stdout.split()[-2:]
    return float(before), float(after)


def short(repeats: int = 5) -> dict[str, float]:
    """Ratios: what a process takes until torch is imported, over what it takes from there on; of one process, as differences between
    processes are mostly noise.
    """  # fmt: skip
    rows = {
        "sparse_encode": ("sparse_encode", False),
        "train, one step, no figures": ("train, one step, no figures", False),
        "sparse_encode, cold": ("sparse_encode", True),
    }
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder, fresh = Path(place), Path(place) / "fresh"
        table = works(fresh)
        for turn in range(repeats + 1):
            for row, (name, cold) in rows.items():
                shutil.rmtree(fresh, ignore_errors=True)
                fresh.mkdir()
                before, after = after_torch(table[name], folder, folder / (f"empty{turn}" if cold else "cache"))
                if turn:  # the first fills the cache
                    ratios.setdefault(row, []).append(before / after)
    return {f"import torch / ({row}, after it)": statistics.median(values) for row, values in ratios.items()}


def main() -> None:
    """Measure, print the table, and write it under its label into a file of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cold-repeats", type=int, default=3)
    parser.add_argument("--label", default="now")
    parser.add_argument("--note", default="", help="what the label stands for")
    parser.add_argument("--name", default="start", help="of the file of results")
    parser.add_argument("--only", nargs="*", help="names of rows")
    chosen = parser.parse_args()
    seconds: dict[str, list[tuple[float, float]]] = {}
    after: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place), Path(place) / "cache"
        fresh = folder / "fresh"
        table = {name: work for name, work in works(fresh).items() if not chosen.only or name in chosen.only}
        if not chosen.only:
            timed(Work([*TRAIN, RUN]), folder, cache)
            timed(Work(["-m", "sparsecode", "train", "digits-topk", "--help"]), folder, cache)
        for work in table.values():  # what fills the cache
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            timed(work, folder, cache)
        for turn in range(chosen.repeats):
            for name, work in table.items():
                shutil.rmtree(fresh, ignore_errors=True)
                fresh.mkdir()
                seconds.setdefault(name, []).append(timed(work, folder, cache))
                if work.cold and FIRST_STEP not in work.words:  # which ends without what is called at an exit
                    shutil.rmtree(fresh)
                    fresh.mkdir()
                    after.setdefault(name, []).append(after_torch(work, folder, cache)[1])
                if work.cold and turn < chosen.cold_repeats:
                    shutil.rmtree(fresh)
                    fresh.mkdir()
                    empty = Path(tempfile.mkdtemp(dir=folder))
                    seconds.setdefault(f"{name}, cold", []).append(timed(work, folder, empty))
    medians = {
        name: {"wall": statistics.median(w for w, _ in times), "processor": statistics.median(p for _, p in times)}
        for name, times in seconds.items()
    }
    beyond = {name: statistics.median(times) for name, times in after.items()}
    rows = [
        (name, f"{each['wall']:.2f}", f"{each['processor']:.2f}", f"{beyond[name]:.2f}" if name in beyond else "")
        for name, each in medians.items()
    ]
    head = ["process", "clock", "processor", "processor, after torch is imported"]
    show("From the start of the process to its end, seconds", head, rows)
    path = RESULTS / f"{chosen.name}.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    record["machine"] = machine("numba", "matplotlib")
    record[chosen.label] = {"note": chosen.note, "medians": medians, "after_torch": beyond, "seconds": seconds}
    path.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
