"""Index of a folder of sparse codes, and the form of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load
from scipy.sparse import csr_array
from torch import Tensor

from sparsecode.data.images import SplitName
from sparsecode.data.shard_index import INDEX, REMEDY, Shard, read_into, require_files
from sparsecode.files import absent
from sparsecode.ops.arrays import matrix, native
from sparsecode.ops.csr import CSRRows, scipy_csr
from sparsecode.specs import Count, Spec, from_json, parsed

__all__ = [
    "INDICES",
    "OFFSETS",
    "VALUES",
    "CodeChunk",
    "CodeIndex",
    "CodeShard",
    "Number",
    "as_csr",
    "chunk_of",
    "entry_of",
    "read_code_index",
    "read_codes_of",
    "tensors_of",
]

VALUES, INDICES, OFFSETS = "values", "indices", "offsets"
Value = Literal["float32", "float64"]
Number = Literal["float32", "float64", "int32", "int64"]
Natural = Annotated[int, Meta(ge=0)]


class CodeShard(Shard, tag="code_shard"):
    """One safetensors file with the codes of `rows` samples: `values` [nnz], `indices` [nnz] and `offsets` [rows + 1]; and the
    columns of the index, [rows] each.
    """

    nnz: Annotated[Natural, Meta(description="non-zero codes in it")] = 0
    split: Annotated[SplitName | None, Meta(description="of its samples, if they have one")] = None


class CodeChunk(NamedTuple):
    """Codes of one file in compressed sparse rows, and numbers beside each row, such as labels, by name."""

    codes: csr_array
    columns: dict[str, NDArray[Any]]


class CodeIndex(Spec, tag="code_index"):
    """Index of a folder of sparse codes. Written last: a folder without it is not finished."""

    n_code: Count
    dtype: Annotated[Value, Meta(description="of values")]
    columns: Annotated[dict[str, Number], Meta(description="numbers beside each row, such as labels, and their types")]
    shards: tuple[CodeShard, ...]
    provenance: dict[str, str]


def as_csr(codes: Any) -> Any:
    """Codes [n, n_code] as a `csr_array`, from a SciPy array, a tensor of layout `sparse_csr`, or a dense array or tensor.

    Values as float32 or float64, no zeros among them, columns in ascending order. Raises TypeError for anything else.
    """
    if isinstance(codes, Tensor) and codes.layout == torch.sparse_csr:
        return as_csr(scipy_csr(codes))
    if not isinstance(codes, Tensor) and hasattr(codes, "tocsr"):
        result: Any = csr_array(codes.tocsr(), copy=True)
        result.sum_duplicates()
        result.eliminate_zeros()
        return result.astype(np.float64 if result.dtype == np.float64 else np.float32, copy=False)
    rows = torch.as_tensor(native(matrix("codes", codes))).detach().cpu()
    kept = CSRRows(rows.shape[1], rows.dtype)
    kept.append(rows)
    return kept.result()


def tensors_of(codes: Any, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What a file of codes holds, by name. Types do not depend on the number of entries."""
    index = np.int32 if codes.shape[1] <= np.iinfo(np.int32).max else np.int64
    return {
        VALUES: np.ascontiguousarray(codes.data),
        INDICES: codes.indices.astype(index, copy=False),
        OFFSETS: codes.indptr.astype(np.int64, copy=False),
        **columns,
    }


def read_code_index(folder: Path) -> CodeIndex:
    """The index of a folder of codes, all of whose files are there and of the right size.

    Raises FileNotFoundError or ValueError naming the file.
    """
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            absent(
                path,
                "a finished folder of codes (a writing that was interrupted resumes when the same is written to it again)",
            )
        )
    index = from_json(path.read_bytes(), CodeIndex, str(path))
    require_files(folder, index.shards)
    return index


def read_codes_of(folder: Path, index: CodeIndex, shard: CodeShard, *, check: bool) -> dict[str, Tensor]:
    """The tensors of a file of codes. Raises ValueError naming the file if it is damaged."""
    integer = torch.int32 if index.n_code <= np.iinfo(np.int32).max else torch.int64
    room = {
        VALUES: torch.empty(shard.nnz, dtype=getattr(torch, index.dtype)),
        INDICES: torch.empty(shard.nnz, dtype=integer),
        OFFSETS: torch.empty(shard.rows + 1, dtype=torch.int64),
        **{name: torch.empty(shard.rows, dtype=getattr(torch, kind)) for name, kind in index.columns.items()},
    }
    read_into(room, folder, shard, check=check)
    return room


def entry_of(name: str, data: bytes, where: str) -> tuple[CodeShard, CodeIndex]:
    """The entry of a file of codes in an index, and an index of files of its form, without files. Raises ValueError naming the file `where`."""
    try:
        length = int.from_bytes(data[:8], "little")
        n_code = int(parsed(data[8 : 8 + length], where)["__metadata__"]["n_code"])
        chunk = chunk_of(load(data), n_code)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{where}: no file of sparse codes, or damaged ({error}); {REMEDY}") from None
    codes: Any = chunk.codes
    columns: dict[str, Any] = {column: str(value.dtype) for column, value in sorted(chunk.columns.items())}
    splits: dict[str, SplitName] = {"train": "train", "valid": "valid", "test": "test"}
    split = splits.get(name.partition("-")[0])
    dtype: Any = str(codes.dtype)
    shard = CodeShard(name, codes.shape[0], len(data), hashlib.sha256(data).hexdigest(), codes.nnz, split)
    return shard, CodeIndex(n_code, dtype, columns, (), {})


def chunk_of(tensors: Mapping[str, NDArray[Any]], n_code: int) -> CodeChunk:
    """The content of a file of codes as a chunk. Raises KeyError or ValueError if it is none."""
    values, indices, offsets = tensors[VALUES], tensors[INDICES], tensors[OFFSETS]
    if len(values) <= np.iinfo(np.int32).max and indices.dtype == np.int32:
        offsets = offsets.astype(np.int32)
    codes = csr_array((values, indices, offsets), shape=(len(offsets) - 1, n_code))
    codes.check_format(full_check=True)
    columns = {name: value for name, value in tensors.items() if name not in (VALUES, INDICES, OFFSETS)}
    return CodeChunk(codes, columns)
