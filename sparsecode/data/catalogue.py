"""The data sets that have files: what they need, and what of it is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from sparsecode.data import published
from sparsecode.data.downloads import VARIABLE, Remote, home, present
from sparsecode.data.fetch import partial
from sparsecode.leaves import tag_of

__all__ = ["Dataset", "Status", "datasets", "remedy_of", "status"]

NAMES = {"fashion_mnist": "fashion"}  # of data sources that go by another name than their files


class Dataset(NamedTuple):
    """Published files; paths below `$SPARSECODE_DATA` of what the loader accepts in place of the first: the same in another form, or less."""

    files: tuple[Remote, ...]
    others: tuple[str, ...] = ()
    excerpts: tuple[str, ...] = ()


class Status(NamedTuple):
    """What is there of a data set: paths of files, what is missing and how many bytes of that an earlier download has left.

    `instead` is the path of another form that the loader accepts, `excerpt` of a smaller one; `size`, in bytes, is of the files there.
    """

    paths: tuple[Path, ...]
    instead: Path | None
    excerpt: Path | None
    missing: tuple[Remote, ...]
    arrived: int
    size: int

    @property
    def complete(self) -> bool:
        return not self.missing and bool(self.paths or self.instead)


def datasets() -> dict[str, Dataset]:
    """By the names that `sparsecode data get` takes, then those without a published copy."""
    pictures = [
        f"celeba/{folder}{name}"
        for folder in ("", "Img/")
        for name in (published.CELEBA_PICTURES, f"{published.CELEBA_PICTURES}.zip")
    ]
    return {
        "mnist": Dataset(published.DIGITS.files()),
        "fashion": Dataset(published.FASHION.files()),
        "celeba": Dataset(published.CELEBA, tuple(pictures)),
        "cifar10": Dataset((published.CIFAR10_ARCHIVE,), published.CIFAR10_UNPACKED, (published.CIFAR10_EXCERPT,)),
        "dsprites": Dataset((published.DSPRITES,)),
        "olivetti": Dataset((published.OLIVETTI,), (published.OLIVETTI_ARRAYS,)),
        "cifar10-latents": Dataset((), (published.CIFAR10_LATENTS,)),
        "minilm": Dataset((), (published.MINILM,)),
    }


def status(dataset: Dataset) -> Status:
    """What is there, without reading it."""
    results = {remote: path for remote in dataset.files if (path := present(remote))}
    missing = [remote for remote in dataset.files if remote not in results]
    instead, excerpt = (None if results else _first(names) for names in (dataset.others, dataset.excerpts))
    missing = [remote for remote in missing if not instead or remote != dataset.files[0]]
    asides = [partial(home(remote) / remote.name) for remote in missing]
    files = [path for path in (*results.values(), instead, excerpt) if path and path.is_file()]
    return Status(
        tuple(results.values()),
        instead,
        excerpt,
        tuple(missing),
        sum(path.stat().st_size for path in asides if path.exists()),
        sum(path.stat().st_size for path in files),
    )


def _first(names: tuple[str, ...]) -> Path | None:
    """The first of these paths below `$SPARSECODE_DATA` that is there."""
    root = os.environ.get(VARIABLE)
    return next((path for name in names if root and (path := Path(root) / name).exists()), None)


def remedy_of(data: object) -> str:
    """What to do if the samples of a data source cannot be had; "" if the source's own error says it."""
    source = getattr(data, "source", data)
    name = NAMES.get(tag := tag_of(source), tag)
    files = datasets().get(name)
    if files is not None and getattr(source, "path", None) is None:
        there = f"set {VARIABLE} to the folder that holds them"
        return f"{there}, or run sparsecode data get {name}" if files.files else there
    if any(getattr(source, field, None) is not None for field in ("path", "images", "text")):
        return "put them back, or say where they are now with --data.path"
    return ""
