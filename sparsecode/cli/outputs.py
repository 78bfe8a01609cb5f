"""What the user names for writing, and what runs are called there."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from sparsecode.cli.arguments import UsageError
from sparsecode.runs import RunFolder, labelled

__all__ = ["refuse_to_overwrite", "run_labels", "run_names"]


def refuse_to_overwrite(option: str, path: Path | None, force: bool) -> None:
    """Raise UsageError if the file is there already and the user has not said --force."""
    if path is not None and path.exists() and not force:
        raise UsageError(f"{option} {path}: exists already; choose another name, or write over it with --force")


def run_labels(paths: tuple[Path, ...], console: Console) -> list[str]:
    """Their names and, of unfinished ones, where they stand: what tables and figures call them. Says so of each, too."""
    folders = [RunFolder(path) for path in paths]
    for folder in folders:
        if stands := folder.unfinished:
            console.print(
                f"{folder.path} is unfinished ({stands}): this is its best model so far",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    return [labelled(name, folder) for name, folder in zip(run_names(paths), folders, strict=True)]


def run_names(paths: tuple[Path, ...]) -> list[str]:
    """The folders' names, or whole paths where a name is there twice."""
    names = [path.resolve().name for path in paths]
    found = [str(path) if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]
    if len(set(found)) < len(found):
        raise UsageError(f"a run is named twice: {', '.join(found)}")
    return found
