"""Output paths and run labels."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from sparsecode.cli.arguments import UsageError
from sparsecode.cli.console import Console
from sparsecode.files import TEMPORARY, printable, require_own, without_new_empty, write_atomic
from sparsecode.hub import refuse_hub
from sparsecode.runs import RunFolder, labelled

__all__ = [
    "begun",
    "refuse_file",
    "refuse_key",
    "refuse_to_overwrite",
    "refuse_to_overwrite_all",
    "run_labels",
    "run_names",
    "written_together",
]

UNFINISHED = f"unfinished{TEMPORARY}"


def refuse_to_overwrite(option: str, path: Path | None, force: bool, *, scores: bool = False) -> None:
    """Raise FileExistsError if something is there already: without --force at all, with it unless it may be our own file.

    Files of a run are refused, but for its scores where `scores` are written.
    """
    if path is None:
        return
    refuse_hub(path)
    refuse_file(option, path.parent)
    if path.is_dir():
        raise FileExistsError(f"{option} {path}: is a folder; choose another name")
    if path.exists() and not force:
        raise FileExistsError(f"{option} {path}: exists already; choose another name, or write over it with --force")
    require_own(path, force=True)
    for folder in (RunFolder(path.parent), RunFolder(path.parent.parent)):
        if path in folder.files and not (scores and path == folder.eval_file) and folder.exists:
            raise FileExistsError(f"{option} {path}: is part of the run {folder.path}; choose another name")


def refuse_file(option: str, folder: Path | None) -> None:
    """Raise FileExistsError if a file stands where this folder, or one above it, is to be; None names none."""
    if folder is None:
        return
    there = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    if there.exists() and not there.is_dir():
        raise FileExistsError(f"{option} {folder}: {there} is a file; expected a folder, or a new name")


def refuse_key(key: str | None, file: Path | None, argument: str) -> None:
    """Raise UsageError for a --key if no file is given as `argument`, or a folder."""
    if key is not None and (file is None or file.is_dir()):
        given = f"no {argument} is given" if file is None else f"{file} is a folder"
        raise UsageError(f"--key {key}: {given}; expected a .npz file as {argument}, or no --key")


def refuse_to_overwrite_all(option: str, paths: Sequence[Path], force: bool) -> None:
    """`refuse_to_overwrite` of files of one folder, less those that an interrupted call has left (`written_together`)."""
    for path in paths:
        refuse_to_overwrite(option, path, force or begun(paths))


@contextmanager
def written_together(paths: Sequence[Path]) -> Generator[None]:
    """Within, a command writes these files of one folder, each once it is ready.

    What an interrupted call has written is no obstacle to the same call later: a list of the files is written first, and
    deleted when all is done.
    """
    journal = _journal(paths)
    with without_new_empty(journal.parent):
        if paths and not begun(paths):
            write_atomic(journal, _names(paths))
        try:
            yield
        finally:
            if all(path.exists() for path in paths) or not any(path.exists() for path in paths):
                journal.unlink(missing_ok=True)


def _journal(paths: Sequence[Path]) -> Path:
    return (paths[0].parent if paths else Path()) / UNFINISHED


def _names(paths: Sequence[Path]) -> bytes:
    return msgspec.json.encode({"sparsecode": [printable(path.name) for path in paths]})


def begun(paths: Sequence[Path]) -> bool:
    """Whether an interrupted call has begun to write these files (`written_together`)."""
    journal = _journal(paths)
    return journal.is_file() and journal.read_bytes() == _names(paths)


def run_labels(paths: tuple[Path, ...], console: Console) -> list[str]:
    """Labels of runs in tables and figures: their names and, for unfinished ones, their step; prints a line for each unfinished run."""
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
    results = [printable(str(path) if names.count(name) > 1 else name) for name, path in zip(names, paths, strict=True)]
    if len(set(results)) < len(results):
        raise UsageError(f"a run is named twice: {', '.join(results)}")
    return results
