"""Whole training iterations of SDL, VDL and VDL-NL on MNIST: ours beside a plain loop written as the papers' code works.

The plain loop follows Evtimova & LeCun's description step by step: images decoded and normalised one by one by a data
loader, FISTA with gradients by autograd through the decoder, a test of every code's change after each step, separate
losses and default Adam for decoder and encoder, and PSNR, energy and sparsity read at every iteration. Ours trains
through `fit`, metrics file included, once as it is and once with `compat` (the original's step and stopping rule).
All start from the same weights, fresh ones and, for `mnist-vdl-nl`, those that 300 iterations of ours have trained; each
line gives the median of several runs of the same iterations in turn, what was learned by then (PSNR and objective of
solved validation codes), and the training energy at which each rule leaves the codes of 1000 validation images, in
batches of 250 with the weights of the start; for `mnist-vdl-nl` also the share of matrix products in the time of our training.

    python benchmarks/training.py [--busy]

With `--busy`, for a machine that does other work: one thread, processor time, one epoch in place of three.
Needs MNIST (SPARSECODE_DATA, or the network).
"""

# models and layers are unions
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOptionalMemberAccess=false, reportReturnType=false

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from common import ended, medians, save, share_of_products, show
from plain_loop import PlainLoop

from sparsecode.data import Splits
from sparsecode.evaluate.reconstruction.score import score
from sparsecode.models.iterative import IterativeModel
from sparsecode.ops.rng import Stream
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch
from sparsecode.runs import Run
from sparsecode.schedules import resolve
from sparsecode.train.fit import fit, launch
from sparsecode.train.observers import MetricsFile
from sparsecode.train.plan import clock

replace = msgspec.structs.replace

MODELS = ("mnist-sdl", "mnist-vdl", "mnist-vdl-nl")
SAMPLES, EPOCHS, REPEATS, BATCH = 5000, 3, 3, 250
TRAINED = 15  # epochs of ours before both go on, for the state in the middle of a training

Weights = dict[str, torch.Tensor]


