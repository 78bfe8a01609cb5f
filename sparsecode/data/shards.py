"""Samples in more shards than memory holds: read in an order that is a function of (seed, step)."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from sparsecode.data.chosen_sites import Chosen, chosen_sites
from sparsecode.data.recorded_host import host_in
from sparsecode.data.shard_index import DTYPES, LABEL, Index, Shard, read_index, read_into, read_tokens
from sparsecode.data.splits import Reader, Split, Splits
from sparsecode.data.tokens import Tokens
from sparsecode.data.windows import Window, rows_between
from sparsecode.ops.rng import generator
from sparsecode.records import Batch
from sparsecode.specs import Count, Spec

__all__ = ["ShardStream", "Shards"]


class Shards(Spec, tag="shards"):
    """Samples from a folder that `ShardWriter` or `sparsecode extract` wrote, more than memory need hold.

    Training streams all rows of the train shards: two shards are in memory at a time, the next one is read while the other
    is used, and the order is a function of (seed, step), so that resuming is exact. Validation, test and
    data-dependent initialisation use the first `held` rows of their shards: a fair sample, because shards are
    shuffled as a whole.

    Shards with several sites give samples [sites, *F] of those in `sites`, or *F of one; with a `target`, another site is
    to be predicted from them. Class labels are kept where rows have them, and tokens, which are read when they are first asked for, of all
    rows and not only of those held. Raises FileNotFoundError or ValueError naming a file that is missing or damaged, ValueError for
    sites that are not there or whose shapes differ.
    """

    path: Annotated[str, Meta(min_length=1, description="the folder of shards")]
    held: Annotated[Count, Meta(description="most rows of each of train, valid and test kept in memory")] = 10_000
    sites: Annotated[
        tuple[str, ...], Meta(description="names of those that samples are made of; default all but the target")
    ] = ()
    target: Annotated[str | None, Meta(description="name of the site to predict")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        msgspec.structs.force_setattr(self, "path", str(Path(self.path).absolute()))

    def load(self) -> Splits:
        folder = Path(self.path)
        index = read_index(folder)
        sites = self.chosen(folder, index)
        train, valid, test = (
            Split(
                *sites.batch(_first_rows(folder, index, part, self.held, sites))[:3],
                tokens=Tokens.lazy(partial(read_tokens, folder, part), index.provenance.get("tokenizer"))
                if index.tokens
                else None,
            )
            for part in (index.train, index.valid, index.test)
        )
        host = host_in(index.provenance)
        if host is not None:
            host = host.of_sites(tuple(site.name for site in sites.all))
        return Splits(train, valid, test, *sites.span, stream=ShardStream(folder, index, sites), host=host)

    def chosen(self, folder: Path, index: Index) -> Chosen:
        """The sites of a folder with this index that samples and targets are made of. Raises ValueError as `load`."""
        return chosen_sites(index.sites, self.sites, self.target, str(folder), index.labelled)


class ShardStream(NamedTuple):
    """The training samples of a folder of shards, given in `dtype` on `device`."""

    folder: Path
    contents: Index
    sites: Chosen
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32

    @property
    def n(self) -> int:
        """The number of samples."""
        return sum(shard.rows for shard in self.contents.train)

    def fingerprint(self) -> str:
        return self.contents.fingerprint(self.sites.described())

    def to(self, device: torch.device, dtype: torch.dtype) -> ShardStream:
        return self._replace(device=device, dtype=dtype)

    def reader(self, seed: int) -> Reader:
        """Epoch e visits the shards in an order drawn from (seed, e), and the rows of shard s in one from (seed, e, s)."""
        return _ShardReader(self, seed)


class _ShardReader:
    """Two buffers: the shard in use in one, in the other the next one, read by a thread."""

    def __init__(self, stream: ShardStream, seed: int) -> None:
        self._stream, self._seed = stream, seed
        most = max(shard.rows for shard in stream.contents.train)
        dtype = DTYPES[stream.contents.dtype]
        self._buffers = [stream.sites.empty(most, dtype) for _ in range(2)]
        self._thread = ThreadPoolExecutor(1, "shards")  # which ends when this reader is dropped
        self._ahead: Future[Window] | None = None
        self._window: Window | None = None
        self._checked: set[int] = set()
        self._epoch, self._order, self._ends = -1, list[int](), list[int]()

    def __call__(self, epoch: int, first: int, last: int) -> Batch:
        """Samples `first` to `last` - 1 of this epoch's order; quick if calls go forward."""
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shards_of(epoch)
            self._ends = list(accumulate(self._stream.contents.train[s].rows for s in self._order))
        rows = rows_between(self._ends, lambda k: self._open((epoch, k)), first, last)
        device, dtype = self._stream.device, self._stream.dtype
        return self._stream.sites.batch(
            {n: v.to(device) if n == LABEL else v.to(device, dtype) for n, v in rows.items()}
        )

    def _shards_of(self, epoch: int) -> list[int]:
        shards = len(self._stream.contents.train)
        return torch.randperm(shards, generator=generator(self._seed, "order of shards", epoch)).tolist()

    def _open(self, place: tuple[int, int]) -> Window:
        if self._window is not None and self._window.place == place:
            return self._window
        window = None if self._ahead is None else self._ahead.result()
        if window is None or window.place != place:  # the first one, or a jump
            window = self._read(place)
        self._window = window
        self._buffers.reverse()  # the last one is in use now, and the first one free
        epoch, k = place
        following = (epoch, k + 1) if k + 1 < len(self._order) else (epoch + 1, 0)
        self._ahead = self._thread.submit(self._read, following)
        return window

    def _read(self, place: tuple[int, int]) -> Window:
        """Fill the free buffer. One call at a time: `_open` waits for the thread before it reads itself."""
        epoch, k = place
        number = self._shards_of(epoch)[k]
        shard = self._stream.contents.train[number]
        rows = {name: buffer[: shard.rows] for name, buffer in self._buffers[0].items()}
        read_into(rows, self._stream.folder, shard, check=number not in self._checked)
        self._checked.add(number)
        order = torch.randperm(shard.rows, generator=generator(self._seed, "order in shard", epoch, number))
        return Window(place, rows, order)


def _first_rows(folder: Path, index: Index, part: tuple[Shard, ...], count: int, sites: Chosen) -> dict[str, Tensor]:
    """The first `count` rows of these shards, or all, values as float32; one shard in memory beside them."""
    out = sites.empty(min(count, sum(shard.rows for shard in part)), torch.float32)
    done, n = 0, len(out[sites.x[0].name])
    for shard in part:
        if done == n:
            break
        rows = sites.empty(shard.rows, DTYPES[index.dtype])
        read_into(rows, folder, shard, check=True)
        take = min(shard.rows, n - done)
        for name, values in out.items():
            values[done : done + take] = rows[name][:take]
        done += take
    return out
