"""A forked child computes what its parent did, although torch's threads do not survive the fork."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE

PROGRAM = """
import multiprocessing, os, signal
import numpy as np, torch
from sparsecode import learn_dictionary, omp_encode, sparse_encode
from sparsecode.models.iterative import Iterative

torch.set_num_threads(2)
x, D = np.random.default_rng(0).normal(size=(2000, 64)), np.random.default_rng(1).normal(size=(128, 64))
model = Iterative(n_code=128, weight=0.5).build((64,), 0).double()

def results():
    yield sparse_encode(x, D, 5.0)
    yield omp_encode(x, D, 3)
    yield learn_dictionary(x, 20, 1.0, max_steps=3).atoms
    yield model.encode(torch.from_numpy(x)).numpy()

expected = list(results())

def child():
    signal.alarm(600)  # ends a child that waits for threads that it does not have
    for name, one, other in zip(("sparse_encode", "omp_encode", "learn_dictionary", "encode"), results(), expected):
        np.testing.assert_allclose(one, other, atol=1e-9)
        print(name, flush=True)

process = multiprocessing.get_context("fork").Process(target=child)
process.start(); process.join(); assert process.exitcode == 0
if os.fork() == 0:
    child(); os._exit(0)
assert os.wait()[1] == 0
assert torch.get_num_threads() == 2
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_computes_the_same(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == 2 * ["sparse_encode", "omp_encode", "learn_dictionary", "encode"]
