"""Epochs of a VAE and of variational sparse coding on MNIST in batches of 32: ours beside the usual loop of the same model.

The usual loop is what the replication of variational sparse coding, and most tutorials, do: a DataLoader that makes a
tensor of every picture, three linear heads, sigmoid and binary cross-entropy, separate kernels for each of Adam's
operations, and the loss read at every step. "In memory" is the same without the DataLoader. Ours trains through `fit`,
metrics file included. Slopes of gates and weights of spikes follow the same schedules on both sides. The floor is what no framework saves: the step's matrix products, and one pass of Adam over weights
and moments, nothing else. All see as many samples; each line gives the median of several runs in turn and the mean loss
over the last epoch, so that nobody trains less than the others.

Needs MNIST (SPARSECODE_DATA, or the network).
"""

# configs are unions
# pyright: reportArgumentType=false

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from common import ended, interleaved, medians, save, show
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from sparsecode.data import Splits
from sparsecode.recipes import RECIPES
from sparsecode.runs import Run
from sparsecode.schedules import at, resolve
from sparsecode.train.fit import fit, launch
from sparsecode.train.observers import MetricsFile
from sparsecode.train.plan import clock

replace = msgspec.structs.replace

MODELS = ("mnist-vae", "mnist-vsc-1", "mnist-vsc")
SAMPLES, EPOCHS, REPEATS, BATCH, HIDDEN, PIXELS = 12_000, 3, 3, 32, 400, 784


class Images(Dataset[tuple[torch.Tensor, int]]):
    """One picture at a time: decoded, to a tensor in [0, 1]."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = (x * 255).round().to(torch.uint8).numpy()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.x[i, 0], mode="L")
        return torch.from_numpy(np.array(image, copy=True)[None]).float().div(255), 0


class Plain(nn.Module):
    """784 - 400 - heads - K - 400 - 784; with alpha, spikes by negative ReLU and a gate of slope c."""

    def __init__(self, n_code: int, alpha: float | None, logit: bool) -> None:
        super().__init__()
        self.hidden = nn.Linear(PIXELS, HIDDEN)
        self.mu, self.logvar = nn.Linear(HIDDEN, n_code), nn.Linear(HIDDEN, n_code)
        self.spike = nn.Linear(HIDDEN, n_code) if alpha else None
        self.back, self.out = nn.Linear(n_code, HIDDEN), nn.Linear(HIDDEN, PIXELS)
        self.alpha, self.logit, self.c, self.spike_weight = alpha, logit, 50.0, 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The loss, summed over the batch."""
        x = x.view(-1, PIXELS)
        h = torch.relu(self.hidden(x))
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        divergence = 1 + logvar - mu.pow(2) - logvar.exp()
        if self.spike is not None and self.alpha is not None:
            s = self.spike(h)
            gamma = torch.sigmoid(s) if self.logit else torch.exp(-torch.relu(-s))
            z = torch.sigmoid(self.c * (torch.rand_like(mu) + gamma - 1)) * z
            on = torch.clamp(gamma, 1e-6, 1 - 1e-6)
            prior = -0.5 * torch.sum(on * divergence) + self.spike_weight * torch.sum(
                (1 - on) * torch.log((1 - on) / (1 - self.alpha)) + on * torch.log(on / self.alpha)
            )
        else:
            prior = -0.5 * torch.sum(divergence)
        mean = torch.sigmoid(self.out(torch.relu(self.back(z))))
        return nn.functional.binary_cross_entropy(mean, x, reduction="sum") + prior


def settings(config: Run) -> tuple[int, float | None, bool]:
    """Codes, alpha, and whether spikes are logits."""
    model = msgspec.to_builtins(config.model)
    return model["n_code"], model["prior"].get("alpha"), model["posterior"].get("spike") == "logit"


def usual(config: Run, splits: Splits, loader: bool) -> float:
    """The usual loop; the mean loss per sample over the last epoch."""
    planned: Any = resolve(config, clock(config.train, splits.train.n)).model
    torch.manual_seed(0)
    model = Plain(*settings(config))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, epoch_loss = splits.train.x, 0.0
    batches = DataLoader(Images(x), batch_size=BATCH, shuffle=True) if loader else None
    step = 0
    for _ in range(int(config.train.epochs)):
        epoch_loss = 0.0
        order = torch.randperm(len(x)).split(BATCH)
        for batch in batches if batches is not None else ((x[rows], 0) for rows in order):
            if model.spike is not None:
                model.c, model.spike_weight = at(planned.posterior.gate.slope, step), at(planned.spike_weight, step)
            optimiser.zero_grad()
            loss = model(batch[0])
            loss.backward()
            epoch_loss += loss.item()
            optimiser.step()
            step += 1
    return epoch_loss / len(x)


