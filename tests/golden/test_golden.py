"""The numbers of a tiny run per recipe; a change here is a change of results, and must be meant.

To renew: python tests/golden/test_golden.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from toys import toy

from sparsecode.recipes import RECIPES
from sparsecode.runner import run

FILE = Path(__file__).with_name("golden.json")
WATCHED = ("psnr", "explained_variance", "objective", "l0")


def numbers(name: str, folder: Path) -> dict[str, float]:
    result = run(toy(name, folder), folder / name, accelerator="cpu")
    assert result.evaluation is not None
    scores = {f"{c}/{q}": float(getattr(s, q)) for c, s in result.evaluation.scores.items() for q in WATCHED}
    return scores | {f"{c}/denoised psnr": d[0].psnr for c, d in result.evaluation.denoising.items()}


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_numbers_stay(name: str, tmp_path: Path) -> None:
    expected = json.loads(FILE.read_text())[name]
    assert numbers(name, tmp_path) == pytest.approx(expected, rel=2e-3)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = {name: numbers(name, Path(folder)) for name in RECIPES}
    FILE.write_text(json.dumps(found, indent=2) + "\n")
