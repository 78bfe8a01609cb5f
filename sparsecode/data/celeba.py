"""CelebA's aligned faces, from any copy of the published files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.cache import cached, key_of, mapped
from sparsecode.data.downloads import VARIABLE, home, located
from sparsecode.data.images import PARTS, ImageFiles, find_images, reader, write_squares
from sparsecode.data.pictures import RULES
from sparsecode.data.published import CELEBA, CELEBA_LISTS, CELEBA_PICTURES
from sparsecode.data.splits import Split, Splits
from sparsecode.specs import Count, Spec, to_json

__all__ = ["CelebA"]

_ATTRIBUTES, _PARTITION = (remote.name.removesuffix(".txt") for remote in CELEBA_LISTS)
_LISTS = dict(zip((_ATTRIBUTES, _PARTITION), CELEBA_LISTS, strict=True))
_FOLDERS = ("", "Img", "Anno", "Eval")  # of the files as published


class CelebA(Spec, tag="celeba"):
    """Aligned faces, 3 x size x size or grey, in [0, 1], in the official parts: 162 770 train, 19 867 valid, 19 962 test.

    The central square of `crop` pixels of each picture (178 x 218 as published), made size x size by a bilinear filter that
    averages where it shrinks. `n_train`, `n_valid`, `n_test` take that many from the beginning of a part. With `attributes`, the label
    is the class that they form together: one attribute 0 or 1, of several the first is the highest binary digit.
    Files: the pictures as a folder or zip file img_align_celeba, list_eval_partition and, for labels, list_attr_celeba as .txt
    (as published) or .csv (as in copies), below `path`, else below `$SPARSECODE_DATA/celeba`, else downloaded. What is listed and not there,
    or there and not listed, is left out, with a warning. Decoded once into the cache and memory-mapped from there.
    Raises FileNotFoundError or ValueError naming the file. Source: Liu, Luo, Wang & Tang, "Deep learning face attributes in the
    wild", ICCV 2015.
    """

    path: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="folder of the files; default $SPARSECODE_DATA/celeba, or where downloads are kept"),
    ] = None
    size: Annotated[int, Meta(ge=2, description="width and height to resize to, in pixels")] = 64
    crop: Annotated[int, Meta(ge=2, description="side of the central square, in pixels")] = 178
    grey: bool = False
    attributes: Annotated[
        tuple[str, ...], Meta(description="whose values are the label, by their names in the file")
    ] = ()
    n_train: Annotated[Count | None, Meta(description="training images to use; default all")] = None
    n_valid: Annotated[Count | None, Meta(description="validation images to use; default all")] = None
    n_test: Annotated[Count | None, Meta(description="test images to use; default all")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is not None:
            msgspec.structs.force_setattr(self, "path", str(Path(self.path).absolute()))

    def load(self) -> Splits:
        files = self._pictures()
        partition = self._list(_PARTITION)
        parts = self._parts(files, partition)
        classes = self._classes([Path(name).name for part in parts for name in part])
        key = key_of(RULES, to_json(self), files.signature, partition.read_bytes())

        def build(folder: Path) -> None:
            with reader(files, "L" if self.grey else "RGB") as read:
                shape = (1 if self.grey else 3, self.size, self.size)
                write_squares(files.path, parts, read, shape, folder, self.crop)

        folder = cached("celeba", key, build)
        labels = [None] * 3 if classes is None else torch.from_numpy(classes).split([len(part) for part in parts])
        train, valid, test = (
            Split(mapped(folder / f"{name}.npy"), label=label) for name, label in zip(PARTS, labels, strict=True)
        )
        return Splits(train, valid, test, 0.0, 1.0)

    def _home(self) -> Path:
        return home(CELEBA[0]) if self.path is None else Path(self.path)

    def _pictures(self) -> ImageFiles:
        for folder in _FOLDERS:
            for name in (CELEBA_PICTURES, CELEBA[0].name):
                if (path := self._home() / folder / name).exists():
                    return find_images(path)
        return find_images(
            located(CELEBA[0]) if self._downloads() else self._missing(f"{CELEBA_PICTURES}, a folder or .zip")
        )

    def _list(self, name: str) -> Path:
        for folder in _FOLDERS:
            for suffix in (".txt", ".csv"):
                if (path := self._home() / folder / (name + suffix)).is_file():
                    return path
        return located(_LISTS[name]) if self._downloads() else self._missing(f"{name}.txt or .csv")

    def _downloads(self) -> bool:
        return self.path is None and not os.environ.get(VARIABLE)

    def _missing(self, what: str) -> Path:
        raise FileNotFoundError(
            f"{self._home()}: no {what}; put the published files there (`sparsecode data get celeba` downloads them), or set path to "
            "a folder that holds them"
        )

    def _parts(self, files: ImageFiles, partition: Path) -> list[list[str]]:
        """Names of the pictures of each part, in the order of the list."""
        by_name = {Path(name).name: name for name in files.names}
        parts: list[list[str]] = [[], [], []]
        listed = absent = 0
        for line in _lines(partition):
            if len(line) != 2 or line[1] not in ("0", "1", "2"):
                if not listed and line[-1] == "partition":  # the header of a .csv
                    continue
                raise ValueError(
                    f"{partition}: a line reads {' '.join(line)!r}; expected a picture and its part, 0, 1 or 2"
                )
            listed += 1
            if line[0] in by_name:
                parts[int(line[1])].append(by_name[line[0]])
            else:
                absent += 1
        kept = sum(map(len, parts))
        if absent or kept < len(files.names):
            warnings.warn(
                f"{files.path}: {absent} of {listed} listed pictures are not there, {len(files.names) - kept} that are there not "
                f"listed; {kept} are used",
                stacklevel=3,
            )
        for i, (name, number) in enumerate(zip(PARTS, (self.n_train, self.n_valid, self.n_test), strict=True)):
            if len(parts[i]) < (number or 1):
                raise ValueError(
                    f"{partition}: {len(parts[i])} pictures of {files.path} are {name}; expected at least {number or 1}"
                )
            parts[i] = parts[i][:number]
        return parts

    def _classes(self, names: list[str]) -> NDArray[np.int64] | None:
        """The class of each picture by the attributes; None without any."""
        if not self.attributes:
            return None
        table = _table(self._list(_ATTRIBUTES))
        if unknown := [name for name in self.attributes if name not in table.names]:
            raise ValueError(f"attributes name {unknown[0]!r}; choose from {', '.join(table.names)}")
        if absent := [name for name in names if name not in table.rows]:
            raise ValueError(f"{table.path}: no line for {absent[0]}; expected one for every picture")
        columns = [table.names.index(name) for name in self.attributes]
        values = table.values[[table.rows[name] for name in names]][:, columns] > 0
        return reduce(lambda number, bits: 2 * number + bits, values.T.astype(np.int64))


class _Table(NamedTuple):
    path: Path
    names: tuple[str, ...]
    rows: dict[str, int]
    values: NDArray[np.int8]


def _lines(path: Path) -> Iterator[list[str]]:
    """The words of each line, between spaces or commas."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if words := line.replace(",", " ").split():
                yield words


def _table(path: Path) -> _Table:
    """The attributes: names in a line (after a line with the number of pictures, as published), then 1 or -1 for each picture."""
    lines = _lines(path)
    header = next(lines, [])
    if len(header) == 1 and header[0].isdecimal():
        header = next(lines, [])
    names = tuple(header[1:] if path.suffix == ".csv" else header)
    rows: dict[str, int] = {}
    values = bytearray()
    for name, *signs in lines:
        if len(signs) != len(names) or not {*signs} <= {"1", "-1", "0"}:
            raise ValueError(
                f"{path}: the line of {name} has {len(signs)} values; expected 1 or -1 for {len(names)} names"
            )
        rows[name] = len(rows)
        values += bytes(sign == "1" for sign in signs)
    return _Table(path, names, rows, np.frombuffer(bytes(values), np.int8).reshape(len(rows), len(names)))
