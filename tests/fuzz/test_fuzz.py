"""Inputs at random: no traceback, no hang, no exit code but the documented ones, no file written outside the folder of the input.

`make test-fuzz` tries 10 000, the slow tests 1 000. What they find is printed with its files. `SPARSECODE_FUZZ_SEED` chooses other
inputs, `SPARSECODE_FUZZ_INPUTS` how many in all, and `SPARSECODE_FUZZ_SECONDS` bounds the time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz.campaign import campaign
from fuzz.inputs import kinds, prepare

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork, /proc and limits of memory")

SHARES = {"config": 0.3, "arrays": 0.3, "foreign": 0.25, "argv": 0.15}
SAMPLE = {"config": 6, "arrays": 8, "foreign": 12, "argv": 5}


def tried(kind: str, n: int, trained: Path, folder: Path, seed: int, seconds: float) -> int:
    with pytest.MonkeyPatch.context() as patch:
        (folder / "data").mkdir(parents=True)
        patch.setenv("SPARSECODE_DATA", str(folder / "data"))  # no downloads
        patch.setenv("SPARSECODE_CACHE", str(folder / "cache"))
        result = campaign(kind, kinds(trained)[kind], n, folder, seed, seconds)
    assert not result.findings, f"{len(result.findings)} of {result.done}" + "".join(map(str, result.findings))
    return result.done


@pytest.fixture(scope="module", autouse=True)
def _prepared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> None:  # pyright: ignore[reportUnusedFunction] - pytest does
    prepare(trained, tmp_path_factory.mktemp("prepared"))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", SAMPLE)
def test_a_sample_of_damaged_inputs(kind: str, trained: Path, tmp_path: Path) -> None:
    assert tried(kind, SAMPLE[kind], trained, tmp_path, 1, 60) == SAMPLE[kind]


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", SHARES)
def test_many_damaged_inputs(
    kind: str, trained: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("SPARSECODE_FUZZ_SEED", "0"))
    n = int(SHARES[kind] * int(os.environ.get("SPARSECODE_FUZZ_INPUTS", "1000")))
    seconds = SHARES[kind] * float(os.environ.get("SPARSECODE_FUZZ_SECONDS", "7200"))
    record_property("inputs tried", tried(kind, n, trained, tmp_path, seed, seconds))
