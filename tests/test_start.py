"""What a process imports before its first result, and what that costs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparsecode.data import Digits, Photos

LARGE = ("torch._dynamo", "torch._inductor", "lightning_fabric", "matplotlib", "sklearn", "scipy", "pandas", "numba")
# Of processor seconds in units of `import torch`: what lies above 1, and what compiling takes, are 0.19, 0.58 and 2.8 as measured.
ENCODE_LIMIT, TRAIN_LIMIT, COMPILE_LIMIT = 1 + 0.19 / 0.7, 1 + 0.58 / 0.7, 2.8 / 0.7
ENCODE = """
import sys
import numpy as np
import sparsecode as sc
r = np.random.default_rng(0)
sc.sparse_encode(r.normal(size=(100, 64)), r.normal(size=(128, 64)), alpha=1.0)
print(*sorted(name for name in {large} if name in sys.modules))
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


def processor(words: list[str], cache: Path) -> float:
    """Seconds of the processor, of a process and those that it starts."""
    environment = {**os.environ, "SPARSECODE_CACHE": str(cache), "NUMBA_CACHE_DIR": ""}
    process = subprocess.Popen([sys.executable, *words], env=environment, stdout=subprocess.DEVNULL)
    _, status, use = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    return use.ru_utime + use.ru_stime


@pytest.mark.slow
def test_a_loaded_kernel_needs_nothing_large(tmp_path: Path) -> None:
    encode = [sys.executable, "-c", ENCODE.replace("{large}", repr(LARGE))]
    environment = {**os.environ, "SPARSECODE_CACHE": str(tmp_path), "NUMBA_CACHE_DIR": ""}
    for expected in ("numba scipy", ""):  # compiled, then loaded
        done = subprocess.run(encode, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="seconds of a child process are POSIX's")
def test_first_results_cost_what_they_have_cost(tmp_path: Path) -> None:
    """In units of `import torch`, interleaved; the limits are what `benchmarks/start.py` measured, divided by 0.7."""
    encode = ["-c", ENCODE.replace("{large}", "()")]
    works = {
        "torch": ["-c", "import torch"],
        "encode": encode,
        "train": ["-m", "sparsecode", *TRAIN],
    }
    cold = [processor(encode, tmp_path / f"cold{i}") for i in range(3)]
    seconds: dict[str, list[float]] = {name: [] for name in works}
    processor(encode, tmp_path / "warm")
    for turn in range(3):
        for name, words in works.items():
            more = [str(tmp_path / f"run{turn}")] if name == "train" else []
            seconds[name].append(processor([*words, *more], tmp_path / "warm"))
    median = {name: statistics.median(times) for name, times in seconds.items()}
    assert median["encode"] / median["torch"] < ENCODE_LIMIT
    assert median["train"] / median["torch"] < TRAIN_LIMIT
    assert (statistics.median(cold) - median["encode"]) / median["torch"] < COMPILE_LIMIT