def ours(
    config: Run,
    splits: Splits,
    compat: bool,
    clock_of: Callable[[], float] = time.perf_counter,
    start: Weights | None = None,
) -> tuple[IterativeModel, float, float]:
    """A trained model, the seconds it took, and the mean of solver steps."""
    planned, model = built(config, splits, compat, start)
    fabric = launch("32-true", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        file = MetricsFile(Path(folder) / "metrics.jsonl")
        began = clock_of()
        ended(fit(model, splits, planned.optim, config.train, config.seed, fabric=fabric, observers=[file]))
        seconds = clock_of() - began
        lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    steps = [msgspec.json.decode(line)["solver_steps"] for line in lines if '"train"' in line]
    return model, seconds, float(np.mean(steps))


def built(config: Run, splits: Splits, compat: bool, start: Weights | None) -> tuple[Run, IterativeModel]:
    """The config with its schedules in steps, and its model, fresh or with the weights `start`."""
    spec = replace(config.model, inference=replace(config.model.inference, compat=compat))
    planned = resolve(replace(config, model=spec), clock(config.train, splits.train.n))
    model = planned.model.build(splits.shape, config.seed)
    if start is not None:
        model.load_state_dict(start)
    return planned, model


def energy(model: IterativeModel, splits: Splits) -> float:
    """The mean training energy at which the rule of `model` leaves the codes of validation images."""
    with torch.no_grad():
        losses = [model.loss(Batch(x), 0, Stream(0, 0)) for x in splits.valid.x.split(BATCH)]
    return float(np.mean([float(loss.stats["objective"]) for loss in losses]))


def learned(model: IterativeModel, splits: Splits) -> dict[str, float]:
    """Of validation images with solved codes."""
    with torch.no_grad():
        result = score(model, model.encode, splits.valid, splits.data_range)
    return {"psnr": result.psnr, "objective": result.objective, "l0": result.l0}


def prepared(name: str, epochs: int) -> tuple[Run, Splits, int]:
    """The config, its data, and the number of iterations."""
    config = RECIPES[name]()
    config = replace(
        config, data=replace(config.data, n_train=SAMPLES, n_valid=1000), train=replace(config.train, epochs=epochs)
    )
    return config, config.data.load(), epochs * (SAMPLES // BATCH)


def plain_loop(
    name: str,
    config: Run,
    splits: Splits,
    iterations: int,
    clock_of: Callable[[], float] = time.perf_counter,
    start: Weights | None = None,
) -> tuple[PlainLoop, float]:
    """The plain loop after its training, and the seconds that this took."""
    torch.manual_seed(0)
    plain = PlainLoop(name, built(config, splits, False, start)[1], splits)
    began = clock_of()
    plain.train(iterations)
    return plain, clock_of() - began


def short() -> dict[str, float]:
    """Ratios: one run each, one thread, processor time."""
    logging.getLogger("lightning").setLevel(logging.ERROR)
    result: dict[str, float] = {}
    for name, epochs in (("mnist-sdl", EPOCHS), ("mnist-vdl", EPOCHS), ("mnist-vdl-nl", 1)):
        config, splits, iterations = prepared(name, epochs)
        ours(config, splits._replace(train=splits.train.take(slice(500))), compat=False)  # compiles
        mine = ours(config, splits, compat=False, clock_of=time.process_time)[1]
        theirs = plain_loop(name, config, splits, iterations, time.process_time)[1]
        result[f"{name}: plain loop"] = theirs / mine
    return result


def measure(name: str, epochs: int, clock_of: Callable[[], float], before: int = 0) -> list[dict[str, Any]]:
    """The lines of one model, after `before` epochs of training."""
    config, splits, iterations = prepared(name, epochs)
    seconds: dict[str, list[float]] = {"plain loop": [], "ours, compat": [], "ours": []}
    rows: dict[str, dict[str, Any]] = {}
    ours(config, splits._replace(train=splits.train.take(slice(500))), compat=False)  # compiles
    start = ours(prepared(name, before)[0], splits, compat=False)[0].state_dict() if before else None
    at_start = {
        label: energy(built(config, splits, compat, start)[1], splits)
        for label, compat in (("ours, compat", True), ("ours", False))
    }
    fresh = built(config, splits, False, start)[1]
    plain = PlainLoop(name, fresh, splits)
    images = fresh.normalise(splits.valid.x).split(BATCH)
    at_start["plain loop"] = float(np.mean([plain.energy(y) for y in images]))
    for _ in range(REPEATS):
        plain, took = plain_loop(name, config, splits, iterations, clock_of, start)
        seconds["plain loop"].append(took)
        rows["plain loop"] = {"steps": float(np.mean(plain.steps)), **learned(plain.into(fresh), splits)}
        for label, compat in (("ours, compat", True), ("ours", False)):
            model, took, steps = ours(config, splits, compat, clock_of, start)
            seconds[label].append(took)
            scored = model if not compat else _plain_inference(model, config, splits)
            rows[label] = {"steps": steps, **learned(scored, splits)}
    middle = medians(seconds)
    if name == "mnist-vdl-nl":  # whose steps are operations of torch alone
        rows["ours"]["products"] = share_of_products(lambda: ours(config, splits, False, start=start))
    return [
        {
            "model": f"{name}, trained" if before else name,
            "training": label,
            "ms_per_iteration": 1e3 * middle[label] / iterations,
            "ratio": middle["plain loop"] / middle[label],
            "energy": at_start[label],
            **rows[label],
        }
        for label in seconds
    ]


def _plain_inference(model: IterativeModel, config: Run, splits: Splits) -> IterativeModel:
    return built(config, splits, False, model.state_dict())[1].eval()


def main() -> None:
    """Measure, print, save."""
    logging.getLogger("lightning").setLevel(logging.ERROR)
    busy = "--busy" in sys.argv
    torch.set_num_threads(1 if busy else torch.get_num_threads())
    epochs, clock_of = (1, time.process_time) if busy else (EPOCHS, time.perf_counter)
    rows = [row for name in MODELS for row in measure(name, epochs, clock_of)]
    rows += measure("mnist-vdl-nl", epochs, clock_of, TRAINED)
    shares = [f"{row['products']:.0%}" for row in rows if "products" in row]
    unit = "of processor time, one thread" if busy else "of wall time"
    show(
        f"{epochs} epochs of {SAMPLES} MNIST images in batches of {BATCH}, median of {REPEATS} runs in turn, ms {unit}",
        ["model", "training", "ms / iteration", "times faster", "steps", "energy", "PSNR dB", "objective", "L0"],
        [
            [
                row["model"], row["training"], f"{row['ms_per_iteration']:.1f}", f"{row['ratio']:.1f}", f"{row['steps']:.0f}",
                f"{row['energy']:.3f}", f"{row['psnr']:.2f}", f"{row['objective']:.2f}", f"{row['l0']:.1f}",
            ]
            for row in rows
        ],
        "steps of FISTA, for mnist-sdl by default sweeps of coordinate descent; energy: of training, at the start, where each "
        "rule leaves the codes; PSNR, objective and L0: of 1000 validation images with solved codes after these iterations; "
        f"products of matrices take {' and '.join(shares)} of the time of ours for mnist-vdl-nl",
    )  # fmt: skip
    result = {"epochs": epochs, "batch": BATCH, "repeats": REPEATS, "unit": unit, "before": TRAINED, "rows": rows}
    print(f"saved to {save('training', result)}")


if __name__ == "__main__":
    main()
