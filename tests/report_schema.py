"""The schema of `report.json` in docs/report.md: `python tests/report_schema.py` writes it anew from the records."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import msgspec

from sparsecode.reports import document

PAGE = Path(__file__).parents[1] / "docs" / "report.md"
BEGIN, END = "<!-- schema, written by tests/report_schema.py -->\n", "<!-- end of the schema -->\n"


def records() -> list[type[msgspec.Struct]]:
    """All records of a report, the whole first, then its parts in the order in which they are first named."""
    kinds: list[type[msgspec.Struct]] = [document.Document]
    for kind in kinds:
        for field in msgspec.structs.fields(kind):
            kinds += [part for part in _named(field.type) if part not in kinds]
    return kinds


def _named(hint: Any) -> list[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    parts = [part for argument in getattr(hint, "__args__", ()) for part in _named(argument)]
    return list(dict.fromkeys(parts))


def schema() -> str:
    """A section per record: what it is, and its fields with types and defaults."""
    return "\n".join(_section(kind) for kind in records())


def _section(kind: type[msgspec.Struct]) -> str:
    text = re.sub(r"\n\s*>>>.*", "", inspect.getdoc(kind) or "", flags=re.DOTALL)
    rows = [f"| `{field.name}` | {_words(field)} |" for field in msgspec.structs.fields(kind)]
    tag = kind.__struct_config__.tag
    return (
        f"### {kind.__name__}\n\n`type`: `{tag}`. {' '.join(text.split())}\n\n| field | type |\n|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def _words(field: Any) -> str:
    raw = (
        field.type.__name__ if isinstance(field.type, type) and not hasattr(field.type, "__args__") else str(field.type)
    )
    raw = re.sub(r"sparsecode\.[\w.]+\.(\w+)|typing\.", lambda m: m[1] or "", raw).replace("NoneType", "None")
    default = "" if field.default is msgspec.NODEFAULT else f", default `{field.default!r}`"
    return f"`{raw}`{default}".replace("|", "\\|")


def written(page: str) -> str:
    """The page with the schema in its place."""
    first, _, rest = page.partition(BEGIN)
    return f"{first}{BEGIN}\n{schema()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
