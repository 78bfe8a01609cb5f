"""Index of a folder of shards, and reading of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import torch
from msgspec import Meta, field
from torch import Tensor

from sparsecode.choices import DType
from sparsecode.data.tokens import TokenColumns
from sparsecode.files import absent
from sparsecode.specs import Count, Seed, Spec, from_json, parsed

__all__ = [
    "DTYPES",
    "GROUP",
    "INDEX",
    "LABEL",
    "PLACE",
    "POSITION",
    "TOKEN",
    "DType",
    "Index",
    "Shard",
    "ShardSite",
    "X",
    "read_index",
    "read_into",
    "read_tokens",
    "require_files",
]

INDEX = "index.json"
GROUP, LABEL, X = (
    "group",
    "label",
    "x",
)  # names of tensors: documents, class labels, and values where they have no other name
TOKEN, POSITION, PLACE = "token_id", "position", "place"  # names of tensors of `TokenColumns`, beside `group`
DTYPES: dict[DType, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}
CODES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I32": torch.int32,
    "I64": torch.int64,
}  # what safetensors calls them
REMEDY = "restore it from a copy, or write the shards anew"


class Shard(Spec, tag="shard"):
    """One safetensors file: a tensor [rows, *F] for each site, `group` [rows], the documents that the rows come from; `label` [rows], if
    the rows have labels, and `token_id`, `position` and `place` [rows], if they are of tokens."""

    file: Annotated[str, Meta(pattern=r"^[\w-][\w.-]*$", description="its name in the folder")]
    rows: Count
    size: Annotated[Count, Meta(description="of the file, in bytes")]
    sha256: Annotated[str, Meta(description="of the file")]


class ShardSite(Spec, tag="shard_site"):
    """Where values were recorded, such as a layer of a network: each row has a value of shape *F for each site."""

    name: Annotated[str, Meta(min_length=1, description="of its tensor in the files")]
    shape: Annotated[tuple[Count, ...], Meta(description="of one value, *F")]
    span: Annotated[tuple[float, float], Meta(description="least and largest value of the training samples")]


class Index(Spec, tag="shard_index"):
    """Index of a folder of shards. Written last: a folder without it is not finished."""

    sites: Annotated[tuple[ShardSite, ...], Meta(min_length=1)]
    dtype: DType
    seed: Annotated[Seed, Meta(description="of the split and of the shuffle")]
    train: tuple[Shard, ...]
    valid: tuple[Shard, ...]
    test: tuple[Shard, ...]
    provenance: dict[str, str]
    labelled: Annotated[bool, Meta(description="rows have class labels")] = False
    tokens: Annotated[bool, Meta(description="rows have tokens")] = False
    left_out: Annotated[dict[str, int], Meta(description="how many rows were not kept, by the reason")] = field(
        default_factory=dict
    )

    def fingerprint(self, what: str) -> str:
        """A short hash of `what` is read, the type of its values and all shards' checksums in order."""
        hasher = hashlib.sha256(f"{what} {self.dtype}".encode())
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
            absent(
                path,
                "a finished folder of shards (one that was interrupted goes on when the same is written to it again)",
            )
        )
    index = from_json(path.read_bytes(), Index, str(path))
    require_files(folder, (*index.train, *index.valid, *index.test))
    return index


def require_files(folder: Path, shards: Iterable[Shard]) -> None:
    """Raise FileNotFoundError or ValueError naming the first of these files that is missing or of another size."""
    for shard in shards:
        file = folder / shard.file
        if not file.is_file():
            raise FileNotFoundError(f"{file}: missing, and {INDEX} names it; {REMEDY}")
        if file.stat().st_size != shard.size:
            raise ValueError(f"{file}: {file.stat().st_size} bytes, and {INDEX} says {shard.size}; {REMEDY}")


def read_tokens(folder: Path, shards: tuple[Shard, ...]) -> TokenColumns:
    """The tokens of all rows of these shards, in order; their values are not read. Errors as in `read_into`."""
    n = sum(shard.rows for shard in shards)
    columns = {name: torch.empty(n, dtype=torch.int64) for name in (TOKEN, POSITION, GROUP, PLACE)}
    start = 0
    for shard in shards:
        part = {name: column[start : start + shard.rows] for name, column in columns.items()}
        read_into(part, folder, shard, check=False)
        start += shard.rows
    return TokenColumns(*columns.values())


def read_into(out: Mapping[str, Tensor], folder: Path, shard: Shard, *, check: bool) -> None:
    """Read the tensors of a shard that `out` names into those given, without a copy beside them.

    Raises ValueError naming the file if it is cut short, not what the index says or, if asked to check, damaged.
    """
    path = folder / shard.file
    hasher = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = file.read(8)
            header = file.read(int.from_bytes(size, "little"))
            start = file.tell()
            if check:
                hasher.update(size)
                hasher.update(header)
            there = parsed(header, "header")
            for name in sorted(out, key=lambda name: there[name]["data_offsets"]):
                tensor, value = there[name], out[name]
                begin, end = tensor["data_offsets"]
                if (CODES.get(tensor["dtype"]), tensor["shape"]) != (value.dtype, list(value.shape)):
                    raise ValueError(f"{name} holds {tensor['dtype']} {tensor['shape']}")
                if check:
                    hasher.update(file.read(max(0, start + begin - file.tell())))
                file.seek(start + begin)
                target = value.view(-1).view(torch.uint8).numpy().data
                if end - begin != len(target) or file.readinto(target) != len(target):
                    raise ValueError("cut short")
                if check:
                    hasher.update(target)
            if check:
                hasher.update(file.read())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: missing, and {INDEX} names it; {REMEDY}") from None
    except (ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: damaged ({error}); {REMEDY}") from None
    if check and hasher.hexdigest() != shard.sha256:
        raise ValueError(f"{path}: damaged, or changed since it was written (its checksum does not fit); {REMEDY}")
