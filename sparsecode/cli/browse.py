"""`sparsecode recipes` and `sparsecode runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from sparsecode.cli.options import UsageError
from sparsecode.cli.tables import denoising_table, runs_table, scores_table
from sparsecode.experiments import EXPERIMENTS
from sparsecode.recipes import RECIPES
from sparsecode.runs import RunFolder, list_runs
from sparsecode.specs import differences, to_json

__all__ = ["recipes_command", "runs_command"]


def recipes_command(argv: list[str]) -> int:
    tyro.cli(_recipes, args=argv, prog="sparsecode recipes")
    return 0


def _recipes(name: Annotated[str | None, tyro.conf.Positional] = None, /) -> None:
    """List the recipes, or print one's whole config as JSON.

    Args:
        name: a recipe
    """
    if name is None:
        table = Table("recipe", "what it is")
        for recipe, build in RECIPES.items():
            table.add_row(recipe, (build.__doc__ or "").split("\n")[0])
        Console().print(table)
        Console().print(f"experiments, for sparsecode sweep: {', '.join(EXPERIMENTS)}", highlight=False)
        return
    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}; there is {', '.join(RECIPES)}")
    print(to_json(RECIPES[name]()).decode(), end="")


def runs_command(argv: list[str]) -> int:
    tyro.extras.subcommand_cli_from_dict(
        {"ls": _ls, "show": _show, "compare": _compare}, args=argv, prog="sparsecode runs"
    )
    return 0


def _ls(root: Annotated[Path, tyro.conf.Positional] = Path("runs"), /) -> None:
    """List the runs in a folder.

    Args:
        root: folder of run folders
    """
    summaries = list_runs(root)
    if not summaries:
        raise FileNotFoundError(f"no runs in {root}; train one: sparsecode train digits-sdl")
    console = Console()
    console.print(runs_table(summaries))
    for summary in summaries:
        if summary.problem:
            console.print(f"{summary.name}: {summary.problem}", highlight=False, markup=False, soft_wrap=True)


def _show(run: Annotated[Path, tyro.conf.Positional], /) -> None:
    """Show a run: its state, config and scores.

    Args:
        run: run folder
    """
    folder, console = RunFolder(run), Console()
    config, state = folder.config(), folder.state()
    console.print(f"[bold]{run}[/bold]", highlight=False)
    print(to_json(config).decode(), end="")
    if state is None:
        console.print("no checkpoint yet")
    else:
        console.print(f"step {state.step} of {state.total_steps}", highlight=False)
        if state.best:
            console.print(
                f"lowest validation {config.train.select}: {state.best.value:.5g} at step {state.best.step}",
                highlight=False,
            )
    evaluation = folder.evaluation()
    if evaluation is not None:
        console.print(scores_table(evaluation))
        if any(evaluation.denoising.values()):
            console.print(denoising_table(evaluation))
    for picture in sorted(folder.figures.glob("*.png")):
        console.print(f"picture  {picture}", highlight=False, soft_wrap=True)


def _compare(
    run: Annotated[Path, tyro.conf.Positional], others: Annotated[tuple[Path, ...], tyro.conf.Positional], /
) -> None:
    """Compare runs: where their configs differ from the first one's, and their scores.

    Args:
        run: run folder
        others: more run folders
    """
    if not others:
        raise UsageError("compare needs at least two run folders")
    console = Console()
    first = RunFolder(run).config()
    for other in others:
        changes = differences(first, RunFolder(other).config())
        console.print(f"{run} -> {other}: " + ("the same config" if not changes else ""), highlight=False)
        for change in changes:
            console.print(f"  {change}", highlight=False, markup=False)
    table = Table("run", "codes by", "PSNR dB", "explained var.", "objective", "L0", "dead")
    for path in (run, *others):
        evaluation = RunFolder(path).evaluation()
        if evaluation is None:
            table.add_row(str(path), "not evaluated yet")
            continue
        for coder, s in evaluation.scores.items():
            table.add_row(
                str(path), coder, "-" if s.psnr is None else f"{s.psnr:.2f}", "-" if s.explained_variance is None else f"{s.explained_variance:.4f}", f"{s.objective:.4g}",
                f"{s.l0:.2f} of {s.n_code}", str(s.dead),
            )  # fmt: skip
    console.print(table)
