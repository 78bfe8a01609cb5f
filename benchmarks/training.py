"""Whole training iterations of SDL, VDL and VDL-NL on MNIST: ours beside a plain loop written as the papers' code works.

The plain loop follows Evtimova & LeCun's description step by step: images decoded and normalised one by one by a data
loader, FISTA with gradients by autograd through the decoder, a test of every code's change after each step, separate
losses and default Adam for decoder and encoder, and PSNR, energy and sparsity read at every iteration. Ours trains
through `fit`, metrics file included, once as it is and once with `compat` (the original's step and stopping rule).
All start from the same weights; each line gives the median of several runs of the same iterations in turn, and what
was learned by then: PSNR and objective of solved validation codes.

Needs MNIST (SPARSECODE_DATA, or the network).
"""

# models and layers are unions
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOptionalMemberAccess=false, reportReturnType=false

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from common import ended, medians, save, show
from plain_loop import PlainLoop

from sparsecode.data import Splits
from sparsecode.evaluate.reconstruction.score import score
from sparsecode.models.iterative import IterativeModel
from sparsecode.recipes import RECIPES
from sparsecode.runs import Run
from sparsecode.schedules import resolve
from sparsecode.train.fit import fit, launch
from sparsecode.train.observers import MetricsFile
from sparsecode.train.plan import clock

replace = msgspec.structs.replace

MODELS = ("mnist-sdl", "mnist-vdl", "mnist-vdl-nl")
SAMPLES, EPOCHS, REPEATS = 5000, 3, 3


def ours(
    config: Run, splits: Splits, compat: bool, clock_of: Callable[[], float] = time.perf_counter
) -> tuple[IterativeModel, float, float]:
    """A trained model, the seconds it took, and the mean of solver steps."""
    spec = replace(config.model, inference=replace(config.model.inference, compat=compat))
    planned = resolve(replace(config, model=spec), clock(config.train, splits.train.n))
    model = planned.model.build(splits.shape, config.seed)
    fabric = launch("32-true", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        file = MetricsFile(Path(folder) / "metrics.jsonl")
        began = clock_of()
        ended(fit(model, splits, planned.optim, config.train, config.seed, fabric=fabric, observers=[file]))
        seconds = clock_of() - began
        lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    steps = [msgspec.json.decode(line)["solver_steps"] for line in lines if '"train"' in line]
    return model, seconds, float(np.mean(steps))


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
    return config, config.data.load(), epochs * (SAMPLES // 250)


def plain_loop(
    name: str, config: Run, splits: Splits, iterations: int, clock_of: Callable[[], float] = time.perf_counter
) -> tuple[PlainLoop, float]:
    """The plain loop after its training, and the seconds that this took."""
    torch.manual_seed(0)
    plain = PlainLoop(name, config.model.build(splits.shape, config.seed), splits)
    began = clock_of()
    plain.train(iterations)
    return plain, clock_of() - began


def short() -> dict[str, float]:
    """Ratios: the smallest models, one run each, one thread, processor time."""
    logging.getLogger("lightning").setLevel(logging.ERROR)
    result: dict[str, float] = {}
    for name, epochs in (("mnist-sdl", EPOCHS), ("mnist-vdl-nl", 1)):
        config, splits, iterations = prepared(name, epochs)
        ours(config, splits._replace(train=splits.train.take(slice(500))), compat=False)  # compiles
        mine = ours(config, splits, compat=False, clock_of=time.process_time)[1]
        theirs = plain_loop(name, config, splits, iterations, time.process_time)[1]
        result[f"{name}: plain loop"] = theirs / mine
    return result


def measure(name: str) -> list[dict[str, Any]]:
    """The lines of one model."""
    config, splits, iterations = prepared(name, EPOCHS)
    seconds: dict[str, list[float]] = {"plain loop": [], "ours, compat": [], "ours": []}
    rows: dict[str, dict[str, Any]] = {}
    ours(config, splits._replace(train=splits.train.take(slice(500))), compat=False)  # compiles
    for _ in range(REPEATS):
        plain, took = plain_loop(name, config, splits, iterations)
        seconds["plain loop"].append(took)
        fresh = config.model.build(splits.shape, config.seed)
        rows["plain loop"] = {"steps": float(np.mean(plain.steps)), **learned(plain.into(fresh), splits)}
        for label, compat in (("ours, compat", True), ("ours", False)):
            model, took, steps = ours(config, splits, compat)
            seconds[label].append(took)
            scored = model if not compat else _plain_inference(model, config, splits)
            rows[label] = {"steps": steps, **learned(scored, splits)}
    middle = medians(seconds)
    return [
        {
            "model": name,
            "training": label,
            "ms_per_iteration": 1e3 * middle[label] / iterations,
            "ratio": middle["plain loop"] / middle[label],
            **rows[label],
        }
        for label in seconds
    ]


def _plain_inference(model: IterativeModel, config: Run, splits: Splits) -> IterativeModel:
    other = resolve(config, clock(config.train, splits.train.n)).model.build(splits.shape, config.seed)
    other.load_state_dict(model.state_dict())
    return other.eval()


def main() -> None:
    """Measure, print, save."""
    logging.getLogger("lightning").setLevel(logging.ERROR)
    rows = [row for name in MODELS for row in measure(name)]
    show(
        f"{EPOCHS} epochs of {SAMPLES} MNIST images in batches of 250, median of {REPEATS} runs in turn",
        ["model", "training", "ms / iteration", "times faster", "steps", "PSNR dB", "objective", "L0"],
        [
            [
                row["model"], row["training"], f"{row['ms_per_iteration']:.1f}", f"{row['ratio']:.1f}",
                f"{row['steps']:.0f}", f"{row['psnr']:.2f}", f"{row['objective']:.2f}", f"{row['l0']:.1f}",
            ]
            for row in rows
        ],
        "steps of FISTA, for mnist-sdl by default sweeps of coordinate descent; PSNR, objective and L0: of 1000 validation images with solved codes after these iterations",
    )  # fmt: skip
    print(f"saved to {save('training', {'rows': rows})}")


if __name__ == "__main__":
    main()
