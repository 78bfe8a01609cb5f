"""Sparse representation learning: explain data by codes in which almost everything is zero."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparsecode.version import __version__

if TYPE_CHECKING:
    from sparsecode.models.portable import load_model
    from sparsecode.recipes import RECIPES
    from sparsecode.runner import run
    from sparsecode.runs import Run, RunFolder
    from sparsecode.solvers.dictionary import learn_dictionary
    from sparsecode.solvers.lasso import sparse_encode
    from sparsecode.solvers.pursuit import omp_encode

__all__ = [
    "RECIPES",
    "Run",
    "RunFolder",
    "__version__",
    "learn_dictionary",
    "load_model",
    "omp_encode",
    "run",
    "sparse_encode",
]

# Where public names live; resolved on first use, so that `import sparsecode` stays light.
_HOMES = {
    "RECIPES": "sparsecode.recipes",
    "Run": "sparsecode.runs",
    "RunFolder": "sparsecode.runs",
    "learn_dictionary": "sparsecode.solvers.dictionary",
    "load_model": "sparsecode.models.portable",
    "omp_encode": "sparsecode.solvers.pursuit",
    "run": "sparsecode.runner",
    "sparse_encode": "sparsecode.solvers.lasso",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sparsecode' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
