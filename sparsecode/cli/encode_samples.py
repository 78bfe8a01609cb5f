"""Samples for `sparsecode encode`, a block at a time: of an array, of a folder of shards, of a split of a run's data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from msgspec.structs import replace
from torch import Tensor

from sparsecode.cli.console import Console
from sparsecode.data.arrays import stored_array
from sparsecode.data.images import SplitName
from sparsecode.data.shard_index import DTYPES, GROUP, LABEL, Shard, read_index, read_into
from sparsecode.data.shards import Shards
from sparsecode.data.splits import Split
from sparsecode.files import printable
from sparsecode.models.base import AbstractSparseModel
from sparsecode.runs import RunFolder

__all__ = ["Block", "SampleBlocks", "of_array", "of_shards", "of_split"]


class Block(NamedTuple):
    """Rows [n, *F] that are coded together; their split, and numbers beside each of them."""

    x: Tensor
    split: SplitName | None
    columns: dict[str, Tensor]


class SampleBlocks(NamedTuple):
    """`n` samples in blocks, each read when it is asked for; where they come from, in messages and in files."""

    n: int
    blocks: tuple[tuple[int, Callable[[], Block]], ...]
    source: str
    origin: dict[str, str]


def of_array(path: Path, key: str | None, size: int, folder: RunFolder, model: AbstractSparseModel) -> SampleBlocks:
    """The rows of an array in a file, in blocks of `size`."""
    stored = stored_array(path, key)
    _require_shape(str(path), stored.shape[1:], model, one=stored.shape == model.shape)
    _warn_of_units(stored.span, folder)
    n = stored.shape[0]

    def block(start: int) -> Block:
        return Block(torch.from_numpy(stored.rows(start, min(n, start + size))), None, {})

    blocks = tuple((min(size, n - start), partial(block, start)) for start in range(0, n, size))
    return SampleBlocks(n, blocks, str(path), {"samples": printable(str(path)), "samples_sha256": stored.sha256})


def of_split(split: Split, name: str, size: int) -> SampleBlocks:
    """The rows of a split in memory, in blocks of `size`."""

    def block(start: int) -> Block:
        rows = slice(start, start + size)
        return Block(split.x[rows], None, {} if split.label is None else {LABEL: split.label[rows]})

    n = len(split.x)
    blocks = tuple((min(size, n - start), partial(block, start)) for start in range(0, n, size))
    return SampleBlocks(n, blocks, f"{name} split", {"split": name})


def of_shards(path: Path, folder: RunFolder, model: AbstractSparseModel) -> SampleBlocks:
    """The rows of a folder of shards, a block for each; of several sites, those that the run was trained on."""
    config = folder.config().data
    source = replace(config, path=str(path)) if isinstance(config, Shards) else Shards(path=str(path))
    index = read_index(path)
    chosen = source.chosen(path, index)
    sites = chosen._replace(target=None)
    first = sites.x[0].shape
    _require_shape(str(path), first if len(sites.x) == 1 else (len(sites.x), *first), model)
    _warn_of_units(chosen.span, folder)  # the stored range is that of what the model predicts

    def block(shard: Shard, split: SplitName) -> Block:
        rows = sites.empty(shard.rows, DTYPES[index.dtype]) | {GROUP: torch.empty(shard.rows, dtype=torch.int64)}
        read_into(rows, path, shard, check=True)
        batch = sites.batch(rows)
        return Block(batch.x, split, {GROUP: rows[GROUP]} | ({} if batch.label is None else {LABEL: batch.label}))

    parts: dict[SplitName, tuple[Shard, ...]] = {"train": index.train, "valid": index.valid, "test": index.test}
    blocks = tuple((shard.rows, partial(block, shard, split)) for split, shards in parts.items() for shard in shards)
    origin = {"samples": printable(str(path)), "shards": index.fingerprint(sites.described())}
    return SampleBlocks(sum(n for n, _ in blocks), blocks, str(path), origin)


def _require_shape(path: str, shape: tuple[int, ...], model: AbstractSparseModel, one: bool = False) -> None:
    if shape != model.shape:
        raise ValueError(
            f"{path}: samples of shape {shape}; this run was trained on {model.shape}: expected an array "
            f"[n, {', '.join(map(str, model.shape))}]" + (" (one sample: x[None])" if one else "")
        )


def _warn_of_units(span: tuple[float, float], folder: RunFolder) -> None:
    low, high = folder.provenance().data_range
    beyond = 0.1 * (high - low)
    if span[0] < low - beyond or span[1] > high + beyond:
        Console().print(
            f"warning: values from {span[0]:.4g} to {span[1]:.4g}, and the run was trained on {low:.4g} to {high:.4g}: "
            "are they in the same units?",
            highlight=False,
            soft_wrap=True,
        )
