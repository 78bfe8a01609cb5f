"""Every page: its Python blocks run, one after another; its commands are understood; the files and make targets it names exist."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_server import local_hub
from test_extract_text import GPT2, TEXT, saved
from torch import nn

import sparsecode as sc
from sparsecode.cli import main
from sparsecode.cli import train as train_cli
from sparsecode.cli.main import COMMANDS
from sparsecode.data import Digits, ShardWriter, Tokens
from sparsecode.models import Amortised, save_model
from sparsecode.named_sweeps import EXPERIMENTS
from sparsecode.nn import TopK
from sparsecode.recipes import RECIPES

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "docs/papers", "docs/tutorials", "docs/site")
PAGES = [ROOT / "README.md", *(page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md")))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
TABLE = "docs/papers/index.md"  # of all experiments: a hundred commands in its cells
Names = dict[str, Any]


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def _short(recipe: str, out: str, *changes: str) -> None:
    words = ["train", recipe, "--out", out, "--train.epochs", "0.05", "--no-figures"]
    assert main([*words, *(word for change in changes for word in ("--set", change))]) == 0


def _sae(folder: str, d: int = 8) -> None:
    save_model(Amortised(n_code=32, activation=TopK(k=4)).build((d,), seed=0), folder, {})


def _activations() -> Names:
    with ShardWriter("acts", valid=0.2, test=0.2) as writer:
        for number in range(60):
            ids = torch.arange(30)
            writer.append(torch.randn(30, 8), number, tokens=Tokens(ids, ids, torch.full((30,), number)))
    _sae("runs/acts-topk/model")
    host = nn.ModuleDict({"transformer": nn.ModuleDict({"h": nn.ModuleList(nn.Linear(8, 8) for _ in range(6))})})

    class Host(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer, self.head = host["transformer"], nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.transformer["h"][5](x))  # pyright: ignore[reportIndexIssue]

    lm, x = Host(), torch.randn(50, 8)
    wanted = lm(x).argmax(dim=1)
    blocks = nn.ModuleDict({"blocks": nn.ModuleList(nn.ModuleDict({"mlp": nn.Linear(8, 8)}) for _ in range(4))})

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = blocks["blocks"]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:  # pyright: ignore[reportGeneralTypeIssues]
                x = block["mlp"](x)
            return x

    def next_token_loss(output: torch.Tensor, _batch: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output, wanted, reduction="none")

    return {"module": Module(), "lm": lm, "batches": [x] * 60, "next_token_loss": next_token_loss}


def _evaluation() -> Names:
    _short("noise-digits", "runs/noise")
    _short("digits-topk", "runs/topk")
    splits = Digits().load()
    with ShardWriter("shards", rows_per_shard=5000) as writer:
        for number in range(80):
            rows = splits.train.take(slice(300))
            writer.append(rows.x, number, rows.label)
    assert main(["encode", "runs/topk", "shards", "--out", "codes"]) == 0
    x = splits.test.x[:50].flatten(1)
    atoms = torch.randn(80, 64)
    model = sc.RunFolder("runs/noise").best_model()
    z = sc.sparse_encode(x, atoms, 1.0)
    keys = torch.randn(3, 1, 8, 8)
    return {"x": x, "z": z, "atoms": atoms, "bias": torch.zeros(64), "model": model, "splits": splits, "keys": keys}


def _getting_started() -> Names:
    _short("digits-sdl", "runs/mine")
    return {}


def _host() -> Names:
    saved(Path("MODEL"), "GPT2", **GPT2)
    Path("text.txt").write_text(TEXT)
    return {}


def _interop() -> Names:
    _sae("ours")
    assert main(["convert", "ours", "downloads/layer_12", "--to", "saelens"]) == 0
    return {"x": torch.randn(5, 8)}


def _training() -> Names:
    x = np.random.default_rng(0).normal(size=(300, 64)).astype(np.float32)
    sc.fit(Amortised(n_code=256, activation=TopK(k=8)), x, epochs=1, out="runs/before", figures=False, progress=False)
    return {}


def _variational() -> Names:
    _short("digits-vsc", "runs/mnist-vsc")
    return {"x": Digits().load().test.x[:20]}


PREPARED: dict[str, Callable[[], Names]] = {
    "docs/activations.md": _activations,
    "docs/evaluation.md": _evaluation,
    "docs/getting-started.md": _getting_started,
    "docs/hub.md": lambda: _short("digits-topk", "runs/acts-topk") or {},
    "docs/host.md": _host,
    "docs/interop.md": _interop,
    "docs/training.md": _training,
    "docs/variational.md": _variational,
}
UNCHECKED = ("docs/tutorials/extending.md",)  # parts of one's own are of no type that the tests' type checker knows
BETWEEN = {("docs/getting-started.md", 1): {"x": torch.rand(5, 1, 8, 8)}, ("docs/activations.md", 1): None}
ELSEWHERE = {
    "docs/leaves.md": "run in a process of its own, without checks of types, by tests/test_leaves.py",
    "docs/tutorials/text-to-features.md": "run by tests/test_from_text.py, with a hub of its own, commands included",
    "docs/estimators.md": "run by tests/test_estimators.py, which goes on with its results",
}
LEFT_OUT = {
    (
        "docs/activations.md",
        2,
    ): "reads a cache of SAELens by the library `datasets`; its files are read in tests/test_tables.py",
    **{("docs/evaluation.md", i): "run by tests/test_denoise_alone.py, which looks at the result" for i in (3, 4)},
    ("docs/sweeps.md", 0): "an entry of a table, which is not a statement",
    **{("docs/scaling.md", i): "runs with the real Ray and Dask in `make test-scaling`" for i in range(3)},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", [name for name in NAMES if blocks(name, "python") and name not in ELSEWHERE])
def test_python_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if page in UNCHECKED:
        source = "\n".join(blocks(page, "python"))
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return
    torch.manual_seed(0)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        if page == "docs/hub.md":
            stack.enter_context(local_hub(tmp_path / "home", monkeypatch))
        names = PREPARED[page]() if page in PREPARED else {}
        for number, block in enumerate(blocks(page, "python")):
            if (page, number) in LEFT_OUT:
                continue
            if (page, number) in BETWEEN:
                if (given := BETWEEN[page, number]) is None:
                    os.rename("acts", "acts-before")
                else:
                    names |= given
            exec(compile(block, f"{page}, block {number}", "exec"), names)


def test_what_is_left_out_is_there() -> None:
    for page, number in (*LEFT_OUT, *BETWEEN):
        assert number < len(blocks(page, "python")), (page, number)


def commands() -> list[tuple[str, str]]:
    """Every line of a shell block that calls this program, with its page; and those in the table of all experiments."""
    lines = [(TABLE, line) for line in re.findall(r"`sparsecode ([^`]+)`", (ROOT / TABLE).read_text())]
    for page in NAMES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").split("\n"):
                match = re.search(r"(?:^|\s|\$\()sparsecode (?!completion bash\))(.*)", line)
                if match and not line.lstrip().startswith("#"):
                    lines.append((page, match[1]))
    return lines


class _Reached(Exception):
    pass


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow) if p == TABLE else p for p in sorted({page for page, _ in commands()})],
)
def test_commands_are_understood(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their arguments are parsed, of `train` the config built, as far as nothing has to be there."""
    monkeypatch.chdir(tmp_path)

    def reached(*_args: Any, **_options: Any) -> int:
        raise _Reached

    for name, command in COMMANDS.items():
        if name != "train":
            monkeypatch.setattr(import_module(command.home), f"{name}_command", reached)
    monkeypatch.setattr(train_cli, "_train", reached)
    for where, line in commands():
        if where != page:
            continue
        words = shlex.split(line, comments=True)
        words = words[: next((i for i, word in enumerate(words) if word in ("|", ">", "&&", ";", "done")), len(words))]
        if not words:
            continue
        words = [word.replace("$r", "digits-topk").rstrip(";") for word in words if word]
        if words[0] == "train" and "--resume" in words:
            assert {word for word in words[1:] if word.startswith("--")} <= {
                "--resume",
                "--extend",
                "--data.path",
                "--accelerator",
                "--no-figures",
            }
            continue
        try:
            code = main(words)
        except _Reached:
            code = 0
        assert code == 0, f"{page}: sparsecode {line}\n{capsys.readouterr().err}"


