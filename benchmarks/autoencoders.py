"""Training steps of sparse autoencoders: ours beside SAELens, dictionary_learning and sparsify, on the same activations.

TopK (k = 32) at four sizes, L1 and JumpReLU at three, both at the start, where half of the codes are active, and with
biases or thresholds at which 100 are. Batches of 4096 rows of layer 3 of a MiniLM transformer (384 features; 768: two
neighbouring tokens side by side), float32, the same for all. Everybody takes whole steps with what their library puts
into one: clipping, dead-code tracking and AuxK where it has them. Ours runs what `fit` runs. The peers run their own
trainer's step at its defaults; sparsify's trainer needs a language model around it, so that its step is repeated here line by
line, with both of its optimisers, the faster one counting; it clips nothing. dictionary_learning imports a library that is
of no use here; an empty stand-in takes its place.

`dense` in the table is our model in plain torch. The roofline is the fastest step of five dense float32 products of
matrices, at the speed that torch reaches in this very run. A second table follows losses over steps, with codes found in
float32 and bfloat16 beside dense ones, and which of the 32 codes bfloat16 misses. Needs acts_minilm_l3_wikitext2_16k_f16.npz
in $SPARSECODE_DATA.
"""

# peers are in another environment than pyright
# pyright: reportMissingImports=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportOptionalMemberAccess=false, reportUnusedExpression=false

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autoencoder_steps import BATCH, PARTS, K, contenders, shares, spec
from common import RESULTS, save, show, units
from torch import Tensor

from sparsecode.models.amortised import AmortisedModel
from sparsecode.ops.rng import Stream
from sparsecode.ops.sparse_codes import select_top
from sparsecode.records import Batch
from sparsecode.train.optim import Adam, Clip, Optim, build
from sparsecode.train.steps import AutogradSteps

SIZES = {"topk": ((384, 3072), (384, 12288), (768, 6144), (768, 24576))}
SIZES["l1"] = SIZES["jumprelu"] = SIZES["topk"][:3]
ACTIVE = 100
REPEATS, SLOW = 5, 3  # timed steps of ours, and of peers that take more than a second


def activations(d: int) -> list[Tensor]:
    """Batches [4096, d], less the mean."""
    path = Path(os.environ["SPARSECODE_DATA"]) / "acts_minilm_l3_wikitext2_16k_f16.npz"
    rows = torch.from_numpy(np.load(path)["acts"].astype(np.float32))
    rows = rows - rows.mean(dim=0)
    if d == 2 * rows.shape[1]:
        rows = torch.cat([rows, rows.roll(1, dims=0)], dim=1)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return [batch.contiguous() for batch in rows[order].split(BATCH)]


def level_of(d: int, m: int, x: Tensor) -> float:
    """The value that 100 products of a sample with m random directions exceed on average."""
    directions = torch.nn.functional.normalize(torch.randn(m, d, generator=torch.Generator().manual_seed(1)), dim=1)
    products = (x[:256] @ directions.T).flatten()
    return float(products.kthvalue(round(products.numel() * (1 - ACTIVE / m))).values)


def peak(d: int, m: int) -> float:
    """GFLOP/s of torch's float32 product at this size, the best of three."""
    x, w, best = torch.randn(BATCH, d), torch.randn(m, d), 0.0
    out = torch.empty(BATCH, m)
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for _ in range(4):
        began = clock()
        torch.mm(x, w.T, out=out)
        best = max(best, 2 * BATCH * d * m / 1e9 / (clock() - began))
    return best


