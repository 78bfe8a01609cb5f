"""Two processes train the model that one trains."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from toys import IN_FLOAT64, KINDS, big_digits, toy
from waiting import PATIENCE

from sparsecode.models.storage import build_model
from sparsecode.runner import run
from sparsecode.runs import RunFolder

HERE = Path(__file__).parent

# One for each way to share work: batch-wide counts, variances, moments, dead codes, priors, noise by rows. The others are slow tests.
AMONG_RANKS = (
    "digits-sdl", "mnist-vdl", "photos-olshausen-field", "digits-dae", "digits-topk", "acts-batchtopk", "acts-jumprelu", "mnist-kl-16", "digits-vsc",
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """Data, and the runs of two processes: trained by the first of pytest's workers that needs them, for all."""
    names = [
        name
        for name in KINDS
        if any(item.name == f"test_two_ranks_equal_one[{name}]" for item in request.session.items)
    ]
    common = tmp_path_factory.getbasetemp()
    common = (common.parent if os.environ.get("PYTEST_XDIST_WORKER") else common) / "ranks"
    common.mkdir(exist_ok=True)
    data, out, done = common / "data", common / "two", common / "done"
    with (common / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            data.mkdir()
            out.mkdir()
            big_digits(data)
            _train(data, out, names)
            done.touch()
    return data, out


def _train(data: Path, out: Path, names: list[str]) -> None:
    """As torchrun starts them, whose own process would import torch once more."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE}:{HERE.parent}"}
    command = [sys.executable, str(HERE / "rank_worker.py"), str(data), str(out), *names]
    ranks = [
        subprocess.Popen(
            command,
            env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        for process in ranks:
            _, problem = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, problem
    finally:
        for process in ranks:
            process.kill()
            process.wait()


@pytest.mark.parametrize("name", [n if n in AMONG_RANKS else pytest.param(n, marks=pytest.mark.slow) for n in KINDS])
def test_two_ranks_equal_one(folders: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    data, two = folders
    config = toy(name, data, precision="64-true" if name in IN_FLOAT64 else "32-true")
    run(config, tmp_path / "one", accelerator="cpu", figures=False)
    state = "resume/state.safetensors"
    one, other = load_file(tmp_path / "one" / state), load_file(two / name / state)
    splits = config.data.load()
    start = build_model(config.model, splits.shape, config.seed, splits.target_shape).state_dict()
    assert one.keys() == other.keys()
    for key, value in one.items():
        if key.startswith("model/") and value.is_floating_point():
            moved = float((value - start[key.removeprefix("model/")]).norm())
            # codes stop within tol of the optimum, and where exactly depends on the rounding of other shapes
            assert float((value - other[key]).norm()) <= 1e-3 * moved + 1e-7, key
    losses = [
        [float(r["loss"]) for r in RunFolder(p).metrics() if r["kind"] == "train"]
        for p in (tmp_path / "one", two / name)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