def test_every_experiment_of_the_papers_has_its_place_in_the_table() -> None:
    """Commands, recipes and named sweeps in its cells exist, and no named sweep of the papers is left out."""
    named: set[str] = set()
    for line in (line for page, line in commands() if page == TABLE):
        command, *words = shlex.split(line)
        assert command in COMMANDS, line
        if command in ("train", "sweep") and not words[0].startswith("--"):
            assert words[0] in RECIPES or (command == "sweep" and words[0] in EXPERIMENTS), line
            named.add(words[0])
    large = {name for name in EXPERIMENTS if name.startswith(("noise-latents", "noise-cifar"))}
    assert large - {"noise-cifar-nets"} <= named  # whose two recipes stand in lines of their own
    assert {name for name in RECIPES if name.startswith(("mnist-", "fashion-vae"))} - {"mnist-vsc"} <= named


def test_tests_that_pages_name_exist() -> None:
    named = [match for page in NAMES for match in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / page).read_text())]
    assert len(named) > 25
    for file, name in named:
        assert f"\ndef {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_files_and_targets_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in NAMES:
        text = (ROOT / page).read_text()
        for target in re.findall(r"`make ([a-z-]+)`", text) + re.findall(r"^make ([a-z-]+)", text, re.MULTILINE):
            assert target in targets or target.startswith("bench-"), f"{page}: make {target}"
        for path in re.findall(
            r"(?:`|python |\()((?:\.\./)*(?:benchmarks|docs|tests|sparsecode)/[\w./-]+\.(?:py|json|sh|md|png))", text
        ):
            near = [(ROOT / page).parent / path, ROOT / path]
            assert any(place.exists() for place in near), f"{page}: {path}"
