"""Runs on one stream of batches: each as by itself, the source read once, whatever differs between them; resumed after a kill."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import call
from safetensors.torch import load_file
from test_extract_text import GPT2, SINK, TEXT, saved
from test_host import source
from test_stacked import configs, planned, separately, together

from sparsecode.cli.main import main
from sparsecode.data import Digits, Splits
from sparsecode.data.splits import Reader
from sparsecode.overrides import replaced
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch
from sparsecode.runs import Run, RunFolder
from sparsecode.sweeps import Axis, jobs_of, shared
from sparsecode.sweeps.shared import groups_of
from sparsecode.train.session import TrainingSession
from sparsecode.train.stacked import train_side_by_side
from sparsecode.train.steps import steps_for

pytestmark = SINK
TOPK = replaced(
    RECIPES["digits-topk"](), {"model.n_code": 40, "train.epochs": 0.5, "train.batch_size": 64, "data": "digits"}
)
CHANGES: list[dict[str, Any]] = [
    {"model.activation.k": 4},
    {"model.activation.k": 8, "seed": 3},
    {"model.n_code": 20},
    {"model.activation": {"type": "relu"}, "train.epochs": 0.3},
    {"model.activation": {"type": "batch_topk", "k": 4}},
]


@pytest.fixture(scope="module")
def digits() -> Splits:
    return Digits().load()


class Watched:
    """Samples that note what is read of them; in one order for all seeds."""

    one_order = True

    def __init__(self, split: Any) -> None:
        self.split, self.read = split, list[tuple[int, int]]()
        self.n = split.n

    def to(self, device: torch.device, dtype: torch.dtype) -> Watched:
        self.split = self.split.to(device, dtype)
        return self

    def reader(self, seed: int) -> Reader:
        del seed  # one order for all
        inner = self.split.reader(0)

        def read(epoch: int, first: int, last: int) -> Batch:
            self.read.append((epoch, first))
            return inner(epoch, first, last)

        return read

    def fingerprint(self) -> str:
        return "watched"


def session_of(run: Run, splits: Splits, resume: Path | None = None) -> TrainingSession:
    plan = planned(run, splits)
    model = plan.model.build(splits.shape, run.seed)
    return TrainingSession(model, splits, plan.optim, plan.train, run.seed, {"resume": resume})


def test_models_of_all_kinds_end_as_by_themselves_and_the_source_is_read_once(digits: Splits) -> None:
    stream = Watched(digits.train)
    runs = [replaced(TOPK, change) for change in CHANGES]
    splits = digits._replace(stream=stream)
    stack, members = together([replaced(run, {"train.batch_size": 64}) for run in configs({})[:2]], splits)
    sessions = [session_of(run, splits) for run in runs]
    assert train_side_by_side([(stack, members)], sessions) == {}
    steps = [session.step for session in (*members, *sessions)]
    assert steps == [session.total_steps for session in (*members, *sessions)]
    assert stream.read == sorted(set(stream.read))
    assert len(stream.read) == max(steps)
    for run, session in zip(runs, sessions, strict=True):
        expected = separately(run, digits._replace(stream=Watched(digits.train)))
        for name, value in session.model.state_dict().items():
            torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_a_run_ahead_waits_for_those_behind(digits: Splits, tmp_path: Path) -> None:
    """As after a kill: one was saved at step 10, the other begins."""
    run = replaced(TOPK, {"train.epochs": 2.0, "train.checkpoint_every": 0.5})
    first = session_of(run, digits, tmp_path)
    stopped = iter([None] * 21 + ["enough"] * 5)
    train_side_by_side([], [first])
    assert first.step == first.total_steps
    stream = Watched(digits.train)
    splits = digits._replace(stream=stream)
    early = session_of(run, splits, tmp_path / "early")
    reader = stream.reader(0)
    early.run([reader(0, i * 64, (i + 1) * 64) for i in range(20)], steps_for(early), lambda: next(stopped))
    stream.read.clear()
    late = session_of(replaced(run, {"seed": 1}), splits, tmp_path / "late")
    assert train_side_by_side([], [early, late]) == {}
    assert late.step == early.step == late.total_steps
    assert stream.read == sorted(stream.read)
    for name, value in first.model.state_dict().items():
        torch.testing.assert_close(early.model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_one_that_fails_leaves_the_others(digits: Splits) -> None:
    wild = replaced(TOPK, {"optim.groups": {"*": {"type": "sgd", "lr": 1e30}}, "optim.clip": None})
    stack, members = together([replaced(configs({})[0], {"train.batch_size": 64})], digits)
    sessions = [session_of(wild, digits), session_of(TOPK, digits)]
    failed = train_side_by_side([(stack, members)], sessions)
    assert list(failed) == [1]
    assert sessions[1].step == sessions[1].total_steps
    assert members[0].step == members[0].total_steps


def test_groups_share_data_batch_size_and_precision(tmp_path: Path) -> None:
    axes = [Axis.parse("train.batch_size=32,64"), Axis.parse("model.activation.k=2,4")]
    groups = groups_of(jobs_of(["digits-topk"], axes, (), tmp_path))
    assert [len(group) for group in groups] == [2, 2]
    (group,) = groups_of(
        jobs_of(["digits-topk"], [Axis.parse("train.epochs=1,2"), Axis.parse("seed=0,1")], (), tmp_path)
    )
    assert len(group) == 4


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("host")
    saved(home / "gpt", "GPT2", **GPT2)
    (home / "text.txt").write_text(TEXT)
    return home


def test_the_host_runs_once_for_all(home: Path) -> None:
    """As many forward passes for six runs as for one."""
    base = replaced(RECIPES["acts-topk"](), {"model.n_code": 24, "train.epochs": 2, "train.batch_size": 32})

    def passes(changes: list[dict[str, Any]]) -> int:
        splits = source(home).load()
        count = [0]
        network: Any = splits.stream.rows.host.network  # pyright: ignore
        network.register_forward_pre_hook(lambda *_: count.__setitem__(0, count[0] + 1))
        sessions = [session_of(replaced(base, change), splits) for change in changes]
        assert train_side_by_side([], sessions) == {}
        return count[0]

    six = [{"model.activation.k": k, "seed": seed} for k in (2, 4, 6) for seed in (0, 1)]
    assert passes(six) == passes(six[:1]) > 5


COMMAND = (
    "sweep", "acts-topk", "--over", "model.activation.k=2,4", "--set",
    'data={"type":"host","model":"gpt","text":"text.txt","hook_point":["h.1"],"length":12,"batch_size":8,"valid":0.2,"test":0.2,"buffer":200}',
    "--set", "model.n_code=24", "--set", "train.epochs=2", "--set", "train.batch_size=32", "--set", "train.checkpoint_every=0.3", "--set",
    "evaluate.sigmas=[]", "--no-figures", "--accelerator", "cpu", "--out", "sweep",
)  # fmt: skip


def place(home: Path, root: Path) -> Path:
    root.mkdir()
    for file in ("gpt", "text.txt"):
        (root / file).symlink_to(home / file)
    return root


def ended(root: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The weights of the runs of a sweep, all at their last step."""
    folders = sorted(path.parent for path in (root / "sweep").glob("*/eval.json"))
    assert [state.step for folder in folders if (state := RunFolder(folder).state())] == [22] * 2
    return {
        folder.name.rpartition("_")[0]: load_file(folder / "model" / "sae_weights.safetensors") for folder in folders
    }


