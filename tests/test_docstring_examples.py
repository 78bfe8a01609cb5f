"""Examples in docstrings of the whole package run, and functions that people call directly have one."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[1] / "sparsecode"
WITH = sorted(
    ".".join(("sparsecode", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text()
)
CALLED = (
    "sparse_encode", "omp_encode", "learn_dictionary", "sparse_path", "alpha_max", "alpha_for_l0", "cross_validate_alpha",
    "fit", "run", "load_model",
)  # fmt: skip


@pytest.mark.parametrize("module", WITH)
def test_examples_run(module: str) -> None:
    examples = doctest.DocTestFinder(exclude_empty=True).find(import_module(module))
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for example in examples:
        assert runner.run(example).failed == 0, example.name


@pytest.mark.parametrize("name", CALLED)
def test_what_people_call_directly_has_an_example(name: str) -> None:
    function: Any = getattr(import_module("sparsecode"), name)
    assert ">>> " in function.__doc__
