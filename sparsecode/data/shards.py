"""Samples in more shards than memory holds: read in an order that is a function of (seed, step)."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from sparsecode.choices import DType
from sparsecode.data.splits import Reader, Split, Splits
from sparsecode.ops.streams import generator
from sparsecode.specs import Count, Seed, Spec, from_json, parsed
from sparsecode.types import Batch

__all__ = ["DTYPES", "INDEX", "DType", "Index", "Shard", "ShardStream", "Shards", "read_index"]

INDEX = "index.json"
DTYPES: dict[DType, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}
CODES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}  # what safetensors calls them


class Shard(Spec, tag="shard"):
    """One safetensors file: `x` [rows, *F] and `group` [rows], the documents that the rows come from."""

    file: Annotated[str, Meta(pattern=r"^[\w-][\w.-]*$", description="its name in the folder")]
    rows: Count
    size: Annotated[Count, Meta(description="of the file, in bytes")]
    sha256: Annotated[str, Meta(description="of the file")]


class Index(Spec, tag="shard_index"):
    """What is in a folder of shards. Written last: a folder without it is not finished."""

    shape: Annotated[tuple[Count, ...], Meta(description="of one sample, *F")]
    dtype: DType
    span: Annotated[tuple[float, float], Meta(description="least and largest value of the training samples")]
    seed: Annotated[Seed, Meta(description="of the split and of the shuffle")]
    train: tuple[Shard, ...]
    valid: tuple[Shard, ...]
    test: tuple[Shard, ...]
    provenance: dict[str, str]

    def fingerprint(self) -> str:
        """A short hash of the shape and of all shards' checksums in order."""
        hasher = hashlib.sha256(f"{self.shape} {self.dtype}".encode())
        for part in (self.train, self.valid, self.test):
            hasher.update(" ".join(["|", *(shard.sha256 for shard in part)]).encode())
        return hasher.hexdigest()[:16]


def read_index(folder: Path) -> Index:
    """The index of a folder of shards, all of them there and of the right size.

    Raises FileNotFoundError or ValueError naming the file.
    """
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected a finished folder of shards (one that was interrupted goes on when the same "
            "is written to it again)"
        )
    index = from_json(path.read_bytes(), Index, str(path))
    for shard in (*index.train, *index.valid, *index.test):
        file = folder / shard.file
        if not file.is_file():
            raise FileNotFoundError(f"{file}: missing, and {INDEX} names it; {REMEDY}")
        if file.stat().st_size != shard.size:
            raise ValueError(f"{file}: {file.stat().st_size} bytes, and {INDEX} says {shard.size}; {REMEDY}")
    return index


REMEDY = "restore it from a copy, or write the shards anew"


class Shards(Spec, tag="shards"):
    """Samples from a folder that `ShardWriter` or `sparsecode extract` wrote, more than memory need hold.

    Training streams all rows of the train shards: two shards are in memory at a time, the next one is read while the other
    is used, and the order is a function of (seed, step), so that resuming is exact. Validation and test, and what
    starts that depend on the data look at, are the first `held` rows of their shards: a fair sample, because shards are
    shuffled as a whole. Raises FileNotFoundError or ValueError naming a file that is missing or damaged.
    """

    path: Annotated[str, Meta(min_length=1, description="the folder of shards")]
    held: Annotated[Count, Meta(description="most rows of each of train, valid and test kept in memory")] = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        msgspec.structs.force_setattr(self, "path", str(Path(self.path).absolute()))

    def load(self) -> Splits:
        folder = Path(self.path)
        index = read_index(folder)
        train, valid, test = (
            Split(_first_rows(folder, index, part, self.held)) for part in (index.train, index.valid, index.test)
        )
        return Splits(train, valid, test, *index.span, stream=ShardStream(folder, index))


class ShardStream(NamedTuple):
    """The training samples of a folder of shards, given in `dtype` on `device`."""

    folder: Path
    contents: Index
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32

    @property
    def n(self) -> int:
        """The number of samples."""
        return sum(shard.rows for shard in self.contents.train)

    def fingerprint(self) -> str:
        return self.contents.fingerprint()

    def to(self, device: torch.device, dtype: torch.dtype) -> ShardStream:
        return self._replace(device=device, dtype=dtype)

    def reader(self, seed: int) -> Reader:
        """Epoch e visits the shards in an order drawn from (seed, e), and the rows of shard s in one from (seed, e, s)."""
        return _ShardReader(self, seed)


class _Place(NamedTuple):
    """The k-th shard of an epoch."""

    epoch: int
    k: int