def measure(kind: str, d: int, m: int, sparse: bool, only: list[str], repeats: int = REPEATS) -> dict[str, Any]:
    """One line of the table: seconds per step of each, in turn."""
    batches = activations(d)
    level = level_of(d, m, batches[0]) if sparse else 0.0
    steps = {name: make() for name, make in contenders(kind, d, m, level).items() if not only or name in only}
    wall: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    active: dict[str, float] = {}
    for i in range(repeats + 1):
        for name, step in steps.items():
            if len(wall[name]) >= SLOW and min(cpu[name]) > 1 and name != "ours":
                continue
            began, began_cpu = time.perf_counter(), time.process_time()
            count = step(batches[i % len(batches)])
            if i:  # the first compiles and allocates
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - began_cpu)
            if isinstance(count, float):
                active[name] = count
    reached = peak(d, m)
    sparse = sparse or kind == "topk"
    return {
        "kind": kind,
        "size": [d, m],
        "l0": str(K) if kind == "topk" else f"{ACTIVE}" if sparse else "start",
        "active": {name: round(value, 1) for name, value in active.items()},
        "seconds": {name: round(float(np.median(times)), 4) for name, times in wall.items()},
        "cpu_seconds": {name: round(float(np.median(times)), 4) for name, times in cpu.items()},
        "timed_steps": {name: len(times) for name, times in wall.items()},
        "float32_gflops": round(reached, 1),
        "dense_roofline_seconds": round(10 * BATCH * d * m / 1e9 / reached, 4),
        "parts": shares(steps["ours"], batches[:3]) if sparse and "ours" in steps else {},
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }


def curves(steps: int = 200, every: int = 20) -> dict[str, Any]:
    """Losses of the same run with dense codes and with sparse ones, and bfloat16's misses on the way."""
    rows = torch.cat(activations(384))
    actual: dict[str, Any] = {"steps": steps, "batch": 1024, "size": [384, 3072], "losses": {}, "missed": {}}
    for arithmetic in ("dense", "exact", "bf16"):
        model = spec("topk", 3072, arithmetic).build((384,), seed=0).train()
        optim = Optim(groups={"*": Adam(lr=1e-3)}, clip=Clip(norm=1.0))
        plain = AutogradSteps(model, build(optim, model), optim.clip)
        losses: list[float] = []
        for step in range(steps):
            x = rows[torch.randint(len(rows), (1024,), generator=torch.Generator().manual_seed(step))]
            loss = plain.loss(Batch(x), step, Stream(0, step))
            plain.update(loss, step)
            losses.append(float(loss.total.detach()) / float(x.square().sum(dim=1).mean()))
            if arithmetic == "bf16" and (step + 1) % every == 0:
                actual["missed"][str(step + 1)] = missed(model, rows[:4096])
        actual["losses"][arithmetic] = [round(value, 6) for value in losses[every - 1 :: every]]
    return actual


@torch.no_grad()
def missed(model: AmortisedModel, x: Tensor) -> float:
    """The share of the k largest codes that bfloat16 products do not find."""
    weights = model.encoder.map(model.decoder)
    rough, exact = (select_top(x, *weights, K, products=p) for p in ("bf16", "exact"))
    places = [
        set((z.indices + torch.arange(len(x)).repeat_interleave(z.offsets.diff()) * z.n_code).tolist())
        for z in (rough, exact)
    ]
    return len(places[1] - places[0]) / len(places[1])


def report(result: dict[str, Any]) -> None:
    """The tables."""
    lines = []
    for row in result["rows"]:
        seconds = row["cpu_seconds" if row["threads"] == 1 else "seconds"]
        tokens = BATCH / seconds["ours"]
        rivals = {
            "SAELens": seconds["saelens"],
            "dictionary_learning": seconds["dictionary_learning"],
            "sparsify": min((s for name, s in seconds.items() if name.startswith("sparsify")), default=float("nan")),
        }
        lines.append(
            [
                f"{row['kind']} {row['size'][0]}x{row['size'][1]}, L0 {row['l0']}",
                f"{tokens / 1e3:.1f}k",
                *(f"{s / seconds['ours']:.1f}" for s in rivals.values()),
                *(f"{seconds[name] / seconds['ours']:.1f}" for name in ("ours, dense", "ours, exact")),
                f"{100 * row['dense_roofline_seconds'] / seconds['ours']:.0f}",
            ]
        )
    show(
        f"Training steps of {BATCH} samples, {' or '.join(sorted({str(row['threads']) for row in result['rows']}))} threads",
        ["", "tokens / s", "SAELens", "dictionary_learning", "sparsify", "dense", "exact", "% roofline"],
        lines,
        "times faster than each (wall seconds; CPU seconds with one thread); roofline: five dense float32 products at this machine's speed",
    )
    parted = [row for row in result["rows"] if row.get("parts")]
    if parted:
        show(
            "Parts of our steps with sparse codes, % of their time",
            ["", *PARTS],
            [
                [
                    f"{row['kind']} {row['size'][0]}x{row['size'][1]}, L0 {row['l0']}",
                    *(f"{100 * row['parts'][name]:.0f}" for name in PARTS),
                ]
                for row in parted
            ],
        )
    if "curves" in result:
        actual = result["curves"]
        every = actual["steps"] // len(actual["losses"]["dense"])
        show(
            "Loss / |x|^2 of a TopK autoencoder, 384 -> 3072",
            ["step", *actual["losses"], "missed by bf16"],
            [
                [
                    str(step),
                    *(f"{losses[i]:.5f}" for losses in actual["losses"].values()),
                    f"{actual['missed'][str(step)]:.1e}",
                ]
                for i, step in enumerate(range(every, actual["steps"] + 1, every))
            ],
        )


