"""A run killed at random moments, in real processes, ends in the same bits (tests/test_kills.py kills at every write)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from waiting import PATIENCE, wait_until

from sparsecode.runs import RunFolder

EPOCHS, STEPS = 3, 28  # steps per epoch
COMMAND = [
    sys.executable, "-m", "sparsecode", "train", "digits-sdl", "--accelerator", "cpu", "--no-figures", "--train.epochs", str(EPOCHS),
    "--train.batch-size", "50", "--train.log-every", "1", "--train.evaluate-every", "0.5",
    "--train.checkpoint-every", "0.1", "--evaluate.sigmas", "0.5",
]  # fmt: skip
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def train(out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--out", str(out), *options],
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(out: Path) -> str:
    process = train(out)
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, text
    return text


def logged_step(folder: RunFolder) -> int:
    records = folder.metrics()
    return int(records[-1]["step"]) if records else 0


def assert_same_run(one: Path, other: Path) -> None:
    for file in ("resume/state.safetensors", "model/sae_weights.safetensors"):
        a, b = load_file(one / file), load_file(other / file)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a), file
    records = [[{k: v for k, v in r.items() if k != "seconds"} for r in RunFolder(p).metrics()] for p in (one, other)]
    assert records[0] == records[1]
    assert RunFolder(one).evaluation() == RunFolder(other).evaluation()
    assert not list(other.rglob("*.partial"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(out)
    return out


def kill_at_random_steps(out: Path, kills: int, seed: int) -> list[int]:
    folder, dice, killed_at = RunFolder(out), random.Random(seed), list[int]()
    for _ in range(kills):
        before = logged_step(folder)
        process = train(out)
        target = before + dice.randint(1, max(1, (EPOCHS * STEPS - before) // 4))
        wait_until(lambda target=target: logged_step(folder) >= target, process)
        process.kill()
        text, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == -signal.SIGKILL, text
        killed_at.append(logged_step(folder))
    return killed_at


@pytest.mark.slow
def test_killed_ten_times_it_ends_in_the_same_bits(undisturbed: Path, tmp_path: Path) -> None:
    killed_at = kill_at_random_steps(tmp_path / "run", kills=10, seed=1)
    assert len(set(killed_at)) > 5, killed_at
    finish(tmp_path / "run")
    assert_same_run(undisturbed, tmp_path / "run")


# sent within a process by the recipes' contract tests, and to sweeps
@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_signal_saves_and_says_how_to_go_on(undisturbed: Path, tmp_path: Path, kind: signal.Signals) -> None:
    out = tmp_path / "run"
    process = train(out)
    wait_until(lambda: logged_step(RunFolder(out)) >= 5, process)
    process.send_signal(kind)
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + kind
    state = RunFolder(out).state()
    assert state is not None
    assert 5 <= state.step < state.total_steps
    assert f"sparsecode train --resume {out}" in text
    resumed = subprocess.run(
        [sys.executable, "-m", "sparsecode", "train", "--resume", str(out)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(undisturbed, out)


@pytest.mark.slow
def test_a_second_training_in_the_same_folder_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = train(out, "--train.epochs", "1000")
    wait_until(lambda: logged_step(RunFolder(out)) >= 1, process)
    second = train(out, "--train.epochs", "1000")
    text, _ = second.communicate(timeout=PATIENCE)
    assert process.poll() is None, "the first training has ended too early"
    process.kill()
    process.communicate()
    assert second.returncode == 3
    assert "another process is training here" in text
