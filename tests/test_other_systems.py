"""What Windows and macOS lack is not needed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from waiting import PATIENCE

from sparsecode.ops.cores import cores
from sparsecode.train.fit import launch

# A process in which the modules and functions that only Linux or POSIX systems have cannot be had.
WITHOUT = """
import importlib, importlib.abc, os, pkgutil, signal, sys
ABSENT = {"fcntl", "resource", "pwd", "grp", "termios"}
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
for name in ABSENT:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
import torch  # which, like filelock, has an implementation of its own for each system
for name in ("sched_getaffinity", "register_at_fork"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("pthread_sigmask", "SIGKILL", "SIGHUP"):
    if hasattr(signal, name):
        delattr(signal, name)
import sparsecode
from sparsecode import learn_dictionary, omp_encode, sparse_encode
torch.set_num_threads(1)
x = torch.eye(4, 8, dtype=torch.float64)
z = sparse_encode(x, torch.eye(8, dtype=torch.float64), 0.25)
assert torch.equal(z, 0.75 * x), z
omp_encode(x, torch.eye(8, dtype=torch.float64), 1)
learn_dictionary(x, 2, alpha=0.1)
extra = {"PIL", "lightning_fabric", "matplotlib", "rich", "safetensors", "sklearn", "tyro"} & {*sys.modules}
assert not extra, f"codes and dictionaries need none of {extra}"
names = [m.name for m in pkgutil.walk_packages(sparsecode.__path__, "sparsecode.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
from sparsecode.ops.cores import cores
assert cores() == os.cpu_count()
from sparsecode.sweeps.processes import _blocked
with _blocked():
    pass
print(len(names))
"""


def test_every_module_is_imported_and_codes_are_found_without_what_posix_alone_has() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (False, "accelerator is 'mps', and Apple's GPU is not there; choose auto or cpu"),
        (
            True,
            "accelerator is 'mps', and Apple's GPU has no float64, which models and scores need; choose auto or cpu",
        ),
    ],
)
def test_an_apple_gpu_is_known_and_refused(there: bool, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there)
    with pytest.raises(ValueError) as caught:
        launch("32-true", "mps")
    assert str(caught.value) == message


def test_other_accelerators_are_named() -> None:
    with pytest.raises(ValueError, match=r"accelerator is 'tpu'; choose from auto, cpu, cuda$"):
        launch("32-true", "tpu")
