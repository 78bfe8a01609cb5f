"""The numbers of a tiny run per recipe; a change here is a change of results, and must be meant.

To renew: python tests/golden/test_golden.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from toys import EACH_KIND, replace, toy

from sparsecode.evaluate.reconstruction.denoising import DenoisedLevels
from sparsecode.models.iterative import Iterative
from sparsecode.nn.decoders import OneHidden
from sparsecode.recipes import RECIPES
from sparsecode.runner import run

FILE = Path(__file__).with_name("golden.json")
WATCHED = ("psnr", "explained_variance", "objective", "l0", "accuracy")


def numbers(name: str, folder: Path) -> dict[str, float]:
    config = toy(name, folder)
    model = config.model
    if isinstance(model, Iterative) and not isinstance(model.decoder, OneHidden) and model.link == "identity":
        # codes that hardly depend on how they were found
        config = replace(config, model=replace(model, inference=replace(model.inference, tol=1e-5, max_steps=2000)))
    result = run(config, folder / name, accelerator="cpu", figures=False)
    assert result.evaluation is not None
    values = {f"{c}/{q}": getattr(s, q) for c, s in result.evaluation.scores.items() for q in WATCHED}
    scores = {name: float(value) for name, value in values.items() if value is not None}
    return scores | {f"{c}/denoised psnr": d.levels[0].psnr for c, d in result.evaluation.of(DenoisedLevels).items()}


@pytest.mark.parametrize("name", EACH_KIND)
def test_the_numbers_stay(name: str, tmp_path: Path) -> None:
    expected = json.loads(FILE.read_text())[name]
    actual = numbers(name, tmp_path)
    assert actual.keys() == expected.keys()
    for key, value in actual.items():  # of 50 samples, a code or two may be at the edge of being active
        assert value == pytest.approx(expected[key], rel=2e-3, abs=0.1 if key.endswith("/l0") else 0.0), key


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        actual = {name: numbers(name, Path(folder)) for name in RECIPES}
    FILE.write_text(json.dumps(actual, indent=2) + "\n")
