"""`sparsecode data`: download data sets, and say which are there."""

from __future__ import annotations

from rich.table import Table

from sparsecode.cli.arguments import UsageError
from sparsecode.cli.arguments import data as arguments
from sparsecode.cli.console import Console
from sparsecode.data.catalogue import Dataset, datasets, status
from sparsecode.data.downloads import Remote, downloaded, home, present, verified

__all__ = ["data_command"]


def data_command(args: arguments.DataGetArguments | arguments.DataLsArguments) -> int:
    """Download data sets or list them; 1 if a file cannot be had."""
    if isinstance(args, arguments.DataGetArguments):
        if not args.names:
            raise UsageError(f"data get needs a name; choose from {', '.join(_published())}")
        return max([_get(name, _published()[name]) for name in dict.fromkeys(args.names)])
    _ls()
    return 0


def _published() -> dict[str, Dataset]:
    return {name: dataset for name, dataset in datasets().items() if dataset.files}


def _get(name: str, dataset: Dataset) -> int:
    """Every file, also after one that cannot be had."""
    console, failed, instead = Console(), 0, status(dataset).instead
    if instead:
        console.print(
            f"{name}: {instead} is there, in the place of {dataset.files[0].name}", highlight=False, soft_wrap=True
        )
    for remote in dataset.files[1 if instead else 0 :]:
        try:
            have = _have(remote)
        except (FileNotFoundError, ValueError) as problem:
            Console(stderr=True, soft_wrap=True).print(f"sparsecode data get {name}: {problem}", highlight=False)
            failed = 1
        else:
            console.print(f"{name}: {have}", highlight=False, soft_wrap=True)
    return failed


def _have(remote: Remote) -> str:
    """Where a file is. Raises FileNotFoundError or ValueError naming it if it is not to be had, or another."""
    if path := present(remote):
        verified(remote)
        return f"{path} is there, as published"
    path = downloaded(remote)
    return f"{path} ({_bytes(path.stat().st_size)})"


def _ls() -> None:
    table = Table("data set", "state", "size", "where")
    console = Console()
    for name, dataset in datasets().items():
        result = status(dataset)
        whole = sum(remote.size for remote in dataset.files)
        if result.complete:
            state = "there, in another form" if result.instead and dataset.files else "there"
        elif result.paths or result.instead:
            state = f"incomplete: no {', '.join(remote.name for remote in result.missing)}"
        elif result.excerpt:
            state = "an excerpt"
        else:
            state = "missing" if dataset.files else "missing, no published copy"
        if result.arrived:
            state += f"; {_bytes(result.arrived)} of the rest have arrived"
        size = _bytes(result.size) if result.size else f"({_bytes(whole)} to download)" if whole else "-"
        folders = [path.parent for path in result.paths] + [home(remote) for remote in dataset.files]
        place = result.instead or result.excerpt or next(iter(folders), "-")
        table.add_row(name, state, size, str(place))
    console.print(table)


def _bytes(n: int) -> str:
    return f"{n / 1e9:.3g} GB" if n >= 1e9 else f"{n / 1e6:.3g} MB" if n >= 1e5 else f"{n / 1e3:.3g} kB"
