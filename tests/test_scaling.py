"""Several machines: two nodes of torchrun, and the programs of docs/scaling.md."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from toys import big_digits, toy
from waiting import PATIENCE

from sparsecode.runner import run

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "scaling.md").read_text(encoding="utf-8")


def program(title: str) -> str:
    """The Python block of a section."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return block


def called(command: list[str], folder: Path, **env: str) -> subprocess.Popen[str]:
    variables = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": f"{HERE}:{HERE.parent}"}
    return subprocess.Popen(
        command, cwd=folder, env={**os.environ, **variables, **env}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )  # fmt: skip


def finished(*processes: subprocess.Popen[str]) -> None:
    try:
        for process in processes:
            _, problem = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, problem[-4000:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_two_nodes_of_torchrun_train_the_model_that_one_process_trains(tmp_path: Path) -> None:
    """Two agents with a process each, which is what two machines are to torch."""
    big_digits(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    place = ["--rdzv-backend", "static", "--master-addr", "127.0.0.1", "--master-port", str(port), "--rdzv-id", "test"]
    worker = [str(HERE / "rank_worker.py"), str(tmp_path), str(tmp_path / "two"), "digits-topk"]
    finished(*(called([*torchrun, *place, "--node-rank", rank, *worker], tmp_path) for rank in "01"))
    run(toy("digits-topk", tmp_path), tmp_path / "one", accelerator="cpu", figures=False)
    same_weights(tmp_path / "one", tmp_path / "two" / "digits-topk")


def same_weights(one: Path, other: Path) -> None:
    ours, theirs = (load_file(path / "resume/state.safetensors") for path in (one, other))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if name.startswith("model/") and value.is_floating_point():
            np.testing.assert_allclose(theirs[name].numpy(), value.numpy(), rtol=1e-3, atol=1e-5, err_msg=name)


PROGRAMS = {"Dask": "distributed", "Ray Data": "ray", "Ray Train": "ray"}
THERE = [
    title for title, package in PROGRAMS.items() if importlib.util.find_spec(package)
]  # all in `make test-scaling`


@pytest.mark.parametrize("title", PROGRAMS)
def test_programs_of_the_page_are_python(title: str) -> None:
    compile(program(title), title, "exec")


@pytest.mark.slow
@pytest.mark.parametrize("title", THERE)
def test_the_page_does_what_it_says(title: str, tmp_path: Path) -> None:
    """Programs that give codes end with a comparison; that which trains leaves a finished run."""
    (tmp_path / "page.py").write_text(program(title), encoding="utf-8")
    if (
        title != "Ray Train"
    ):  # the first run may compile kernels, whose bits are those of later runs within the tolerance alone
        called([sys.executable, "page.py"], tmp_path).communicate(timeout=PATIENCE)
    finished(called([sys.executable, "page.py"], tmp_path))
    assert (tmp_path / "run" / "eval.json").exists() == (title == "Ray Train")
