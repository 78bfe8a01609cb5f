"""Writing sparse codes into a folder, chunk by chunk, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from safetensors.numpy import save

from sparsecode.data.code_index import INDICES, OFFSETS, VALUES, CodeIndex, CodeShard, as_csr, entry_of, tensors_of
from sparsecode.data.images import PARTS, SplitName
from sparsecode.data.shard_index import INDEX
from sparsecode.files import LOCK, TEMPORARY, held, write_atomic
from sparsecode.specs import Spec, differences, from_json, to_json

__all__ = ["CodeWriter", "refuse_codes"]

UNFINISHED = "unfinished.json"
FILE = re.compile(r"(codes|train|valid|test)-(\d+)\.safetensors")
NUMBERS = ("float32", "float64", "int32", "int64")


class CodeSettings(Spec, tag="code_settings"):
    """What must be equal for an interrupted writing to resume."""

    provenance: dict[str, str]


class CodeWriter:
    """Takes sparse codes chunk by chunk and leaves a folder for `read_codes`; to be used in a `with` statement.

    - Each call of `append` makes one safetensors file, which is on disk when it returns: no more than that chunk is in memory.
    - The index is written last, and readers accept nothing without it. After a crash, a writer with the same `provenance` (what the
      codes are of, in words) resumes: `appended` says how many calls of `append` need not be made again, and with the same
      codes the result is the same to the byte.

    Raises FileExistsError if the folder holds something else, or an unfinished writing with another provenance;
    BlockingIOError if another process writes there.

    Example
    -------
    >>> with CodeWriter("codes") as writer:  # doctest: +SKIP
    ...     for start in range(10_000 * writer.appended, len(x), 10_000):
    ...         writer.append(sparse_encode(x[start : start + 10_000], D, alpha, out="csr"))
    """

    def __init__(self, folder: str | Path, *, provenance: Mapping[str, str] | None = None) -> None:
        self.folder = Path(folder)
        self._settings = CodeSettings(dict(provenance or {}))
        self._shards: list[CodeShard] = []
        self._index: CodeIndex | None = None
        self._held = ExitStack()

    @property
    def appended(self) -> int:
        """The number of calls of `append` whose codes are on disk."""
        return len(self._shards)

    def __enter__(self) -> Self:
        refuse_codes(self.folder)
        there = sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []
        begun = UNFINISHED in there
        ours = re.compile(
            rf"({re.escape(LOCK)}|{re.escape(UNFINISHED)}|{INDEX}{'|' + FILE.pattern if begun else ''})({re.escape(TEMPORARY)})?"
        )
        if others := [name for name in there if not ours.fullmatch(name)]:
            raise FileExistsError(f"{self.folder}: not empty (it holds {', '.join(others[:5])}); choose another folder")
        with ExitStack() as undone:
            undone.enter_context(held(self.folder, doing="writing"))
            settings = self.folder / UNFINISHED
            if begun:
                changes = differences(from_json(settings.read_bytes(), CodeSettings, str(settings)), self._settings)
                if changes:
                    raise FileExistsError(
                        f"{self.folder}: holds an unfinished writing of other codes (there -> asked for: {'; '.join(changes)}); "
                        "ask for the same to resume it, or delete the folder"
                    )
                for name in sorted(filter(FILE.fullmatch, there), key=_place):
                    self._shards.append(self._recorded(name, (self.folder / name).read_bytes()))
            else:
                write_atomic(settings, to_json(self._settings))
            self._held = undone.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._held:
            if kind is None:
                self._finish()
            elif not self.appended:
                (self.folder / UNFINISHED).unlink(missing_ok=True)

    def append(
        self, codes: Any, *, split: SplitName | None = None, columns: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
        """Write codes [n, n_code]: a SciPy sparse array, a tensor of layout `sparse_csr`, or a dense array or tensor.

        The samples may belong to a `split`, and have numbers beside each row [n], such as labels, in `columns`. Raises TypeError
        or ValueError for other kinds and shapes than those before, no rows, and values that are not finite.
        """
        csr = as_csr(codes)
        if not (csr.shape[0] and np.isfinite(csr.data).all()):
            raise ValueError(
                f"codes of {csr.shape[0]} rows after {self.appended} appended{' are not finite' * bool(csr.shape[0])}; expected "
                "at least one row, and finite values"
            )
        beside = {name: np.ascontiguousarray(value) for name, value in (columns or {}).items()}
        for name, value in beside.items():
            if name in (VALUES, INDICES, OFFSETS) or value.shape != csr.shape[:1] or str(value.dtype) not in NUMBERS:
                raise ValueError(
                    f"column {name!r} is {value.dtype} of shape {value.shape}; expected {', '.join(NUMBERS)} of shape "
                    f"({csr.shape[0]},), and a name that is none of {VALUES}, {INDICES}, {OFFSETS}"
                )
        number = sum(shard.split == split for shard in self._shards)
        name = f"{split or 'codes'}-{number:05d}.safetensors"
        data = save(tensors_of(csr, beside), {"n_code": str(csr.shape[1])})  # with one word alone its order is certain
        shard = self._recorded(name, data)
        write_atomic(self.folder / name, data, checked=True)
        self._shards.append(shard)

    def _recorded(self, name: str, data: bytes) -> CodeShard:
        """The entry of a file in the index. Raises ValueError for codes of another form than those before."""
        shard, index = entry_of(name, data, str(self.folder / name))
        if self._index is None:
            self._index = index
        if index != self._index:
            raise ValueError(f"codes of {_in_words(index)}; expected {_in_words(self._index)} as in {self.folder}")
        return shard

    def _finish(self) -> None:
        if self._index is None:
            (self.folder / UNFINISHED).unlink()
            raise ValueError(f"{self.folder}: no codes were appended")
        shards = tuple(sorted(self._shards, key=lambda shard: _place(shard.file)))
        for part in (None, *PARTS):
            numbers = [_place(shard.file)[1] for shard in shards if shard.split == part]
            if numbers != list(range(len(numbers))):
                raise ValueError(
                    f"{self.folder}: files of {part or 'codes'} are missing; delete the folder and start anew"
                )
        write_atomic(
            self.folder / INDEX, to_json(replace(self._index, shards=shards, provenance=self._settings.provenance))
        )
        (self.folder / UNFINISHED).unlink()


def refuse_codes(folder: Path) -> None:
    """Raise FileExistsError if a writing has finished in this folder; what it would have deleted last is deleted first."""
    if (folder / INDEX).exists():
        if any(FILE.fullmatch(path.name) for path in folder.iterdir()):
            (folder / UNFINISHED).unlink(missing_ok=True)
        raise FileExistsError(f"{folder}: holds codes or shards already; choose another folder, or delete it")


def _place(name: str) -> tuple[int, int]:
    """The order of files: those without a split, then by split; by their numbers."""
    match = FILE.fullmatch(name)
    assert match is not None
    return ("codes", *PARTS).index(match[1]), int(match[2])


def _in_words(index: CodeIndex) -> str:
    columns = ", ".join(f"{name} ({kind})" for name, kind in index.columns.items())
    return f"{index.n_code} {index.dtype} numbers, with {columns or 'no columns'}"