def short() -> dict[str, float]:
    """Ratios of every row, one thread, processor time."""
    logging.getLogger("lightning").setLevel(logging.ERROR)
    result: dict[str, float] = {}
    for kind, sizes in SIZES.items():
        peers = ("saelens", *(("sparsify, signum",) if kind == "topk" else ()))
        for d, m in sizes:
            for sparse in (False,) if kind == "topk" else (False, True):
                row = measure(kind, d, m, sparse, ["ours", *peers])
                seconds = row["cpu_seconds"]
                for peer in peers:
                    result[f"{kind} {d}x{m}, L0 {row['l0']}: {peer}"] = seconds[peer] / seconds["ours"]
    return result


def main() -> None:
    """Measure, print, save; parts that are measured alone take their places in what was saved before."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--kind", choices=list(SIZES), help="this kind alone")
    options.add_argument("--size", help="this size alone, such as 384x3072")
    options.add_argument("--state", choices=["start", "sparse"], help="this state of L1 and JumpReLU alone")
    options.add_argument("--only", nargs="*", default=[], help="these contenders alone; saved only under a `--name`")
    width = (
        torch.backends.cpu.get_cpu_capability().lower()
    )  # peers lose less than ours without units for narrow numbers
    name = "autoencoders" if units() else f"autoencoders-{width}"
    options.add_argument(
        "--name", default=name, help="of the file of results, by default %(default)s on this processor"
    )
    options.add_argument("--repeats", type=int, default=REPEATS, help="timed steps of each")
    options.add_argument("--curves", action="store_true", help="the loss curves alone")
    options.add_argument(
        "--threads", type=int, help="of torch; with 1, CPU seconds count: neighbours disturb them less"
    )
    chosen = options.parse_args()
    logging.getLogger("lightning").setLevel(logging.ERROR)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    rows: list[dict[str, Any]] = []
    for kind in () if chosen.curves else [chosen.kind] if chosen.kind else SIZES:
        for d, m in SIZES[kind]:
            if chosen.size and chosen.size != f"{d}x{m}":
                continue
            for sparse in (False,) if kind == "topk" else (False, True):
                if chosen.state and chosen.state != ("sparse" if sparse else "start"):
                    continue
                rows.append(measure(kind, d, m, sparse, chosen.only, chosen.repeats))
                print(json.dumps(rows[-1]), flush=True)
    alone = chosen.kind or chosen.size or chosen.state or chosen.curves or chosen.only
    actual = curves() if chosen.curves or not alone else None
    if chosen.only and chosen.name == name:
        return
    path = RESULTS / f"{chosen.name}.json"
    result: dict[str, Any] = json.loads(path.read_text()) if alone and path.exists() else {"rows": []}
    result.pop("machine", None)
    keys = [(row["kind"], row["size"], row["l0"]) for row in rows]
    kept = [row for row in result["rows"] if (row["kind"], row["size"], row["l0"]) not in keys]
    result["rows"] = sorted(kept + rows, key=lambda row: (list(SIZES).index(row["kind"]), row["size"], row["l0"]))
    if actual:
        result["curves"] = actual
    if not chosen.only:
        report(result)
    print(f"saved to {save(chosen.name, result, ('sae-lens', 'dictionary-learning', 'eai-sparsify'))}")


if __name__ == "__main__":
    main()
