"""Write `sparsecode/kernels/lowered` anew: the compiled functions that come with the package.

usage: python tests/lowering.py. They are those that the calls below need, for the types that they have there. The code is the same
on every processor; of functions that are written for the registers of one, there are several.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

import sparsecode as sc
from sparsecode.cli import main
from sparsecode.kernels import jit, shipped
from sparsecode.kernels.compiling import lowered
from sparsecode.kernels.jit import Kernel
from sparsecode.kernels.machine_code import assembled
from sparsecode.ops.score_blocks import Products
from sparsecode.ops.sparse_codes import select_above, select_top

REGISTERS = ("", "+avx512f")  # features of processors
VARIATIONAL = ("digits-vae",)
TRAINED = (
    ("digits-topk", "--model.n-code", "4096"),
    ("digits-dae", "--model.n-code", "4096"),
)


def store(self: Kernel, key: tuple[Any, ...], args: tuple[Any, ...]) -> bytes:
    """In place of Kernel._compiled."""
    code = lowered(self.function, self.options, args, self.wide)
    stamp = jit._stamp(self._source)  # pyright: ignore[reportPrivateUsage]
    shipped.write(self._source.stem, self.file_name(key), stamp, code)
    print(self._name, self._source.stem, len(code))  # noqa: T201
    if self.host and sys.argv[1:]:  # this processor may be another one
        os._exit(0)
    return assembled(code)


def solve(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, atoms = rng.normal(size=(40, 32)).astype(dtype), rng.normal(size=(64, 32)).astype(dtype)
    for mask in (None, x < 1):
        sc.sparse_encode(x, atoms, 1.0, mask=mask)
        sc.omp_encode(x, atoms, 5, mask=mask)
    sc.learn_dictionary(x, 16, 1.0, epochs=1)
    sc.learn_dictionary(x, 64, 8.0, init=atoms, max_steps=1)  # few codes, whose statistics take no zeros


def select() -> None:
    """Codes of wide autoencoders, found by every kind of products, whichever the processor here has units for."""
    rng = torch.Generator().manual_seed(0)
    x, weight = torch.randn(300, 32, generator=rng), torch.randn(1024, 32, generator=rng)
    for products in get_args(Products):
        select_top(x, weight, torch.zeros(1024), None, 8, products=products)
        select_above(x, weight, torch.zeros(1024), None, 20.0, products=products)


def train(folder: Path, recipe: str, *options: str) -> None:
    out = folder / str(len(list(folder.iterdir())))
    short = ("--train.epochs", "0.05", "--no-figures", "--accelerator", "cpu", "--out", str(out))
    code = main(["train", recipe, *short, *options])
    if code:
        raise SystemExit(f"{recipe}: exit code {code}")


def write_all(folder: Path) -> None:
    shutil.rmtree(shipped.FOLDER, ignore_errors=True)
    for dtype in ("float32", "float64"):
        solve(dtype)
    select()
    for words in TRAINED:
        train(folder, *words)
    for recipe in VARIATIONAL:
        for features in REGISTERS:
            env = {**os.environ, "NUMBA_CPU_FEATURES": features}
            subprocess.run([sys.executable, __file__, recipe], env=env, check=True)


if __name__ == "__main__":
    Kernel._compiled = store  # pyright: ignore[reportPrivateUsage]
    with tempfile.TemporaryDirectory() as place:
        os.environ["NUMBA_CACHE_DIR"] = str(Path(place) / "cache")
        if sys.argv[1:]:
            train(Path(place), sys.argv[1], "--data.type", "digits")
        else:
            write_all(Path(place))
