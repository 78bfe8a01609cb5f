"""Journal of writing shards: the data safely on disk, and the files that belong to the writer."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from sparsecode.data.arrays import Share
from sparsecode.data.shard_index import DTYPES, GROUP, INDEX, LABEL, PLACE, POSITION, TOKEN, DType
from sparsecode.data.splits import part_of
from sparsecode.files import LOCK, TEMPORARY, is_own
from sparsecode.specs import Count, Seed, Spec

__all__ = ["JOURNAL", "NUMBER_BYTES", "UNFINISHED", "Journal", "ShardSettings", "refuse_shards", "strangers"]

UNFINISHED, JOURNAL = "unfinished", "journal.json"
NUMBER_BYTES = 8  # of each of a row's whole numbers (document, label, token), which stand before its values


RowCount = Annotated[int, Meta(ge=0)]


class ShardSettings(Spec, tag="shard_settings"):
    """Settings that must be equal for an interrupted writing to resume."""

    rows_per_shard: Count
    seed: Seed
    valid: Share
    test: Share
    dtype: DType
    provenance: dict[str, str]

    def part(self, group: int) -> int:
        """The split of a document by its number: 0, 1 or 2 for train, valid or test."""
        return part_of(group, self.seed, self.valid, self.test)


class Journal(Spec, tag="shard_journal"):
    """The part of an unfinished writing that is safely on disk; `shapes` and, of training values, `spans` by site; whether rows have
    labels, and tokens; how many rows were left out, by the reason."""

    settings: ShardSettings
    shapes: Annotated[dict[str, tuple[Count, ...]], Meta(min_length=1)]
    appended: RowCount = 0
    rows: tuple[RowCount, RowCount, RowCount] = (0, 0, 0)
    spans: dict[str, tuple[float, float]] = msgspec.field(default_factory=dict)
    labelled: bool = False
    tokens: bool = False
    left_out: dict[str, RowCount] = msgspec.field(default_factory=dict)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the whole numbers of a row."""
        return (GROUP, *((LABEL,) if self.labelled else ()), *((TOKEN, POSITION, PLACE) if self.tokens else ()))

    @property
    def columns(self) -> dict[str, slice]:
        """Where in a record the bytes of the whole numbers and of each site's values are."""
        results = {name: slice(NUMBER_BYTES * i, NUMBER_BYTES * (i + 1)) for i, name in enumerate(self.numbers)}
        end = NUMBER_BYTES * len(results)
        for name, shape in self.shapes.items():
            results[name] = slice(end, end := end + math.prod(shape) * DTYPES[self.settings.dtype].itemsize)
        return results

    @property
    def record_bytes(self) -> int:
        return list(self.columns.values())[-1].stop


def refuse_shards(folder: Path) -> None:
    """Raise FileExistsError if a writing has finished in this folder; what it would have deleted last is deleted first."""
    if (folder / INDEX).exists():
        if is_own(folder / INDEX) and not strangers(folder / UNFINISHED, r"(train|valid|test)\.rows|bucket-.*"):
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        raise FileExistsError(f"{folder}: holds shards already; choose another folder, or delete it")


def strangers(folder: Path, ours: str) -> list[str]:
    """Names in a folder that no writer makes, apart from names that match `ours`."""
    known = re.compile(
        rf"({re.escape(LOCK)}|{UNFINISHED}|{re.escape(JOURNAL)}|{re.escape(INDEX)}|{ours})({re.escape(TEMPORARY)})?"
    )
    return sorted(p.name for p in folder.iterdir() if not known.fullmatch(p.name)) if folder.is_dir() else []
