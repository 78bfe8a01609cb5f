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
from common import medians, save, show
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

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
# lambda, beta, gamma, eta, learning rates of decoder and encoder, as the scripts have them
CONSTANTS = {
    "mnist-sdl": (0.005, 0.0, 1.0, 1.0, 1e-3, 3e-4),
    "mnist-vdl": (0.02, 10.0, 5.0, 0.5, 3e-4, 1e-4),
    "mnist-vdl-nl": (0.01, 10.0, 100.0, 0.5, 3e-4, 1e-4),
}


class Images(Dataset[torch.Tensor]):
    """One image at a time: decoded, to a tensor in [0, 1], standardised."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = (x * 255).round().to(torch.uint8).numpy()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> torch.Tensor:
        image = Image.fromarray(self.x[i, 0], mode="L").resize((28, 28))
        pixels = torch.from_numpy(np.array(image, copy=True)[None]).float().div(255)
        return (pixels - 0.1307) / 0.3081


class Encoder(nn.Module):
    """LISTA of three iterations."""

    def __init__(self, pixels: int, codes: int) -> None:
        super().__init__()
        self.W, self.S = nn.Linear(pixels, codes), nn.Linear(codes, codes, bias=False)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        drive = self.W(y.flatten(1))
        z = torch.relu(drive)
        for _ in range(3):
            z = torch.relu(drive + self.S(z))
        return z


class PlainLoop:
    """The training that ours is compared with."""

    def __init__(self, name: str, start: IterativeModel, splits: Splits) -> None:
        self.lam, self.beta, self.gamma, self.eta, lr_d, lr_e = CONSTANTS[name]
        self.data = Images(splits.train.x)
        decoder = start.decoder
        if hasattr(decoder, "atoms"):
            layer = nn.Linear(128, 784, bias=False)
            layer.weight.data = decoder.atoms.detach().T.clone()
            self.decoder: nn.Module = layer
        else:
            hidden, out = nn.Linear(128, 1024), nn.Linear(1024, 784, bias=False)
            hidden.weight.data, out.weight.data = decoder.hidden.detach().T.clone(), decoder.out.detach().T.clone()
            hidden.bias.data.zero_()
            self.decoder = nn.Sequential(hidden, nn.ReLU(), out)
        self.encoder = Encoder(784, 128)
        self.encoder.W.weight.data = start.encoder.weight.detach().clone()
        self.encoder.W.bias.data.zero_()
        self.encoder.S.weight.data = start.encoder.lateral.detach().clone()
        self.optimisers = (
            torch.optim.Adam(self.decoder.parameters(), lr=lr_d),
            torch.optim.Adam(self.encoder.parameters(), lr=lr_e),
        )
        self.unit_norm = not self.beta
        self.steps: list[int] = []

    def smooth(self, y: torch.Tensor, z: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        total = (y - self.decoder(z)).square().mean(dim=1).sum()
        if self.beta:
            total = total + self.beta * torch.relu(0.5 - z.std(dim=0)).square().sum()
        return total + self.gamma * (z - predicted).square().mean(dim=1).sum()

    def infer(self, y: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        z = momentum_point = predicted.clone()
        active, t = torch.ones(len(y), 1), 1.0
        taken = 0
        while taken < 200:
            taken += 1
            variable = nn.Parameter(momentum_point.clone())
            gradient = torch.autograd.grad(self.smooth(y, variable, predicted), variable)[0]
            new = torch.relu(momentum_point - active * self.eta * gradient - active * self.eta * self.lam)
            following = (1 + (1 + 4 * t * t) ** 0.5) / 2
            momentum_point = new + (t - 1) / following * (new - z)
            change = (new - z).norm(dim=1) / z.norm(dim=1)
            active = (~(change < 1e-3)).float()[:, None]
            z, t = new, following
            if not active.any():
                break
        self.steps.append(taken)
        return z.detach()

    def train(self, iterations: int) -> None:
        loader = DataLoader(self.data, batch_size=250, shuffle=True, drop_last=True)
        done = 0
        while done < iterations:
            for y in loader:
                self.iteration(y.flatten(1))
                done += 1
                if done == iterations:
                    break

    def iteration(self, y: torch.Tensor) -> dict[str, float]:
        decoder_step, encoder_step = self.optimisers
        predicted = self.encoder(y)
        for p in self.decoder.parameters():
            p.requires_grad_(False)
        z = self.infer(y, predicted.detach())
        for p in self.decoder.parameters():
            p.requires_grad_(True)
        out = self.decoder(z)
        loss = (y - out).square().mean()
        decoder_step.zero_grad()
        loss.backward()
        decoder_step.step()
        if self.unit_norm:
            with torch.no_grad():
                for layer in (m for m in self.decoder.modules() if isinstance(m, nn.Linear)):
                    layer.weight.div_(layer.weight.norm(dim=0))
        amortise = (predicted - z).square().mean()
        encoder_step.zero_grad()
        amortise.backward()
        encoder_step.step()
        with torch.no_grad():
            error = ((y - out) * 0.3081).square().mean(dim=1)
            return {
                "loss": loss.item(),
                "amortise": amortise.item(),
                "psnr": (10 * torch.log10(1 / error)).mean().item(),
                "zeros": (z == 0).float().mean().item(),
                "energy": (self.smooth(y, z, predicted) + self.lam * z.abs().sum()).item(),
            }

    def into(self, model: IterativeModel) -> IterativeModel:
        """The weights put into a model of ours, to be scored alike."""
        tensors = model.state_dict()
        if isinstance(self.decoder, nn.Linear):
            tensors["decoder.atoms"] = self.decoder.weight.detach().T.contiguous()
        else:
            tensors["decoder.hidden"] = self.decoder[0].weight.detach().T.contiguous()
            tensors["decoder.bias"] = self.decoder[0].bias.detach()
            tensors["decoder.out"] = self.decoder[2].weight.detach().T.contiguous()
        tensors["encoder.weight"], tensors["encoder.bias"] = (
            self.encoder.W.weight.detach(),
            self.encoder.W.bias.detach(),
        )
        tensors["encoder.lateral"] = self.encoder.S.weight.detach()
        model.load_state_dict(tensors)
        return model.eval()


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
        fit(model, splits, planned.optim, config.train, config.seed, fabric=fabric, observers=[file])
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
