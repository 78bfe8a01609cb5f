"""The catalogue of recipes: what each is, a picture, and numbers of a short training (docs/make_recipes.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["measured", "recipes_page"]

INTRODUCTION = """# Recipes

{n} configs by name: `sparsecode train NAME` trains one, `sparsecode recipes NAME` prints it as JSON, `sparsecode train NAME --help` lists its options.

**Pictures**: the atoms used most, then test samples, and below each its reconstruction; where samples are no images or the network classifies,
the share of samples that use each code. **Numbers** are of at most 1000 test samples after the training stated, on one core, by
`python docs/make_recipes.py` (`benchmarks/results/recipes.json`). Where that is a part of the recipe's training, they show that it runs and what it
costs, not what it reaches: those numbers are on the pages of the families and [papers](papers/sparse-coding.md).
"""


def recipes_page(root: Path, markdown: Callable[[str | None], str]) -> Iterator[str]:
    """The page: a table of all, then each recipe's docstring, numbers and picture."""
    from sparsecode.recipes import RECIPES

    path = root / "benchmarks/results/recipes.json"
    entries: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    yield INTRODUCTION.format(n=len(RECIPES))
    yield "| recipe | data | codes | parameters | steps here | seconds |\n|---|---|---|---|---|---|"
    for name in RECIPES:
        entry = entries.get(name, {})
        cells = [
            entry.get("data", "-"),
            entry.get("n_code", "-"),
            entry.get("parameters", "-"),
            entry.get("steps", "-"),
            entry.get("seconds", "-"),
        ]
        yield f"| [{name}](#{name}) | {' | '.join(map(str, cells))} |"
    yield ""
    for name, recipe in RECIPES.items():
        yield f"## {name}\n\n{markdown(recipe.about)}\n"
        if name in entries:
            yield f"{measured(entries[name])}\n"
        if (root / f"docs/pictures/recipes/{name}.png").exists():
            yield f"![{name}](pictures/recipes/{name}.png)\n"


def measured(entry: dict[str, Any]) -> str:
    """The numbers of an entry in words."""
    if "reason" in entry:
        return f"Not measured here: {entry['reason']}."
    length = "the whole training" if entry["whole"] else f"of {entry['epochs']:g} epochs in all"
    numbers = [f"{entry['steps']} steps ({length}) in {entry['seconds']:.1f} s of processor time"]
    for key, words in (
        ("accuracy", "accuracy {:.3f}"),
        ("explained_variance", "explained variance {:.3f}"),
        ("psnr", "PSNR {:.1f} dB"),
        ("l0", f"L0 {{:.1f}} of {entry['n_code']}"),
        ("dead", "{} dead codes"),
        ("gap_max", "largest relative gap {:.1e}"),
    ):
        if key in entry:
            numbers.append(words.format(entry[key]))
    return f"{entry['samples']} training samples; " + "; ".join(numbers) + "."
