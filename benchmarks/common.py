"""What the benchmarks share: interleaved timing, a table, and a JSON result that describes the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from sparsecode.train.fit_state import FitState

RESULTS = Path(__file__).parent / "results"


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    repeats: int = 5,
    warm: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each run by `clock`, `repeats` times, in turn, so that a noisy neighbour disturbs all alike.

    With `warm`, each is run once before, untimed: compilation and first allocations are not what is compared.
    """
    if warm:
        for run in runs.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            began = clock()
            run()
            seconds[name].append(clock() - began)
    return seconds


def share_of_products(run: Callable[[], object]) -> float:
    """The share of torch's matrix products in the time of all of torch's operations in `run`."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        run()
    seconds = {operation.key: operation.self_cpu_time_total for operation in recorded.key_averages()}
    return sum(seconds.get(f"aten::{name}", 0) for name in ("mm", "addmm", "bmm", "baddbmm")) / sum(seconds.values())


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each run's seconds."""
    return {name: statistics.median(times) for name, times in seconds.items()}


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str | None = None) -> None:
    """Print a table; columns after the first are numbers and stand to the right."""
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def machine(*packages: str) -> dict[str, Any]:
    """The processor, its cores, the threads in use, and versions of torch, numpy, Python and `packages`."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "units": units(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("sparsecode", "torch", "numpy", *packages)},
    }


def ended(state: FitState) -> None:
    """Raises SystemExit if a training was stopped before its end: then nothing is measured or saved."""
    if state.stopped_by:
        raise SystemExit(f"a training was stopped at step {state.step}, so that nothing is saved")


def save(name: str, result: Mapping[str, Any], packages: Sequence[str] = ()) -> Path:
    """Write `result` and the machine's description to results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(*packages), **result}, indent=2) + "\n")
    return path


def stored(name: str) -> Any:
    """What results/NAME.json holds."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def units() -> list[str]:
    """Which of the units for narrow numbers the processor has, on Linux."""
    return sorted({"avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8"} & set(_of_cpu("flags").split()))


def _of_cpu(field: str) -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith(field):
                return line.split(":", 1)[1].strip()
    return ""


def _cpu() -> str:
    return _of_cpu("model name") or platform.processor() or platform.machine()
