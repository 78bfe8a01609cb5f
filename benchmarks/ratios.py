"""All ratios of the speed benchmarks in one table, with what is wanted and the machine; or a short measurement of some, as JSON.

    python benchmarks/ratios.py              # the table, from benchmarks/results
    python benchmarks/ratios.py lasso path   # short measurements, of all benchmarks with `all`; --save keeps them in results/ratios.json

The short measurements are the guards of `make test-speed`: the main ratios of each benchmark at its smallest sizes, one thread,
processor time, which neighbours disturb least. They are compared with those kept for processors of the same vector width, which
the same code measured: ratios of the whole benchmarks are of other sizes, of two threads, of wall seconds.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["GUARDED", "KEPT", "Ratio", "comparable", "kept", "kept_table", "ratios", "table"]

ROOT = Path(__file__).parents[1]
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
GUARDED = (
    "lasso", "dictionary", "training", "autoencoders", "variational", "sweep", "path", "correlated", "fired_rows", "estimators", "start",
)  # fmt: skip
KEPT = 0.7
NARROW = ("autoencoders", "sweep")  # whose ratios depend on units for bfloat16 or 8-bit integers
ANYWHERE = ("start",)  # whose ratios do not depend on the processor: imports on both sides


TOL_OF_LASSO = 1e-6
WANTED_OF_LASSO = {
    "easy": {"SPAMS lasso (LARS), f64": 20.0, "SPAMS cd, f32": 6.0},
    "hard": {"SPAMS lasso (LARS), f64": 6.0, "scikit-learn, tuned, f32": 9.8, "plain torch FISTA": 34.0},
}


class Ratio(NamedTuple):
    """How many times less than the other side ours takes; `wanted` is None where no aim was set."""

    benchmark: str
    what: str
    value: float
    wanted: float | None
    measure: str
    machine: dict[str, Any]


Rows = Iterator[tuple[str, float, float | None, str]]


def _lasso(result: Any) -> Rows:
    kind = result["problem"].split(":")[0]
    wanted = WANTED_OF_LASSO.get(kind, {})
    for name, row in result["results"].items():
        if not name.startswith(("sparse_encode", "omp_encode")):
            gap = row.get("suboptimality", 0.0)
            missed = f" (no nearer than {gap:.0e})" if gap > TOL_OF_LASSO else ""
            yield f"{kind}: {name}{missed}", row["times_ours"], wanted.get(name), "s"


def _dictionary(result: Any) -> Rows:
    for row in result["rows"]:
        if row["ours"] is not None:
            yield f"to its objective after 30 s: {row['peer']}", row["seconds"] / row["ours"], 25.0, "s"


def _training(result: Any) -> Rows:
    unit = "cpu s" if "processor" in result["unit"] else "s"
    for row in result["rows"]:
        if row["training"] == "ours":
            wanted = 3.0 if row["model"].startswith("mnist-vdl-nl") else None
            yield f"{row['model']}: plain loop", row["ratio"], wanted, unit


def _autoencoders(result: Any) -> Rows:
    narrow = result["machine"]["capability"].startswith("AVX512")
    for row in result["rows"]:
        seconds, kind, (d, m) = row["cpu_seconds"], row["kind"], row["size"]
        for peer, value in seconds.items():
            if value is None or peer.startswith("ours"):
                continue
            if peer.startswith("sparsify"):
                wanted = 3.0 if narrow else 2.0
            elif peer != "saelens":
                wanted = None
            elif kind == "topk":
                wanted = 10.0 if narrow else 6.0
            else:
                wanted = 2.0 if row["l0"] == "start" else 10.0 if m >= 12288 else 3.0
            yield f"{kind} {d}x{m}, L0 {row['l0']}: {peer}", value / seconds["ours"], wanted, "cpu s"


def _variational(result: Any) -> Rows:
    for row in result["rows"]:
        if row["training"] == "ours":
            yield f"{row['model']}: usual loop", row["ratio"], 5.0, "s"


def _sweep(result: Any) -> Rows:
    for row in result["rows"]:
        if row["backend"] == "stacked":
            words, wanted = f"{row['data']}, {row['arithmetic']}", 3.0 if row["arithmetic"] == "exact" else None
            yield f"{words}: eight processes", row["times_faster"], wanted, "s"
            yield f"{words}: steps", row["times_faster_steady"], None, "s"


def _path(result: Any) -> Rows:
    for name, row in result["results"].items():
        yield f"{name}: separate calls", 1 / row["ratio"], None, "cpu s"


def _correlated(result: Any) -> Rows:
    for n_code, kind in dict.fromkeys((row["n_code"], row["atoms"]) for row in result["rows"]):
        rows = [row for row in result["rows"] if (row["n_code"], row["atoms"]) == (n_code, kind)]
        times = [row["microseconds"] for row in rows]
        incoherent = min(each["same share"] / each["ours"] for each in times)
        yield f"{n_code}, {kind}, at the worst weight: incoherent atoms", incoherent, 0.5, "cpu s"
        peers = [min(row["peers"].values()) / row["microseconds"]["ours"] for row in rows if "peers" in row]
        if peers:
            yield f"{n_code}, {kind}, at the worst weight: the fastest peer", min(peers), None, "cpu s"


def _fired_rows(result: Any) -> Rows:
    for point in result["points"]:
        if point["bytes"]["fired"] < point["bytes"]["all"]:
            ratio = point["seconds"]["all, processor"] / point["seconds"]["fired, processor"]
            yield f"{100 * point['fired']:.0f} % of the rows: sums of all rows", ratio, None, "cpu s"


def _estimators(result: Any) -> Rows:
    seconds = {(row["data"], row["estimator"]): row["seconds"] for row in result["rows"]}
    for data in dict.fromkeys(data for data, _ in seconds):
        for peer in ("MiniBatchDictionaryLearning",):
            ratio = seconds[data, peer] / seconds[data, "SparseDictionary"]
            yield f"{data}: {peer}", ratio, None, "cpu s"


def _start(result: Any) -> Rows:
    before, now = (result[label]["medians"] for label in ("before", "now"))
    for name, each in now.items():
        if not name.startswith("import torch"):
            ratio = before[name]["processor"] / each["processor"]
            yield f"{name}: as it was before", ratio, None, "cpu s"


FILES: dict[str, tuple[str, Callable[[Any], Rows]]] = {
    "lasso-easy": ("lasso", _lasso),
    "lasso-hard": ("lasso", _lasso),
    "lasso-omp": ("lasso", _lasso),
    "dictionary": ("dictionary", _dictionary),
    "training": ("training", _training),
    "autoencoders": ("autoencoders", _autoencoders),
    "autoencoders-avx2": ("autoencoders", _autoencoders),
    "variational": ("variational", _variational),
    "sweep": ("sweep", _sweep),
    "path": ("path", _path),
    "correlated": ("correlated", _correlated),
    "fired-rows": ("fired_rows", _fired_rows),
    "estimators": ("estimators", _estimators),
    "start": ("start", _start),
}


def _result(root: Path, name: str) -> Any:
    return json.loads((root / f"benchmarks/results/{name}.json").read_text())


def ratios(root: Path = ROOT) -> list[Ratio]:
    """All ratios of the results under `root`, in the order of the benchmarks."""
    return [
        Ratio(benchmark, what, value, wanted, measure, result["machine"])
        for name, (benchmark, rows) in FILES.items()
        for result in (_result(root, name),)
        for what, value, wanted, measure in rows(result)
    ]


def table(root: Path = ROOT) -> tuple[list[tuple[str, ...]], list[str]]:
    """The table, its head first, and the machines that its last column numbers from 1."""
    every = ratios(root)
    machines = list(dict.fromkeys(_words(ratio.machine) for ratio in every))
    rows = [
        (
            ratio.benchmark,
            ratio.what,
            f"{ratio.value:.2f}",
            "" if ratio.wanted is None else f"{ratio.wanted:g}",
            ratio.measure,
            str(machines.index(_words(ratio.machine)) + 1),
        )
        for ratio in every
    ]
    return [("benchmark", "the other side", "times faster", "wanted", "in", "machine"), *rows], machines


def _words(machine: dict[str, Any]) -> str:
    threads = machine["threads"]
    return f"{machine['cpu']}, {machine['capability']}, {threads} thread{'s' if threads > 1 else ''}"


def kept(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """The short measurements in results/ratios.json: by vector width, and there per benchmark the machine and the ratios."""
    return _result(root, "ratios")


def kept_table(root: Path = ROOT) -> list[tuple[str, ...]]:
    """The short measurements, a column for each vector width, their head first."""
    widths = kept(root)
    names = {(name, what): None for records in widths.values() for name in records for what in records[name]["ratios"]}
    rows = [
        (name, what, *(_cell(records.get(name, {"ratios": {}})["ratios"].get(what)) for records in widths.values()))
        for name, what in names
    ]
    return [("benchmark", "the other side", *widths), *rows]


def _cell(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f} ({KEPT * ratio:.2f})"


def comparable(benchmark: str, here: dict[str, Any], root: Path = ROOT) -> dict[str, float] | str:
    """The ratios kept that a measurement on the machine `here` is compared with; or why there are none.

    Another name of the processor is no reason, another vector width is: both sides gain from it, but not alike. Where ours uses
    units for bfloat16 or 8-bit integers and peers do not, those of that machine must be here.
    """
    widths = {capability: records for capability, records in kept(root).items() if benchmark in records}
    if benchmark in ANYWHERE and widths:
        return next(iter(widths.values()))[benchmark]["ratios"]
    if here["capability"] not in widths:
        others = f"; measured with {', '.join(widths)}" if widths else ""
        return f"no measurement of {benchmark} with {here['capability']} ({here['cpu']}) is kept{others}"
    record = widths[here["capability"]][benchmark]
    there = record["machine"]
    missing = sorted(set(there["units"]) - set(here["units"])) if benchmark in NARROW else []
    if missing:
        return f"measured on {there['cpu']} with {', '.join(missing)}, which {here['cpu']} lacks"
    return record["ratios"]


def _keep(name: str, record: dict[str, Any]) -> None:
    """Store a short measurement in the place of the one with the same vector width."""
    widths = kept()
    records = {**widths.get(record["machine"]["capability"], {}), name: record}
    widths[record["machine"]["capability"]] = {key: records[key] for key in GUARDED if key in records}
    (ROOT / "benchmarks/results/ratios.json").write_text(json.dumps(widths, indent=2) + "\n")


def main() -> None:
    """The table, or ratios measured now, one line of JSON for each benchmark."""
    names = [name for name in sys.argv[1:] if name != "--save"]
    if not names:
        from common import show

        (head, *rows), machines = table()
        lines = "; ".join(f"{i}: {words}" for i, words in enumerate(machines, 1))
        show("Times faster than the other side, on the same machine", head, rows, f"machines: {lines}")
        return
    os.environ.update(dict.fromkeys(ONE_THREAD, "1") | {"OMP_WAIT_POLICY": "passive"})
    import torch
    from common import machine

    torch.set_num_threads(1)
    for name in GUARDED if names == ["all"] else names:
        if name not in GUARDED:
            raise SystemExit(f"{name}: no such benchmark; choose from {', '.join(GUARDED)}, or all")
        record = {"machine": machine(), "ratios": import_module(name).short()}
        print(json.dumps({"benchmark": name, **record}), flush=True)
        if "--save" in sys.argv:
            _keep(name, record)


if __name__ == "__main__":
    main()