@pytest.fixture(scope="module")
def serial(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    root = place(home, tmp_path_factory.mktemp("serial") / "root")
    with pytest.MonkeyPatch.context() as patch:  # in this process: the forks have what it imports
        patch.chdir(root)
        assert main(COMMAND) == 0
    return ended(root)


@pytest.mark.parametrize("kill_at", [pytest.param(None, marks=pytest.mark.slow), 50])
def test_the_command_ends_as_separate_runs_also_when_it_is_killed(
    kill_at: int | None, home: Path, serial: dict[str, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    root, command = place(home, tmp_path / "root"), (*COMMAND, "--backend", "shared")
    if kill_at:
        killed = call(command, root, kill_at)
        assert killed.code == -signal.SIGKILL, killed.said
        assert list((root / "sweep").glob("*/resume/state.safetensors"))
        assert not list((root / "sweep").glob("*/eval.json"))
    result = call(command, root)
    assert result.code == 0, result.said
    assert "2 runs on one stream of batches" in " ".join(result.said.split())
    results = ended(root)
    assert results.keys() == serial.keys()
    for run, tensors in serial.items():
        for key, value in tensors.items():
            torch.testing.assert_close(results[run][key], value, rtol=1e-4, atol=1e-6)


def test_jobs_that_cannot_begin_are_failures_of_their_own(tmp_path: Path) -> None:
    good, bad = jobs_of(["digits-topk"], [Axis.parse("seed=0,1")], ("train.epochs=0.1",), tmp_path, figures=False)
    wrong = replaced(bad.config, {"optim.groups": {"encoder": {"type": "adam"}}})
    outcomes = {o.job.folder: o for o in shared("cpu")([good, bad._replace(config=wrong)])}
    assert outcomes[good.folder].evaluation
    assert "optim.groups: no pattern" in outcomes[bad.folder].problem
