"""No part outside `models/` asks which family a model is of."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import sparsecode

FAMILIES = {f"{name}{ending}" for name in ("Iterative", "Amortised", "Variational") for ending in ("", "Model")}
ROOT = Path(sparsecode.__file__).parent


def asked(source: str) -> Iterator[str]:
    """The lines of a module that ask for a family, by isinstance, by type or in a match, other than in `applies`."""
    tree = ast.parse(source)
    allowed = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name == "applies"
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        inside: list[ast.AST] = []
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "issubclass")
        ):
            inside = [*node.args[1:]]
        elif isinstance(node, ast.Compare):
            inside = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchClass):
            inside = [node.cls]
        names = {getattr(n, "id", getattr(n, "attr", "")) for part in inside for n in ast.walk(part)}
        if names & FAMILIES and id(node) not in allowed:
            yield ast.unparse(node)


def test_models_alone_know_families() -> None:
    files = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] != "models"]
    assert len(files) > 100
    assert {str(path.relative_to(ROOT)): result for path in files if (result := list(asked(path.read_text())))} == {}


def test_questions_are_seen() -> None:
    assert list(asked("isinstance(model, (str, models.AmortisedModel))"))
    assert list(asked("type(model) is VariationalModel"))
    assert list(asked("match model:\n    case Iterative():\n        pass"))
    assert not list(asked("class M:\n    def applies(self, m):\n        return isinstance(m, VariationalModel)"))
