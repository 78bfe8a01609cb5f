"""The page docs/tutorials/text-to-features.md, run as it stands: its Python blocks and its commands, in order."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import local_hub

import sparsecode as sc
from sparsecode.cli import main

PAGE = Path(__file__).parents[1] / "docs/tutorials/text-to-features.md"
PEERS = os.environ.get("SPARSECODE_PEERS")
LOADED = "import torch\nfrom safetensors.torch import load_file\n\nours, rows = load_file('rows.safetensors').values()\nours = ours.numpy()\n"


def blocks() -> list[tuple[str, str]]:
    return re.findall(r"^```(python|sh)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def run_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run all blocks but the last, which is another package's; the last one."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    with local_hub(folder / "home", monkeypatch):
        for number, (kind, block) in enumerate(blocks()[:-1]):
            if kind == "python":
                exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
            else:
                for line in block.strip().split("\n"):
                    assert main(shlex.split(line)[1:]) == 0
    return blocks()[-1][1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_page_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = run_page(tmp_path, monkeypatch)
    shown = capsys.readouterr().out
    assert shown.count("of the tokens") == 10
    assert "->" in shown
    assert "import SAE" in theirs
    assert main(["features", "runs/text", "--export", "neuronpedia", "pages"]) == 0
    batch = json.loads(Path("pages/batch-0.json").read_text())
    assert (batch["model_id"], batch["layer"]) == ("host", 0)
    words = set(Path("text.txt").read_text().split()) | {"[END]"}
    for feature in batch["features"]:
        assert len(feature["pos_str"]) == len(feature["neg_str"]) == 10
        assert words >= {*feature["pos_str"], *feature["neg_str"]}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    PEERS is None, reason="SPARSECODE_PEERS names no python with the real SAELens; run make test-interop"
)
def test_saelens_opens_what_the_page_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save_file

    theirs = run_page(tmp_path, monkeypatch)
    assert main(["convert", "runs/text", "out/saelens", "--to", "saelens"]) == 0
    rows = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    ours = sc.load_model("runs/text/model").reconstruct(rows)
    save_file({"ours": ours.contiguous(), "rows": rows}, "rows.safetensors")
    assert PEERS is not None
    done = subprocess.run([PEERS, "-c", LOADED + theirs], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
