"""Run under torchrun: train recipes of every kind at toy size. Arguments: data folder, output folder."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from toys import KINDS, toy

from sparsecode.runner import run

if __name__ == "__main__":
    torch.set_num_threads(1)
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    for name in KINDS:
        run(toy(name, data), out / name, accelerator="cpu")
