"""No benchmark's ratio falls below 70 % of the one in benchmarks/results, and the table of ratios is that of the files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

ratios: Any = import_module("ratios")
KEPT = 0.7
PEERS = {"lasso": "spams", "dictionary": "spams", "autoencoders": "sae_lens"}
DATA = {"autoencoders": "acts_minilm_l3_wikitext2_16k_f16.npz", "sweep": "cifar10_convmixer_latents.npz"}


def test_the_table_has_every_benchmark_and_the_ratios_of_its_files() -> None:
    every = ratios.ratios()
    assert {row.benchmark for row in every} == set(ratios.GUARDED)
    lasso = json.loads((ROOT / "benchmarks/results/lasso-easy.json").read_text())["results"]
    (spams,) = (row.value for row in every if row.what == "easy: SPAMS cd, f32")
    assert spams == pytest.approx(lasso["SPAMS cd, f32"]["seconds"] / lasso["sparse_encode"]["seconds"])
    (head, *rows), machines = ratios.table()
    assert len(rows) == len(every)
    assert {row[-1] for row in rows} == {str(i + 1) for i in range(len(machines))}
    assert all(len(row) == len(head) for row in rows)


def test_machines_of_another_width_are_not_compared() -> None:
    kept = json.loads((ROOT / "benchmarks/results/autoencoders.json").read_text())["machine"]
    units = kept.get("units", ["avx512_bf16", "avx512_vnni"])
    assert ratios.not_comparable("autoencoders", {**kept, "units": units, "cpu": "another"}) is None
    assert "AVX2" in ratios.not_comparable("lasso", {**kept, "units": units, "capability": "AVX2"})
    assert "lacks" in ratios.not_comparable("autoencoders", {**kept, "units": []})
    assert ratios.not_comparable("lasso", {**kept, "units": []}) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ratios.GUARDED)
def test_ratio_is_what_it_was(name: str) -> None:
    python = os.environ.get("SPARSECODE_BENCH", sys.executable)
    if (peer := PEERS.get(name)) and subprocess.run([python, "-c", f"import {peer}"], check=False).returncode:
        pytest.skip(f"{peer} is not installed for {python}; make test-speed has an environment for it")
    if (file := DATA.get(name)) and not (Path(os.environ.get("SPARSECODE_DATA", ROOT / "no")) / file).exists():
        pytest.skip(f"SPARSECODE_DATA has no {file}")
    done = subprocess.run(
        [python, "benchmarks/ratios.py", name],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    if result["skip"]:
        pytest.skip(result["skip"])
    lines = [
        f"{name}, {what}: {now:.2f}, stored {before:.2f} in benchmarks/results, {now / before:.0%} of it"
        for what, (now, before) in result["ratios"].items()
    ]
    print(*lines, sep="\n")  # noqa: T201 - shown by -rP and when a ratio is lost
    lost = [line for line, (now, before) in zip(lines, result["ratios"].values(), strict=True) if now < KEPT * before]
    assert lines
    assert not lost, "\n".join(lost)
