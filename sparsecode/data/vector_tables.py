"""Activations in parquet files, or in the folders that Hugging Face's `datasets` saves."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.arrays import Share, checked_samples, with_span
from sparsecode.data.splits import Splits, permuted_splits, sizes_of_shares
from sparsecode.data.tables import StoredTable, table_of
from sparsecode.data.tokens import Tokens
from sparsecode.ops.memory import require_memory
from sparsecode.specs import Count, Seed, Spec

__all__ = ["VectorTable"]

TOKENS = "token_ids"  # the column of SAELens's caches


class VectorTable(Spec, tag="table"):
    """Samples from a column of vectors in a table: a `.parquet` file, a folder of them, or one of `datasets.save_to_disk`.

    A value is a vector [d], or the vectors [T, d] of the T tokens of a span, as SAELens's `CacheActivationsRunner` writes them (a
    column for a hook point); samples are then the vectors, [N, d]. Rows of the table are split at random by `seed`, so that a span is
    in one split. Of spans, the column `token_ids` gives `Split.tokens`, whose positions count from 0. All is read into memory.
    """

    path: Annotated[str, Meta(min_length=1, description="the .parquet file, or the folder")]
    column: Annotated[str | None, Meta(description="of vectors; not needed if there is one")] = None
    valid: Annotated[Share, Meta(description="share of the rows of the table for validation")] = 0.1
    test: Annotated[Share, Meta(description="share of the rows of the table for test")] = 0.1
    seed: Seed = 0
    block: Annotated[Count, Meta(description="successive rows of the table that stay in one split")] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        msgspec.structs.force_setattr(self, "path", str(Path(self.path).absolute()))

    def load(self) -> Splits:
        path = Path(self.path)
        table = table_of(path)
        if table is None:
            what = "not a table" if path.exists() else "no such file or folder"
            raise FileNotFoundError(
                f"{path}: {what}; expected a .parquet file, a folder of them, or a folder of datasets.save_to_disk"
            )
        size = sum(file.stat().st_size for file in table.files)
        require_memory(size, f"{path}: {size} bytes of vectors", "convert it to shards")
        column = self._column(table)
        values = _read(table, column)
        if values.lengths.size != 1:
            raise ValueError(
                f"{path}: column {column!r} holds between {values.lengths.min()} and {values.lengths.max()} vectors in a row; expected as many "
                "in each"
            )
        x = checked_samples(path, values.x)
        spans = values.depth == 2
        block = self.block * (int(values.lengths[0]) if spans else 1)
        sizes = sizes_of_shares(-(-len(x) // block), self.valid, self.test, self.path, "rows")
        tokens = self._tokens(table, len(x), int(values.lengths[0])) if spans else None
        return with_span(self.path, permuted_splits(x, None, sizes[:2], self.seed, 0.0, 1.0, block, None, tokens))

    def _column(self, table: StoredTable) -> str:
        vectors = [field.name for field in table.schema() if _depth(field.type) and _is_float(field.type)]
        if self.column is None and len(vectors) == 1:
            return vectors[0]
        if self.column is None or self.column not in vectors:
            given = "no column is given" if self.column is None else f"{self.column!r} is none"
            raise ValueError(
                f"{self.path}: columns of vectors are {', '.join(vectors) or 'missing'}, and {given}; set `column` to one of them"
            )
        return self.column

    def _tokens(self, table: StoredTable, n: int, length: int) -> Tokens | None:
        """The tokens of n vectors of spans of this length; None if there is no column of them."""
        types = {field.name: field.type for field in table.schema()}
        if TOKENS not in types or _depth(types[TOKENS]) != 1 or _is_float(types[TOKENS]):
            return None
        ids = _read(table, TOKENS).x.ravel()
        if len(ids) != n:
            raise ValueError(f"{self.path}: {len(ids)} numbers in {TOKENS}, and {n} vectors; expected one for each")
        rows = torch.arange(n)
        return Tokens(torch.from_numpy(ids.astype(np.int64)), rows % length, rows // length)


class _Values(NamedTuple):
    """Vectors [N, d], how deep they lay in lists, and the numbers of vectors of rows that occur."""

    x: NDArray[Any]
    depth: int
    lengths: NDArray[np.int64]


def _read(table: StoredTable, column: str) -> _Values:
    parts: list[NDArray[Any]] = []
    widths: list[NDArray[np.int64]] = []
    lengths: list[NDArray[np.int64]] = []
    depth = 0
    for batch in table.batches(column):
        values = _storage(batch.column(0))
        depth = _depth(values.type)
        sizes: list[NDArray[np.int64]] = []
        while _depth(values.type):
            if values.null_count:
                raise ValueError(f"{table.path}: column {column!r} lacks {values.null_count} values; expected all")
            sizes.append(_lengths(values))
            values = values.flatten()
        if depth > 2 or values.null_count:
            raise ValueError(
                f"{table.path}: column {column!r} holds {batch.schema.field(0).type}; expected vectors, or lists of them, without gaps"
            )
        widths.append(np.unique(sizes[-1]))
        lengths.append(np.unique(sizes[0]) if depth == 2 else np.ones(1, np.int64))
        parts.append(values.to_numpy(zero_copy_only=False))
    width = np.unique(np.concatenate([*widths, np.zeros(0, np.int64)]))
    if width.size != 1 or not width[0]:
        raise ValueError(
            f"{table.path}: column {column!r} holds vectors of {width.tolist()} numbers; expected one length for all"
        )
    return _Values(np.concatenate(parts).reshape(-1, int(width[0])), depth, np.unique(np.concatenate(lengths)))


def _storage(values: Any) -> Any:
    """The lists below an extension type, such as those of `datasets`."""
    return values.storage if hasattr(values, "storage") else values


def _depth(kind: Any) -> int:
    """How many lists lie around the numbers."""
    kind, types = getattr(kind, "storage_type", kind), _types()
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return 1 + _depth(kind.value_type) if any(of(kind) for of in lists) else 0


def _is_float(kind: Any) -> bool:
    kind = getattr(kind, "storage_type", kind)
    return _is_float(kind.value_type) if _depth(kind) else _types().is_floating(kind)


def _lengths(values: Any) -> NDArray[np.int64]:
    compute: Any = importlib.import_module("pyarrow.compute")
    return np.asarray(compute.list_value_length(values).to_numpy(zero_copy_only=False), np.int64)


def _types() -> Any:
    return importlib.import_module("pyarrow.types")
