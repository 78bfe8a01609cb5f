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
main(sys.argv[1:])
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


def timed(work: Work, folder: Path, cache: Path) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    environment = {**os.environ, "SPARSECODE_CACHE": str(cache)}
    environment.pop("NUMBA_CACHE_DIR", None)
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *work.words], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, use = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(work.words)}: exit code {process.returncode}")
    return seconds, use.ru_utime + use.ru_stime


def short(repeats: int = 4) -> dict[str, float]:
    """Ratios: `import torch` over what a process takes beyond it, and beyond a warm one, in processor seconds."""
    names = ("import torch", "sparse_encode", "train, one step, no figures")
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder, fresh = Path(place), Path(place) / "fresh"
        table = {name: work for name, work in works(fresh).items() if name in names}

        def once(name: str, label: str, cache: Path) -> None:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            seconds.setdefault(label, []).append(timed(table[name], folder, cache)[1])

        for name in names:
            once(name, "not counted", folder / "cache")
        for turn in range(repeats):
            for name in names:
                once(name, name, folder / "cache")
            once("sparse_encode", "sparse_encode, cold", folder / f"empty{turn}")
    actual = {name: min(times) for name, times in seconds.items()}  # differences of medians are mostly noise
    pairs = [(name, "import torch") for name in names[1:]] + [("sparse_encode, cold", "sparse_encode")]
    return {
        f"import torch / ({name} less {less})": actual["import torch"] / (actual[name] - actual[less])
        for name, less in pairs
    }


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
                if work.cold and turn < chosen.cold_repeats:
                    shutil.rmtree(fresh)
                    fresh.mkdir()
                    empty = Path(tempfile.mkdtemp(dir=folder))
                    seconds.setdefault(f"{name}, cold", []).append(timed(work, folder, empty))
    medians = {
        name: {"wall": statistics.median(w for w, _ in times), "processor": statistics.median(p for _, p in times)}
        for name, times in seconds.items()
    }
    rows = [(name, f"{each['wall']:.2f}", f"{each['processor']:.2f}") for name, each in medians.items()]
    show("From the start of the process to its end, seconds", ["process", "clock", "processor"], rows)
    path = RESULTS / f"{chosen.name}.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    record["machine"] = machine("numba", "matplotlib")
    record[chosen.label] = {"note": chosen.note, "medians": medians, "seconds": seconds}
    path.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
