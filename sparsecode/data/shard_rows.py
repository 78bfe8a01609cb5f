"""All rows of a part of a folder of shards, one shard in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch

from sparsecode.data.images import SplitName
from sparsecode.data.shard_index import DTYPES, LABEL, Shard, read_into, read_tokens
from sparsecode.data.shards import ShardStream
from sparsecode.data.tokens import Tokens
from sparsecode.records import Batch

__all__ = ["ShardRows"]


class ShardRows(NamedTuple):
    """The rows of a part of shards in the order in which they are on disk, in which `Split.tokens` counts them, too."""

    stream: ShardStream
    part: SplitName

    @property
    def shards(self) -> tuple[Shard, ...]:
        return getattr(self.stream.contents, self.part)

    @property
    def n(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def tokens(self) -> Tokens | None:
        """The tokens of all rows, read when they are first asked for."""
        index = self.stream.contents
        if not index.tokens:
            return None
        return Tokens.lazy(partial(read_tokens, self.stream.folder, self.shards), index.provenance.get("tokenizer"))

    def labels(self) -> torch.Tensor | None:
        """The class labels [n] of all rows; None if they have none."""
        if not self.stream.contents.labelled:
            return None
        result, start = torch.empty(self.n, dtype=torch.int64), 0
        for shard in self.shards:
            read_into({LABEL: result[start : start + shard.rows]}, self.stream.folder, shard, check=False)
            start += shard.rows
        return result

    def batches(self) -> Iterator[Batch]:
        """The rows of each shard, in the type in which they are stored. Raises ValueError naming a damaged file."""
        sites = self.stream.sites._replace(target=None)
        for shard in self.shards:
            rows = sites.empty(shard.rows, DTYPES[self.stream.contents.dtype])
            read_into(rows, self.stream.folder, shard, check=True)
            yield sites.batch(rows)
