"""Run under torchrun: train recipes at toy size. Arguments: data folder, output folder, their names."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from toys import IN_FLOAT64, toy

from sparsecode import runner

if __name__ == "__main__":
    torch.set_num_threads(1)
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    for name in sys.argv[3:]:
        precision = "64-true" if name in IN_FLOAT64 else "32-true"
        runner.run(toy(name, data, precision=precision), out / name, accelerator="cpu", figures=False)
