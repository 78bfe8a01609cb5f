"""Seeds have one range, wherever they are given; one out of it is refused before any work."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import sparsecode as sc
from sparsecode.cli import main
from sparsecode.data import Digits, extract_patches
from sparsecode.estimators import SparseDictionary
from sparsecode.models import Amortised
from sparsecode.nn import TopK
from sparsecode.recipes import RECIPES
from sparsecode.runner import run
from sparsecode.runs import RunFolder

Capture = pytest.CaptureFixture[str]
RANGE = f"expected a whole number from 0 to {2**32 - 1}"
X = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
SPEC = Amortised(n_code=8, activation=TopK(k=2))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "function",
    [
        lambda seed: sc.fit(SPEC, X, seed=seed),
        lambda seed: sc.learn_dictionary(X, 8, 0.1, seed=seed),
        lambda seed: sc.cross_validate_alpha(X, np.eye(16, dtype=np.float32), seed=seed),
        lambda seed: extract_patches(X, 4, seed=seed),
    ],
    ids=["fit", "learn_dictionary", "cross_validate_alpha", "extract_patches"],
)
def test_functions_name_a_seed_out_of_range(function: Callable[[Any], object]) -> None:
    for seed, error in ((-1, ValueError), (2**32, ValueError), (1.0, TypeError), (True, TypeError), ("one", TypeError)):
        with pytest.raises(error) as refusal:
            function(seed)
        assert str(refusal.value) == f"seed is {seed!r}; {RANGE}"


@pytest.mark.parametrize("state", [-1, 2**32, "one", 1.5])
def test_estimators_name_a_random_state_out_of_range(state: Any) -> None:
    with pytest.raises(ValueError, match=rf"^random_state is {state!r}; {RANGE}, a RandomState of NumPy, or None$"):
        SparseDictionary(n_components=4, random_state=state).fit(X)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70])
def test_commands_name_a_seed_out_of_range(seed: int, tmp_path: Path, capsys: Capture) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["train", "digits-sdl", "--seed", str(seed), *out]) == 2
    assert f"--seed {seed}: {RANGE}" in capsys.readouterr().err
    assert main(["train", "digits-sdl", "--set", f"seed={seed}", *out]) == 2
    assert re.search(r"seed.*: (expected|got) a whole number", capsys.readouterr().err)
    assert main(["sweep", "digits-sdl", "--over", f"seed={seed}", *out]) != 0
    assert re.search(r"seed(: got| is) .*; expected", "".join(capsys.readouterr()))
    assert not any(tmp_path.iterdir())


def test_runs_with_seeds_that_earlier_versions_took_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES["digits-topk"]()
    config = replace(recipe, seed=-1, train=replace(recipe.train, epochs=0.05))
    with monkeypatch.context() as earlier:
        earlier.setattr("sparsecode.runner.check_seed", lambda _: None)
        run(config, tmp_path / "out", accelerator="cpu", figures=False)
    assert RunFolder(tmp_path / "out").config().seed == -1
    assert main(["eval", str(tmp_path / "out")]) == 0
    run(config, tmp_path / "out", accelerator="cpu", figures=False)  # it is finished
    with pytest.raises(ValueError, match=f"^seed is -1; {RANGE}$"):
        run(config, tmp_path / "new", accelerator="cpu", figures=False)
    assert not (tmp_path / "new").exists()


def test_configs_of_data_have_seeds_in_that_range() -> None:
    with pytest.raises(ValueError, match=r"Digits\.seed: got -1; Expected `int` >= 0"):
        Digits(seed=-1)
