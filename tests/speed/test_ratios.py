"""No ratio falls below 70 % of the one that the same short measurement gave before, and the table of ratios is that of the files."""

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
common: Any = import_module("common")
PEERS = {"lasso": "spams", "dictionary": "spams", "autoencoders": "sae_lens", "correlated": "spams"}
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


def test_ratios_are_compared_on_machines_of_one_width_and_of_no_fewer_units() -> None:
    for width, records in ratios.kept().items():
        there = records["autoencoders"]["machine"]
        assert there["capability"] == width
        assert ratios.comparable("autoencoders", {**there, "cpu": "another"}) == records["autoencoders"]["ratios"]
        other = ratios.comparable("autoencoders", {**there, "cpu": "another", "capability": "DEFAULT"})
        assert other == "no measurement of autoencoders with DEFAULT (another) is kept; measured with AVX512, AVX2"
        assert isinstance(ratios.comparable("lasso", {**records["lasso"]["machine"], "units": []}), dict)
    wide = ratios.kept()["AVX512"]["autoencoders"]["machine"]
    assert "lacks" in ratios.comparable("autoencoders", {**wide, "units": []})
    assert ratios.comparable("start", wide) == ratios.kept()["AVX2"]["start"]["ratios"]  # imports do not depend on it
    assert ratios.kept_table()[0][2:] == tuple(ratios.kept())


def test_a_width_with_measurements_of_other_benchmarks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = ratios.kept()
    here = widths["AVX2"].pop("autoencoders")["machine"]
    monkeypatch.setattr(ratios, "kept", lambda _: widths)
    words = f"no measurement of autoencoders with AVX2 ({here['cpu']}) is kept"
    assert ratios.comparable("autoencoders", here) == f"{words}; measured with AVX512"
    del widths["AVX512"]["autoencoders"]
    assert ratios.comparable("autoencoders", here) == words


@pytest.mark.slow
@pytest.mark.parametrize("name", ratios.GUARDED)
def test_ratio_is_what_it_was(name: str) -> None:
    before = ratios.comparable(name, common.machine())
    if isinstance(before, str):
        pytest.skip(before)
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
    now = json.loads(done.stdout.splitlines()[-1])["ratios"]
    stored = {what for records in ratios.kept().values() if name in records for what in records[name]["ratios"]}
    assert before.keys() <= now.keys() <= stored, (
        "of another width some may not have been measured yet; none is stored nowhere"
    )
    lines = {
        what: f"{name}, {what}: {now[what]:.2f}, stored {value:.2f} in benchmarks/results/ratios.json, {now[what] / value:.0%} of it"
        for what, value in before.items()
    }
    print(*lines.values(), sep="\n")  # noqa: T201 - shown by -rP and when a ratio is lost
    lost = [line for what, line in lines.items() if now[what] < ratios.KEPT * before[what]]
    assert not lost, "\n".join(lost)
