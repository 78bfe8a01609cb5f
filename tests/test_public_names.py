"""Public names: what they are is a decision, they resolve, and none is hidden by a file of the same name."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from public_names import FACES, GOLDEN, lines


def test_the_interface_is_the_recorded_one() -> None:
    result, recorded = list(lines()), GOLDEN.read_text().splitlines()
    lost, new = sorted({*recorded} - {*result}), sorted({*result} - {*recorded})
    changes = "\n".join([*(f"- {line}" for line in lost), *(f"+ {line}" for line in new)])
    assert not changes, f"public names changed; if that is meant, run `python tests/public_names.py`:\n{changes}"
    assert result == recorded


@cache
def sources() -> dict[Path, tuple[ast.Module, list[ast.AST]]]:
    """The syntax tree of each file of the package, and the nodes of it."""
    trees = {path: ast.parse(path.read_text()) for path in sorted((DOCS / "sparsecode").rglob("*.py"))}
    return {path: (tree, list(ast.walk(tree))) for path, tree in trees.items()}


@pytest.mark.parametrize("face", FACES)
def test_no_public_name_is_that_of_a_file_beside_it(face: str) -> None:
    """Importing the file would put the module in the place of a function that is imported on first use."""
    module = import_module(face)
    assert module.__file__ is not None
    if not Path(module.__file__).with_suffix(".pyi").exists():
        return  # its names are imported at once
    files = {
        p.stem for p in Path(module.__file__).parent.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    rooms = {name for name in module.__all__ if f"{face}.{name}" in FACES or name == "evaluate"}
    assert not files & ({*module.__all__} - rooms)


def test_no_two_classes_have_one_name() -> None:
    """A type alias has no name of a class either; the unions `Known`, one in each room, may share theirs."""
    places: dict[str, list[str]] = {}
    aliases: dict[str, list[str]] = {}
    for path, (tree, nodes) in sources().items():
        file = path.relative_to(DOCS).as_posix()
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{file}:{node.lineno}")
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                aliases.setdefault(node.targets[0].id, []).append(f"{file}:{node.lineno}")
    assert len(places) > 300
    assert not {name: [*at, *aliases.get(name, ())] for name, at in places.items() if len(at) > 1 or name in aliases}


def test_faces_are_light() -> None:
    code = f"import sys; import {', '.join(f for f in FACES if f.count('.') < 2 and f.split('.')[-1] in {'sparsecode', 'models', 'nn', 'solvers', 'train', 'data'})}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


DOCS = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "page", [p.relative_to(DOCS).as_posix() for p in (DOCS / "README.md", *sorted((DOCS / "docs").glob("*.md")))]
)
def test_pages_import_what_is_public(page: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    places = {
        result
        for block in blocks
        for result in re.findall(r"^\s*(?:from|import) (sparsecode[\w.]*)", block, re.MULTILINE)
    }
    assert places <= {*FACES, "sparsecode.runs"}
    for block in blocks:
        for place, names in re.findall(r"^\s*from (sparsecode[\w.]*) import ([\w, ]+)$", block, re.MULTILINE):
            for name in names.split(", "):
                assert hasattr(import_module(place), name), f"{place} has no {name}"


# words of plot that say nothing of what a variable holds
MEANINGLESS = {"found", "how", "own", "taken", "told", "asked"}


def test_variables_are_named_for_what_they_hold() -> None:
    for path, (_, nodes) in sources().items():
        fields = {id(node.target) for node in nodes if isinstance(node, ast.AnnAssign)}  # stored by this name
        for node in nodes:
            if isinstance(node, ast.Name) and id(node) not in fields:
                assert node.id not in MEANINGLESS, f"{path}:{node.lineno}: {node.id}"
            elif isinstance(node, ast.arg):
                assert node.arg not in MEANINGLESS, f"{path}:{node.lineno}: {node.arg}"


# names of other programs and patterns of names
OTHERS = {
    "CacheActivationsRunner", "model_DEC_best", "model_ENC_best", "Autoencoder", "sae_lens", "unit_rows_cuda", "PART",
    "LINEAR_DECAY_MASK", "test_runner", "Lasso",
}  # fmt: skip


def _identifiers(nodes: list[ast.AST]) -> set[str]:
    """Names, attributes, arguments and imported names of a module, and the words of its short strings."""
    words: set[str] = set()
    for node in nodes:
        for field in ("id", "attr", "arg", "name", "asname"):
            if field in node._fields:
                words.update(str(getattr(node, field)).split("."))
        if isinstance(node, ast.ImportFrom):
            words.update((node.module or "").split("."))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 60:
            words.update(re.findall(r"\w+", node.value))
    return words


def test_names_in_docstrings_exist() -> None:
    """Words in back quotes are names of the package; those that renamings have removed before are names of the same file."""
    near = {path: _identifiers(nodes) for path, (_, nodes) in sources().items()}
    everywhere = set().union(*near.values(), (path.stem for path in near), (path.parent.name for path in near))
    everywhere.update(sys.stdlib_module_names, keyword.kwlist, dir(builtins), OTHERS)
    checked = 0
    for path, (_, nodes) in sources().items():
        for node in nodes:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                continue
            for word in re.findall(r"`([A-Za-z_]\w*)(?:\.\w+)*(?:\(.*?\))?`", ast.get_docstring(node) or ""):
                checked += 1
                places = near[path] if word in {*MEANINGLESS, "held", "made"} else everywhere
                assert word in places, f"{path}: `{word}` in the docstring of {getattr(node, 'name', 'the module')}"
    assert checked > 1800