def ours(config: Run, splits: Splits) -> float:
    """Ours; the mean loss over records of the last epoch."""
    planned = resolve(config, clock(config.train, splits.train.n))
    model = planned.model.build(splits.shape, config.seed)
    with tempfile.TemporaryDirectory() as folder:
        file = MetricsFile(Path(folder) / "metrics.jsonl")
        fabric = launch("32-true", "cpu")
        ended(fit(model, splits, planned.optim, config.train, config.seed, fabric=fabric, observers=[file]))
        records = [msgspec.json.decode(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return statistics.mean(r["loss"] for r in records[-len(records) // int(config.train.epochs) :])


def floor(config: Run) -> float:
    """Seconds of an epoch's matrix products and passes of fused Adam alone."""
    n_code, alpha, _ = settings(config)
    heads = (3 if alpha else 2) * n_code
    sizes = [(PIXELS, HIDDEN), (HIDDEN, heads), (n_code, HIDDEN), (HIDDEN, PIXELS)]
    weights = [nn.Parameter(torch.randn(b, a)) for a, b in sizes]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimiser = torch.optim.Adam(weights, fused=True)
    inputs = [torch.randn(BATCH, a) for a, _ in sizes]
    outputs = [torch.randn(BATCH, b) for _, b in sizes]
    grads = [torch.empty_like(weight) for weight in weights]
    began = time.perf_counter()
    with torch.no_grad():
        for _ in range(SAMPLES // BATCH):
            for i, (weight, x, y, grad) in enumerate(zip(weights, inputs, outputs, grads, strict=True)):
                torch.mm(x, weight.T)
                torch.mm(y.T, x, out=grad)
                if i:
                    torch.mm(y, weight)
            optimiser.step()
    return time.perf_counter() - began


def prepared(name: str, epochs: int = EPOCHS) -> tuple[Run, Splits]:
    """The config and its data."""
    config = RECIPES[name]()
    config = replace(
        config,
        data=replace(config.data, n_train=SAMPLES, n_valid=100),
        train=replace(config.train, epochs=epochs, log_every=25),
    )
    return config, config.data.load()


def short() -> dict[str, float]:
    """Ratios: one epoch, one thread, processor time."""
    logging.getLogger("lightning").setLevel(logging.ERROR)
    result: dict[str, float] = {}
    for name in MODELS:
        config, splits = prepared(name, epochs=1)
        ours(config, splits._replace(train=splits.train.take(slice(320))))
        runs: dict[str, Callable[[], object]] = {
            "usual": lambda config=config, splits=splits: usual(config, splits, loader=True),
            "ours": lambda config=config, splits=splits: ours(config, splits),
        }
        middle = medians(interleaved(runs, 2, warm=False, clock=time.process_time))
        result[f"{name}: usual loop"] = middle["usual"] / middle["ours"]
    return result


def measure(name: str) -> list[dict[str, Any]]:
    """The lines of one model."""
    config, splits = prepared(name)
    runs = {
        "usual loop": lambda: usual(config, splits, loader=True),
        "usual loop, in memory": lambda: usual(config, splits, loader=False),
        "ours": lambda: ours(config, splits),
    }
    seconds: dict[str, list[float]] = {label: [] for label in (*runs, "floor")}
    losses: dict[str, float] = {}
    ours(config, splits._replace(train=splits.train.take(slice(320))))  # imports and first allocations
    for _ in range(REPEATS):
        for label, run in runs.items():
            began = time.perf_counter()
            losses[label] = run()
            seconds[label].append((time.perf_counter() - began) / EPOCHS)
        seconds["floor"].append(floor(config))
    losses["ours"] = ours(replace(config, train=replace(config.train, log_every=1)), splits)  # of all steps, untimed
    middle = medians(seconds)
    return [
        {
            "model": name,
            "training": label,
            "ms_per_step": 1e3 * middle[label] * BATCH / SAMPLES,
            "seconds_per_60000": middle[label] * 60_000 / SAMPLES,
            "ratio": middle["usual loop"] / middle[label],
            "loss": losses.get(label),
        }
        for label in seconds
    ]


def main() -> None:
    """Measure, print, save."""
    logging.getLogger("lightning").setLevel(logging.ERROR)
    rows = [row for name in MODELS for row in measure(name)]
    show(
        f"{EPOCHS} epochs of {SAMPLES} MNIST pictures in batches of {BATCH}, median of {REPEATS} runs in turn",
        ["model", "training", "ms / step", "s / 60 000", "times faster", "loss"],
        [
            [
                row["model"], row["training"], f"{row['ms_per_step']:.2f}", f"{row['seconds_per_60000']:.2f}",
                f"{row['ratio']:.1f}", "" if row["loss"] is None else f"{row['loss']:.2f}",
            ]
            for row in rows
        ],
        "loss: nats per sample, mean over the last epoch (ours: of another run, with a record of every step); floor: the step's matrix products and Adam's pass over the weights",
    )  # fmt: skip
    print(f"saved to {save('variational', {'rows': rows})}")


if __name__ == "__main__":
    main()
