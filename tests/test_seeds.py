"""Seeds have one range, wherever they are given; one out of it is refused before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sparsecode as sc
from sparsecode.cli import main
from sparsecode.data import Digits, extract_patches
from sparsecode.estimators import SparseDictionary
from sparsecode.evaluate import denoise_image, references
from sparsecode.models import Amortised
from sparsecode.nn import TopK
from sparsecode.ops.rng import generator
from sparsecode.recipes import RECIPES

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
        lambda seed: denoise_image(X, sigma=0.1, seed=seed),
        lambda seed: references(torch.from_numpy(X), 8, seed),
        lambda seed: SPEC.build((16,), seed),
        lambda seed: generator(seed, "test"),
    ],
    ids=["fit", "learn_dictionary", "cross_validate_alpha", "extract_patches", "denoise_image", "references", "build", "generator"],
)  # fmt: skip
def test_functions_name_a_seed_out_of_range(function: Callable[[Any], object]) -> None:
    for seed, error in ((-1, ValueError), (2**32, ValueError), (1.0, TypeError), (True, TypeError), ("one", TypeError)):
        with pytest.raises(error) as refusal:
            function(seed)
        assert str(refusal.value) == f"seed is {seed!r}; {RANGE}"


@pytest.mark.usefixtures("unchecked")
def test_the_ends_of_the_range_and_numbers_of_numpy_are_seeds() -> None:
    seeds: tuple[Any, ...] = (0, 2**32 - 1, np.int64(3), 3)
    numbers = [generator(seed, "test").initial_seed() for seed in seeds]
    assert len({*numbers}) == 3
    assert numbers[2] == numbers[3]


@pytest.mark.parametrize("state", [-1, 2**32, "one", 1.5])
def test_estimators_name_a_random_state_out_of_range(state: Any) -> None:
    with pytest.raises(ValueError, match=rf"^random_state is {state!r}; {RANGE}, a RandomState of NumPy, or None$"):
        SparseDictionary(n_components=4, random_state=state).fit(X)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70])
def test_commands_name_a_seed_out_of_range(seed: int, tmp_path: Path, capsys: Capture) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["train", "digits-sdl", "--seed", str(seed), *out]) == 2
    assert f"--seed {seed}: {RANGE}" in capsys.readouterr().err
    for command in (
        ["train", "digits-sdl", "--set", f"seed={seed}"],
        ["sweep", "digits-sdl", "--over", f"seed={seed},0"],
    ):
        assert main([*command, *out]) == 2
        assert f"at `$.seed`, where {seed} is given" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_configs_have_seeds_in_that_range() -> None:
    config = RECIPES["digits-sdl"]()
    assert isinstance(config.data, Digits)
    for kind, name in ((type(config), "Run"), (Digits, "Digits")):
        fields = {key: getattr(config, key) for key in ("data", "model", "optim", "train")} if name == "Run" else {}
        with pytest.raises(ValueError, match=rf"{name}\.seed: got -1; Expected `int` >= 0"):
            kind(**fields, seed=-1)
