"""Pages of the site that are made from the code: reference, command line, recipes, measures; and the index."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from benchmark_tables import benchmarks_page, seeds_page
from recipe_pages import recipes_page

__all__ = ["faces", "reference", "write"]

SECTION = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}$", re.MULTILINE)
TITLE = re.compile(r"\*\*[A-Z][A-Za-z ]+\*\*")
NAVIGATION = {
    "Start": ("getting-started", "coming-from", "how-to"),
    "Tutorials": (
        "tutorials/sparse-coding", "tutorials/sparse-autoencoders", "tutorials/text-to-features", "tutorials/noise", "tutorials/variational", "tutorials/own-data",
        "tutorials/choosing-sparsity", "tutorials/trusting", "tutorials/extending",
    ),
    "Guides": (
        "sparse-coding", "estimators", "sparse-autoencoders", "features", "interventions", "noise", "variational", "evaluation", "report", "training", "sweeps",
        "data", "activations", "host", "interop", "hub", "leaves", "scaling", "performance",
    ),
    "Concepts": ("concepts", "metrics", "conventions"),
    "Papers": ("papers/index", "papers/sparse-coding", "papers/noise", "papers/variational", "papers/kl-sparse", "papers/tutorial"),
    "Reference": ("command-line", "recipes", "measures", "files"),
    "Evidence": ("benchmarks", "results-over-seeds"),
    "Design": ("architecture",),
}  # fmt: skip


def faces() -> list[str]:
    """The modules whose `__all__` is public."""
    top = import_module("sparsecode")
    return [
        "sparsecode",
        *sorted(f"sparsecode.{name}" for name in top.__all__ if isinstance(getattr(top, name), ModuleType)),
    ]


def write(docs: Path, into: Path) -> None:
    """Every page of the site, into the source folder of a build."""
    into.mkdir(parents=True, exist_ok=True)
    for page in (*docs.glob("*.md"), *docs.glob("papers/*.md"), *docs.glob("tutorials/*.md")):
        target = into / page.relative_to(docs)
        target.parent.mkdir(exist_ok=True)
        target.write_text(page.read_text())
    shutil.copytree(docs / "pictures", into / "pictures", dirs_exist_ok=True)
    shutil.copytree(docs.parent / "benchmarks/results", into / "results", dirs_exist_ok=True)
    start = (
        (docs / "site/index.md")
        .read_text()
        .replace("{n_recipes}", str(len(import_module("sparsecode.recipes").RECIPES)))
    )
    (into / "index.md").write_text("\n".join([start, *_trees(_pages(docs))]))
    for page in (*into.glob("*.md"), *into.glob("*/*.md")):
        page.write_text(_beyond(page.read_text(), page.parent != into))
    folder = into / "reference"
    folder.mkdir(exist_ok=True)
    made = {f"reference/{face}": reference(face) for face in faces()}
    made |= {"command-line": _commands(), "recipes": recipes_page(docs.parent, markdown), "measures": _measures()}
    made |= {"benchmarks": benchmarks_page(docs.parent, markdown), "results-over-seeds": seeds_page(docs.parent)}
    for name, lines in made.items():
        (into / f"{name}.md").write_text("\n".join(lines) + "\n")


def _pages(docs: Path) -> dict[str, list[str]]:
    """The navigation; pages that no part of it names come last in that of their folder."""
    titles = {"papers": "Papers", "tutorials": "Tutorials"}
    parts = {title: list(names) for title, names in NAVIGATION.items()}
    named = {name for names in parts.values() for name in names} | {"index"}
    for page in sorted((*docs.glob("*.md"), *docs.glob("papers/*.md"), *docs.glob("tutorials/*.md"))):
        name = page.relative_to(docs).with_suffix("").as_posix()
        if name not in named:
            parts[titles.get(name.partition("/")[0], "Guides")].append(name)
    parts["Reference"] = [*(f"reference/{face}" for face in faces()), *parts["Reference"]]
    return parts


def _beyond(text: str, deeper: bool) -> str:
    """Links to files of the repository outside docs/ as their names: they are not part of the site."""
    up = r"\.\./\.\./" if deeper else r"\.\./"
    text = re.sub(rf"\[([^\]]+)\]\({up}[^)]*\)", r"\1", text)
    return re.sub(
        r"\[([^\]]+)\]\((?:benchmarks/[^)]*|CONTRIBUTING\.md|CHANGELOG\.md|LICENSE|CITATION\.cff)\)", r"\1", text
    )


def _trees(parts: dict[str, list[str]]) -> Iterator[str]:
    for title, names in parts.items():
        yield "\n".join([f"```{{toctree}}\n:maxdepth: 1\n:hidden:\n:caption: {title}\n", *names, "```\n"])


def reference(face: str) -> Iterator[str]:
    """The page of a module: every name in its `__all__`, with its signature and docstring; names of modules below it as links."""
    module = import_module(face)
    yield f"# {face}\n"
    yield markdown(module.__doc__) + "\n"
    for name in sorted(module.__all__, key=str.lower):
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            yield f"## `{name}`\n\nThe module [{face}.{name}](sparsecode.{name}.md).\n"
            continue
        yield f"## `{name}`\n"
        yield f"```python\n{_signature(name, value)}\n```\n"
        yield markdown(_docstring(value)) + "\n"
        if inspect.isclass(value):
            yield from _members(value)


def _docstring(value: Any) -> str | None:
    text = inspect.getdoc(value)
    plain = value if inspect.isclass(value) or callable(value) else type(value)
    return text if plain is value else None


def _members(kind: type) -> Iterator[str]:
    for name, member in sorted(vars(kind).items()):
        if name.startswith("_"):
            continue
        inner = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if isinstance(inner, property):
            yield f"**{name}** (property): {markdown(inspect.getdoc(inner))}\n"
        elif inspect.isfunction(inner) and inspect.getdoc(inner):
            yield f"**{name}**\n\n```python\n{_signature(name, inner)}\n```\n\n{markdown(inspect.getdoc(inner))}\n"


def _signature(name: str, value: Any) -> str:
    try:
        signature = str(inspect.signature(value))
    except (TypeError, ValueError):
        return (
            f"{name} = {value!r}"
            if not inspect.isclass(value) and not callable(value) and len(repr(value)) < 500
            else name
        )
    signature = re.sub(r"(?:sparsecode|collections\.abc|typing|pathlib)\.(?:[a-z_]+\.)*", "", signature)
    signature = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", signature)
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", signature)
    if len(name + signature) <= 100:
        return name + signature
    inside = re.sub(r", (?=\*?\*?[a-z_]+[:=]|\*,|/,|\*$)", ",\n    ", signature[1:].rpartition(")")[0])
    return f"{name}(\n    {inside}\n){signature.rpartition(')')[2]}"


def markdown(docstring: str | None) -> str:
    """A docstring as Markdown: its sections in bold, indented blocks and examples as code, everything else as text."""
    if not docstring:
        return ""
    text = SECTION.sub(lambda match: f"**{match[1]}**", inspect.cleandoc(docstring))
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        lines = block.split("\n")
        if lines[0].startswith(">>>"):
            blocks.append("```python\n" + block + "\n```")
        elif all(line.startswith("    ") for line in lines):
            blocks.append("```text\n" + textwrap.dedent(block) + "\n```")
        elif TITLE.fullmatch(lines[0]) and len(lines) > 1:
            title, rest = lines[0], lines[1:]
            if rest[0].startswith(">>>"):
                blocks.append(f"{title}\n\n```python\n" + "\n".join(rest) + "\n```")
            else:
                listed = title == "**Parameters**"
                marks = ("- " if listed and not line.startswith(" ") else "" for line in rest)
                blocks.append(
                    f"{title}\n\n" + "\n".join(mark + _escaped(line) for mark, line in zip(marks, rest, strict=True))
                )
        else:
            blocks.append("\n".join(map(_escaped, lines)))
    return "\n\n".join(blocks)


def _escaped(line: str) -> str:
    """Characters that Markdown or HTML would read as markup, outside of code."""
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(part if i % 2 else re.sub(r"([*_<>\[\]|$~])", r"\\\1", part) for i, part in enumerate(parts))


def _commands() -> Iterator[str]:
    from sparsecode.cli.main import COMMANDS, main

    yield "# Command line\n\nWhat `sparsecode COMMAND --help` prints.\n"
    for name, command in COMMANDS.items():
        out = StringIO()
        words = [name, "digits-topk", "--help"] if name == "train" else [name, "--help"]
        with redirect_stdout(out):
            main(words)
        text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).rstrip()
        yield f"## {name}\n\n{command.help[0].upper()}{command.help[1:]}.\n\n```text\n{text}\n```\n"


def _measures() -> Iterator[str]:
    from sparsecode.evaluate.measures import AnyMeasure

    yield "# Measures\n\nWhat is computed of trained models, for `evaluate.measures` and `evaluate.validation` of a config, by name.\n"
    kinds = [kind for kind in _flat(AnyMeasure) if hasattr(kind, "__struct_config__")]
    for kind in sorted(kinds, key=lambda kind: str(kind.__struct_config__.tag)):
        yield f"## {kind.__struct_config__.tag}\n\n{markdown(inspect.getdoc(kind))}\n"


def _flat(union: Any) -> Iterator[Any]:
    parts = get_args(union)
    if not parts:
        yield union
    for part in parts:
        yield from _flat(part)


if __name__ == "__main__":
    write(Path(__file__).parents[1], Path(sys.argv[1]))
