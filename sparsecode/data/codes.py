"""Sparse codes on disk, read back one file at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from safetensors import safe_open
from scipy.sparse import csr_array, vstack

from sparsecode.data.code_index import (
    CodeChunk,
    CodeIndex,
    CodeShard,
    chunk_of,
    entry_of,
    read_code_index,
    read_codes_of,
)
from sparsecode.data.images import SplitName

__all__ = ["StoredCodes", "read_codes"]


class StoredCodes:
    """Sparse codes on disk, read when they are asked for: one file at a time is in memory. Made by `read_codes`."""

    def __init__(self, folder: Path, index: CodeIndex) -> None:
        self.folder, self.index = folder, index
        self._checked: set[str] = set()

    @property
    def shape(self) -> tuple[int, int]:
        """[n, n_code]."""
        return sum(shard.rows for shard in self.index.shards), self.index.n_code

    @property
    def nnz(self) -> int:
        """The number of non-zero codes."""
        return sum(shard.nnz for shard in self.index.shards)

    def of(self, split: SplitName) -> StoredCodes:
        """The codes of one split. Raises ValueError naming the splits if there are none of it."""
        shards = tuple(shard for shard in self.index.shards if shard.split == split)
        if not shards:
            there = ", ".join(dict.fromkeys(str(shard.split) for shard in self.index.shards))
            raise ValueError(f"split is {split!r}; {self.folder} has codes of {there}")
        return StoredCodes(self.folder, replace(self.index, shards=shards))

    def chunks(self) -> Iterator[CodeChunk]:
        """The codes of each file in turn, checked against its checksum when it is first read. Raises ValueError naming a damaged file."""
        return map(self._read, self.index.shards)

    def rows(self, start: int, stop: int) -> csr_array:
        """Codes [stop - start, n_code] of some rows; reads the files that they are in."""
        if not 0 <= start < stop <= self.shape[0]:
            raise ValueError(f"rows {start} to {stop}; expected 0 <= start < stop <= {self.shape[0]}")
        parts: list[Any] = []
        begin = 0
        for shard in self.index.shards:
            end = begin + shard.rows
            if begin < stop and start < end:
                codes: Any = self._read(shard).codes
                parts.append(codes[max(start - begin, 0) : min(stop, end) - begin])
            begin = end
        codes: Any = vstack(parts, format="csr")
        return codes

    def column(self, name: str) -> NDArray[Any]:
        """Numbers beside all rows [n], such as labels. Raises ValueError naming the columns for another name."""
        if name not in self.index.columns:
            raise ValueError(f"no column {name!r} in {self.folder}; it has {', '.join(self.index.columns) or 'none'}")
        parts: list[NDArray[Any]] = []
        for shard in self.index.shards:
            with safe_open(self.folder / shard.file, "np") as file:
                parts.append(file.get_tensor(name))
        return np.concatenate(parts)

    def _read(self, shard: CodeShard) -> CodeChunk:
        tensors = read_codes_of(self.folder, self.index, shard, check=shard.file not in self._checked)
        self._checked.add(shard.file)
        return chunk_of({name: value.numpy() for name, value in tensors.items()}, self.index.n_code)


def read_codes(path: str | Path) -> StoredCodes:
    """Codes that `CodeWriter` or `sparsecode encode` wrote: of a folder, or of a `.safetensors` file of sparse codes.

    A `.npz` file of sparse codes is read by `scipy.sparse.load_npz`. Raises FileNotFoundError or ValueError naming a file that is
    missing, damaged, or of another kind.
    """
    path = Path(path)
    if path.is_dir():
        return StoredCodes(path, read_code_index(path))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder; expected a folder of codes or a .safetensors file")
    shard, index = entry_of(path.name, path.read_bytes(), str(path))
    return StoredCodes(path.parent, replace(index, shards=(shard,)))