class _Window(NamedTuple):
    """A shard in memory: its rows as they lie there, and the order to give them in."""

    place: _Place
    rows: Tensor
    order: Tensor


class _ShardReader:
    """Two buffers: the shard in use in one, in the other the next one, read by a thread."""

    def __init__(self, stream: ShardStream, seed: int) -> None:
        self._stream, self._seed = stream, seed
        most = max(shard.rows for shard in stream.contents.train)
        shape = (most, *stream.contents.shape)
        self._buffers = [torch.empty(shape, dtype=DTYPES[stream.contents.dtype]) for _ in range(2)]
        self._thread = ThreadPoolExecutor(1, "shards")  # which ends when this reader is dropped
        self._ahead: Future[_Window] | None = None
        self._window: _Window | None = None
        self._checked: set[int] = set()
        self._epoch, self._order, self._ends = -1, list[int](), list[int]()

    def __call__(self, epoch: int, first: int, last: int) -> Batch:
        """Samples `first` to `last` - 1 of this epoch's order; quick if calls go forward."""
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shards_of(epoch)
            self._ends = list(accumulate(self._stream.contents.train[s].rows for s in self._order))
        pieces: list[Tensor] = []
        while first < last:
            k = bisect_right(self._ends, first)
            window = self._open(_Place(epoch, k))
            begin, end = self._ends[k] - len(window.order), min(last, self._ends[k])
            pieces.append(window.rows.index_select(0, window.order[first - begin : end - begin]))
            first = end
        rows = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return Batch(rows.to(self._stream.device, self._stream.dtype))

    def _shards_of(self, epoch: int) -> list[int]:
        shards = len(self._stream.contents.train)
        return torch.randperm(shards, generator=generator(self._seed, "order of shards", epoch)).tolist()

    def _open(self, place: _Place) -> _Window:
        if self._window is not None and self._window.place == place:
            return self._window
        window = None if self._ahead is None else self._ahead.result()
        if window is None or window.place != place:  # the first one, or a jump
            window = self._read(place)
        self._window = window
        self._buffers.reverse()  # the last one is in use now, and the first one free
        following = _Place(place.epoch, place.k + 1)
        if following.k == len(self._order):
            following = _Place(place.epoch + 1, 0)
        self._ahead = self._thread.submit(self._read, following)
        return window

    def _read(self, place: _Place) -> _Window:
        """Fill the free buffer. One call at a time: `_open` waits for the thread before it reads itself."""
        number = self._shards_of(place.epoch)[place.k]
        shard = self._stream.contents.train[number]
        rows = self._buffers[0][: shard.rows]
        _read_into(rows, self._stream.folder, shard, check=number not in self._checked)
        self._checked.add(number)
        order = torch.randperm(shard.rows, generator=generator(self._seed, "order in shard", place.epoch, number))
        return _Window(place, rows, order)


def _first_rows(folder: Path, index: Index, part: tuple[Shard, ...], count: int) -> Tensor:
    """The first `count` rows of these shards, or all, as float32; one shard in memory beside them."""
    out = torch.empty(min(count, sum(shard.rows for shard in part)), *index.shape)
    done = 0
    for shard in part:
        if done == len(out):
            break
        rows = torch.empty(shard.rows, *index.shape, dtype=DTYPES[index.dtype])
        _read_into(rows, folder, shard, check=True)
        take = min(shard.rows, len(out) - done)
        out[done : done + take] = rows[:take]
        done += take
    return out


def _read_into(out: Tensor, folder: Path, shard: Shard, *, check: bool) -> None:
    """Read `x` of a shard into `out`, without a copy beside it.

    Raises ValueError naming the file if it is cut short, not what the index says or, if asked to check, damaged.
    """
    path = folder / shard.file
    hasher = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = file.read(8)
            header = file.read(int.from_bytes(size, "little"))
            tensor = parsed(header, "header")["x"]
            begin, end = tensor["data_offsets"]
            if (CODES.get(tensor["dtype"]), tensor["shape"]) != (out.dtype, list(out.shape)):
                raise ValueError(f"holds {tensor['dtype']} {tensor['shape']}")
            before = file.read(begin)
            target = out.view(-1).view(torch.uint8).numpy().data
            if end - begin != len(target) or file.readinto(target) != len(target):
                raise ValueError("cut short")
            if check:
                for part in (size, header, before, target, file.read()):
                    hasher.update(part)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: missing, and {INDEX} names it; {REMEDY}") from None
    except (ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: damaged ({error}); {REMEDY}") from None
    if check and hasher.hexdigest() != shard.sha256:
        raise ValueError(f"{path}: damaged, or changed since it was written (its checksum does not fit); {REMEDY}")
