"""Sweeps on a real Ray cluster of this machine, a worker's death included."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from waiting import PATIENCE

from sparsecode.data import Digits
from sparsecode.runs import RunFolder
from sparsecode.sweeps import Axis, Job, jobs_of, read_results, serial, sweep
from sparsecode.sweeps.ray import on_ray

on_a_cluster = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own


def grid(root: Path, epochs: float) -> list[Job]:
    path = root.parent / "digits.npy"
    np.save(path, Digits().load().train.x.flatten(1).numpy())  # without their shape, lest they be drawn
    data = f'data={{"type":"arrays","path":"{path}"}}'
    short = (f"train.epochs={epochs}", "model.n_code=16", "evaluate.sigmas=[]", "train.evaluate_every=20", data)
    return jobs_of(["digits-sdl"], [Axis.parse("seed=0,1")], (*short, "train.checkpoint_every=1"), root, figures=False)


def tensors(job: Job) -> dict[str, torch.Tensor]:
    return RunFolder(job.folder).best_model().state_dict()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_gives_what_serial_gives_and_a_killed_worker_costs_nothing(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    here, there = grid(tmp_path / "here", 60), grid(tmp_path / "there", 60)
    assert all(o.evaluation for o in sweep(here, tmp_path / "here", serial(accelerator="cpu")))
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=kill_worker, args=(there, killed, over))
    killer.start()
    try:
        outcomes = list(sweep(there, tmp_path / "there", on_ray(accelerator="cpu")))
    finally:
        over.set()
        killer.join()
    assert killed, "the runs were over before a worker could be killed"
    assert [o.problem for o in outcomes] == ["", ""]
    expected = {r.run: r for r in read_results(tmp_path / "here")}
    result = {r.run: r for r in read_results(tmp_path / "there")}
    assert result == expected
    for ours, theirs in zip(here, there, strict=True):
        for name, value in tensors(ours).items():
            torch.testing.assert_close(tensors(theirs)[name], value, rtol=0, atol=0)


def kill_worker(jobs: Sequence[Job], killed: list[int], over: threading.Event) -> None:
    """SIGKILL for the first process that has trained and saved something."""
    while not over.is_set():
        for job in jobs:
            state, pid = RunFolder(job.folder).state(), holder(job.folder / ".lock")
            if pid and state and 0 < state.step < state.total_steps:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                return
        time.sleep(0.05)


def interrupt_when_begun(jobs: Sequence[Job]) -> None:
    """SIGINT for this process once a run has taken steps."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and not any(RunFolder(job.folder).metrics() for job in jobs):
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)


def holder(lock: Path) -> int | None:
    """The process that holds a lock file."""
    if not lock.exists():
        return None
    inode = str(lock.stat().st_ino)
    for line in Path("/proc/locks").read_text().splitlines():
        parts = line.split()
        if parts[1] == "FLOCK" and parts[5].rpartition(":")[2] == inode:
            return int(parts[4])
    return None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_giving_up_saves_what_is_running(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    jobs = grid(tmp_path / "there", 4000)
    backend = on_ray(accelerator="cpu")
    outcomes = backend(jobs)
    threading.Thread(target=interrupt_when_begun, args=(jobs,)).start()
    with pytest.raises(KeyboardInterrupt):
        list(outcomes)
    outcomes.close()  # pyright: ignore - a generator
    states = [RunFolder(job.folder).state() for job in jobs]
    assert any(state and state.stopped_by for state in states)


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'sparsecode\[ray\]'"):
        on_ray()


def test_shares_of_a_machine_are_checked() -> None:
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match="cpus is 0 and gpus 0 per run"):
        on_ray(cpus=0)
