"""`sparsecode recipes`."""

from __future__ import annotations

from rich.table import Table

from sparsecode.cli.arguments import UsageError, using
from sparsecode.cli.console import Console
from sparsecode.named_sweeps import EXPERIMENTS
from sparsecode.recipes import RECIPES
from sparsecode.specs import to_json

__all__ = ["recipes_command"]


def recipes_command(args: using.RecipesArguments) -> None:
    """List the recipes, or print one's whole config as JSON."""
    name = args.name
    if name is None:
        table = Table("recipe", "what it is")
        for known, recipe in RECIPES.items():
            table.add_row(known, recipe.about.split("\n")[0])
        Console().print(table)
        Console().print(f"experiments, for sparsecode sweep: {', '.join(EXPERIMENTS)}", highlight=False)
        return
    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}; choose from {', '.join(RECIPES)}")
    print(to_json(RECIPES[name]()).decode(), end="")
