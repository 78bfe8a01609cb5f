"""Rows of the paper's experiment table: each named sweep for latents and for pixels trains, and gives what it plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from sparsecode.data import CIFAR10, Augmented, CIFAR10Latents, ClassTasks
from sparsecode.models import Amortised, Iterative
from sparsecode.named_sweeps import EXPERIMENTS
from sparsecode.nn import ConvMixer, ResNet50
from sparsecode.sweeps import Axis, curves_of, jobs_of, serial, sweep
from sparsecode.sweeps.results import read_results

replace = msgspec.structs.replace
ROWS = [n for n, e in EXPERIMENTS.items() if n.startswith(("noise-latents", "noise-cifar")) and e.start is None]
LONG = ("noise-cifar-nets", "noise-cifar-resnet50-augmented")  # a ResNet-50
# Those whose parts other rows have: they are trained in the slow tests.
ALIKE = (
    "noise-latents-seeds", "noise-latents-width", "noise-latents-rates", "noise-latents-tasks", "noise-latents-laws",
    "noise-latents-anneal", "noise-latents-competition", "noise-cifar-tasks", "noise-cifar", "noise-cifar-sdm", "noise-latents",
    "noise-latents-activations", "noise-latents-inhibition", "noise-latents-inhibition-sgd", "noise-cifar-robustness", "noise-cifar-l1",
    "noise-latents-robustness-recon", "noise-cifar-activations",
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both files in their published form, with few random images."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    images: dict[str, Any] = {}
    latents: dict[str, Any] = {}
    for part, n in (("train", 60), ("test", 20)):
        label = (np.arange(n) % 10).astype(np.uint8)
        images |= {f"x_{part}": rng.integers(0, 256, (n, 3, 32, 32), np.uint8), f"y_{part}": label}
        latents |= {f"x_{part}": rng.normal(size=(n, 256)).astype(np.float16), f"y_{part}": label}
    np.savez(folder / "cifar10_train10k_test1k.npz", **images)
    np.savez(folder / "cifar10_convmixer_latents.npz", **latents)
    return folder


def few(data: Any) -> Any:
    if isinstance(data, Augmented | ClassTasks):
        return replace(data, source=few(data.source))
    if isinstance(data, CIFAR10):
        return replace(data, n_train=40, n_valid=20, n_test=20)
    return replace(data, n_train=40, n_valid=20) if isinstance(data, CIFAR10Latents) else data


def small(model: Any) -> Any:
    assert isinstance(model, Amortised | Iterative)
    if isinstance(model.encoder, ResNet50):
        return model
    if isinstance(model.encoder, ConvMixer):
        model = replace(model, encoder=ConvMixer(blocks=1, kernel=3, patch=8))
    return replace(model, n_code=100)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in (*LONG, *ALIKE) else n for n in ROWS])
def test_every_row_trains_and_gives_what_it_plots(
    name: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSECODE_DATA", str(files))
    row = EXPERIMENTS[name]
    job = jobs_of(row.recipes, [Axis.parse(text) for text in row.over], row.fixed, tmp_path, figures=False)[-1]
    config = job.config
    train = replace(config.train, epochs=1, batch_size=20, log_every=1, evaluate_every=1, checkpoint_every=1)
    config = replace(config, data=few(config.data), model=small(config.model), train=train)
    (outcome,) = sweep([job._replace(config=config)], tmp_path, serial())
    assert not outcome.problem
    (line,) = curves_of(read_results(tmp_path), row.x, row.y).values()
    ((value,),) = line.values()
    assert np.isfinite(value)
