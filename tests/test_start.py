"""What a process imports before its first result, and what that costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparsecode.data import Digits, Photos
from sparsecode.kernels import jit, shipped

LARGE = ("torch._dynamo", "torch._inductor", "lightning_fabric", "matplotlib", "sklearn", "scipy", "pandas", "numba")
ENCODE = """
import sys, zlib
import numpy as np
import sparsecode as sc
r = np.random.default_rng(0)
x, atoms = r.normal(size=(100, 64)).astype({dtype}), r.normal(size=(128, 64)).astype({dtype})
code = sc.sparse_encode(x, atoms, alpha=1.0)
print(zlib.crc32(np.asarray(code).tobytes()), *sorted(name for name in {large} if name in sys.modules))
"""
TRAIN = ("train", "digits-topk", "--train.epochs", "0.05", "--accelerator", "cpu", "--no-figures", "--out")
PROGRAM = """
import sys
from sparsecode.cli import main
code = main(sys.argv[1:])
print("code", code, *sorted(name for name in {large} if name in sys.modules))
"""


def test_training_imports_neither_torchs_compiler_nor_what_draws(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{large}", repr(LARGE)), *TRAIN, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["code 0"], done.stdout + done.stderr


def test_data_inside_scikit_learn_are_those_that_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits, load_sample_images

    pixels, labels = load_digits(return_X_y=True)
    train, valid, test = (split for split in Digits().load()[:3])
    x = np.concatenate([np.asarray(split.x).reshape(-1, 64) for split in (train, valid, test)])
    y = np.concatenate([np.asarray(split.label) for split in (train, valid, test)])
    order, expected = np.lexsort((y, *x.T)), np.lexsort((labels, *(pixels / 16).astype(np.float32).T))
    assert np.array_equal(x[order], (pixels / 16).astype(np.float32)[expected])
    assert np.array_equal(y[order], labels[expected])
    grey = [np.asarray(photo) @ np.array([0.299, 0.587, 0.114]) / 255 for photo in load_sample_images().images]
    some = Photos(size=2, shrink=1, n_train=6, n_valid=1, n_test=1).load().train.x.numpy()
    assert some.shape == (6, 2, 2)
    windows = [np.lib.stride_tricks.sliding_window_view(photo, (2, 2)).reshape(-1, 4) for photo in grey]
    for i, patch in enumerate(some.reshape(6, 4)):
        near = windows[i % 2].astype(np.float32)
        near = near - near.mean(axis=1, keepdims=True)
        assert np.abs(near - patch).max(axis=1).min() < 1e-6
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match="scikit-learn, whose data these are, is not installed"):
        Digits().load()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_call_and_later_ones_need_nothing_large_and_give_the_same_bits(tmp_path: Path, dtype: str) -> None:
    program = ENCODE.replace("{large}", repr(LARGE)).replace("{dtype}", repr(dtype))
    environment = {**os.environ, "SPARSECODE_CACHE": str(tmp_path), "NUMBA_CACHE_DIR": ""}
    seen = [
        subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert len(seen[0].split()) == 1  # the codes alone: no module
    assert seen[0] == seen[1]
    assert list(tmp_path.rglob("*.compiled"))


def test_the_functions_that_come_with_the_package_are_made_of_its_source() -> None:
    """Others are compiled by numba, which takes longer. `make kernels` writes them anew."""
    known = shipped.stamps()
    assert len(known) > 5
    for name, stamp in known.items():
        source = shipped.FOLDER.parent / f"{name}.py"
        assert jit._stamp(source).hex() == stamp, f"{name}.py has changed: make kernels"  # pyright: ignore[reportPrivateUsage]
