"""Write a run of each family, two interrupted runs, a sweep and shards as the installed version writes them.

usage: python tests/frozen/write.py FOLDER. A folder here is named after the version that wrote it and is never
written again: later versions must read it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import msgspec
import numpy as np
import torch

from sparsecode.cli import main
from sparsecode.data import Digits
from sparsecode.data.shard_writer import ShardWriter
from sparsecode.overrides import replaced
from sparsecode.recipes import RECIPES
from sparsecode.records import Event
from sparsecode.runner import run
from sparsecode.runs import Run, RunFolder

SHORT = {
    "data": {"type": "digits"},
    "model.n_code": 16,
    "train.epochs": 1,
    "train.batch_size": 100,
    "train.evaluate_every": 0.5,
    "train.checkpoint_every": 0.2,
    "train.log_every": 2,
}
NET = {"model.net.hidden": [12]}
RUNS = {
    "digits-sdl": {},
    "digits-vdl": {"recipe": "mnist-vdl"},
    "digits-topk": {"model.activation.k": 4},
    "jumprelu": {"recipe": "acts-jumprelu", "model.normaliser": {"type": "identity"}},
    "noise-digits": {},
    "digits-vae": NET,
    "digits-vsc": NET,
}
INTERRUPTED = ("digits-sdl", "jumprelu", "digits-vsc")
STOP_AT = 6


def config(name: str) -> Run:
    changes = dict(RUNS[name])
    recipe = RECIPES[str(changes.pop("recipe", name))]()
    return replaced(recipe, SHORT | changes)


def stop(event: Event) -> None:
    if event.kind == "train" and event.step == STOP_AT:
        os.kill(os.getpid(), signal.SIGINT)


def write(folder: Path) -> None:
    samples = Digits().load().train.x[:16]
    codes: dict[str, np.ndarray] = {}
    for name in RUNS:
        run(config(name), folder / "runs" / name, accelerator="cpu")
        codes[name] = RunFolder(folder / "runs" / name).best_model().encode(samples.numpy())
    for name in INTERRUPTED:
        run(config(name), folder / "interrupted" / name, observers=[stop], accelerator="cpu")
    np.savez(folder / "codes.npz", allow_pickle=False, **codes)
    small = [f"{key}={msgspec.json.encode(value).decode()}" for key, value in SHORT.items()]
    over = ["--over", "model.activation.k=2,4"]
    assert main(["sweep", "digits-topk", *over, "--set", *small, "--out", str(folder / "sweep")]) == 0
    with ShardWriter(folder / "shards", rows_per_shard=80) as writer:
        for group in range(40):
            writer.append(torch.arange(30.0).reshape(5, 6) / 7 + group, group)
    for file in [*folder.rglob("*.png"), *folder.rglob(".lock")]:
        file.unlink()
    for empty in folder.rglob("figures"):
        empty.rmdir()
    (folder / "about.json").write_text(json.dumps({"torch": torch.__version__, "numpy": np.__version__}) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(Path(sys.argv[1]))
