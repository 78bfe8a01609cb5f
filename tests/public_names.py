"""Every public name with its signature, one a line: `python tests/public_names.py` writes the golden file anew.

A change of the interface is then a change of that file, to be decided upon and noted in CHANGELOG.md.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from msgspec import structs

FACES = (
    "sparsecode",
    "sparsecode.data",
    "sparsecode.estimators",
    "sparsecode.evaluate",
    "sparsecode.evaluate",
    "sparsecode.interop",
    "sparsecode.losses",
    "sparsecode.metrics",
    "sparsecode.models",
    "sparsecode.nn",
    "sparsecode.penalties",
    "sparsecode.plots",
    "sparsecode.recipes",
    "sparsecode.schedules",
    "sparsecode.solvers",
    "sparsecode.sweeps",
    "sparsecode.train",
)
GOLDEN = Path(__file__).parent / "golden" / "public_names.txt"


def lines() -> Iterator[str]:
    """All names by face; of classes, their fields and the public methods that they define."""
    for face in FACES:
        module = import_module(face)
        for name in sorted(module.__all__):
            yield from _described(f"{face}.{name}", getattr(module, name))


def _described(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, ModuleType):
        yield f"{path}: module"
    elif inspect.isclass(value):
        yield path + _signature(value)
        for name, member in sorted(vars(value).items()):
            if not name.startswith("_"):
                if isinstance(member, classmethod | staticmethod):
                    member = member.__func__
                if isinstance(member, property):
                    yield f"{path}.{name}: property"
                elif inspect.isfunction(member):
                    yield f"{path}.{name}{_signature(member)}"
    elif kinds := typing.get_args(value):  # a union
        yield f"{path} = {' | '.join(getattr(kind, '__name__', str(kind)) for kind in kinds)}"
    elif callable(value):
        yield path + _signature(value)
    else:
        yield f"{path}: {type(value).__name__}"


def _signature(value: Any) -> str:
    """As it stands in the source, so that it is the same whatever the version of Python; of fields, types without their ranges."""
    if inspect.isclass(value) and issubclass(value, msgspec.Struct):
        kinds = {
            name: kind
            for base in reversed(value.__mro__)
            for name, kind in vars(base).get("__annotations__", {}).items()
        }
        fields = [f"{field.name}: {_plain(str(kinds[field.name]))}{_default(field)}" for field in structs.fields(value)]
        return f"({', '.join(fields)})"
    try:
        text = str(inspect.signature(value))
    except (ValueError, TypeError):  # protocols and the like
        return ""
    text = re.sub(r"ForwardRef\('(.*?)'\)", r"\1", text)
    return re.sub(r" at 0x[0-9a-f]+|\bsparsecode\.[\w.]+\.(?=\w)|'", "", text)


def _default(field: structs.FieldInfo) -> str:
    return "" if field.required else f" = {field.default!r}" if field.default is not msgspec.NODEFAULT else " = ..."


def _plain(kind: str) -> str:
    """A type less its annotations."""
    kind = " ".join(kind.split())
    while (start := kind.find("Annotated[")) >= 0:
        depth, comma = 0, -1
        for at in range(start + len("Annotated"), len(kind)):
            depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(kind[at], 0)
            if kind[at] == "," and depth == 1 and comma < 0:
                comma = at
            if not depth:
                kind = kind[:start] + kind[start + len("Annotated[") : comma].strip() + kind[at + 1 :]
                break
    return kind


if __name__ == "__main__":
    GOLDEN.write_text("".join(f"{line}\n" for line in lines()))
