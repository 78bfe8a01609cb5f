"""Tables in parquet files, or in the folders that Hugging Face's `datasets` saves."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sparsecode.specs import parsed

__all__ = ["StoredTable", "table_of"]

STATE, SPLITS = "state.json", "dataset_dict.json"
ROWS = 1024  # read from a parquet file at a time


class StoredTable(NamedTuple):
    """Files whose rows follow each other."""

    path: Path
    kind: Literal["parquet", "arrow"]
    files: tuple[Path, ...]

    def batches(self, column: str | None, report: Callable[[int], None] = lambda _: None) -> Iterator[Any]:
        """Some rows at a time as pyarrow's record batches; of one column, if it is given. `report` gets the bytes of the files read.

        Raises ImportError where pyarrow is missing, ValueError naming the file for a column that is not there and for damaged files.
        """
        done = 0
        for file in self.files:
            with _opened(self.kind, file) as (schema, batches):
                if column is not None and column not in schema.names:
                    raise ValueError(f"{file}: no column {column!r}; choose from {', '.join(schema.names)}")
                yield from batches([column] if column is not None else schema.names)
            done += file.stat().st_size
            report(done)

    def schema(self) -> Any:
        """pyarrow's schema of the first file."""
        with _opened(self.kind, self.files[0]) as (schema, _):
            return schema

    def texts(self, column: str, report: Callable[[int], None] = lambda _: None) -> Iterator[str]:
        """The texts of a column; what is missing is empty. Errors as in `batches`, and ValueError for columns of anything else."""
        for batch in self.batches(column, report):
            values = batch.column(0).to_pylist()
            if any(not isinstance(value, str | None) for value in values):
                raise ValueError(
                    f"{self.path}: column {column!r} holds {batch.schema.field(0).type}; expected text: choose its column with --column"
                )
            yield from (value or "" for value in values)


def table_of(path: Path) -> StoredTable | None:
    """The table at a path: a `.parquet` file, a folder with such files, or one of `datasets.save_to_disk`; None if it is something else.

    Raises ValueError naming the folder if it holds several splits, or a selection of rows.
    """
    if path.is_file():
        return StoredTable(path, "parquet", (path,)) if path.suffix == ".parquet" else None
    if not path.is_dir():
        return None
    if (path / SPLITS).is_file():
        splits = sorted(each.name for each in path.iterdir() if (each / STATE).is_file())
        raise ValueError(
            f"{path}: holds the splits {', '.join(splits)}; choose one: {path / splits[0] if splits else path}"
        )
    if (path / STATE).is_file():
        return StoredTable(path, "arrow", _saved_files(path))
    files = tuple(sorted(file for file in path.rglob("*.parquet") if file.is_file()))
    return StoredTable(path, "parquet", files) if files else None


def _saved_files(path: Path) -> tuple[Path, ...]:
    state = parsed((path / STATE).read_bytes(), str(path / STATE))
    try:
        if state.get("_indices_files"):
            raise ValueError(f"{path}: a selection of rows; write it with dataset.flatten_indices().save_to_disk(...)")
        files = tuple(path / Path(entry["filename"]).name for entry in state["_data_files"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path / STATE}: damaged ({error}); restore it from a copy") from None
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: missing, and {STATE} names it; restore it from a copy")
    if not files:
        raise ValueError(f"{path}: a data set without rows; expected some")
    return files


@contextmanager
def _opened(kind: str, file: Path) -> Generator[tuple[Any, Callable[[list[str]], Iterator[Any]]]]:
    """The schema of a file, and its record batches with some columns."""
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(f"{file}: reading it needs pyarrow ({error}); pip install 'sparsecode[parquet]'") from None
    try:
        if kind == "parquet":
            with parquet.ParquetFile(file, memory_map=True) as source:
                yield source.schema_arrow, lambda names: source.iter_batches(ROWS, columns=names)
        else:
            with arrow.memory_map(str(file)) as mapped, arrow.ipc.open_stream(mapped) as source:
                yield source.schema, lambda names: (_checked(batch).select(names) for batch in source)
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: not a file of a table, or damaged ({' '.join(str(error).split())[:200]})") from None


def _checked(batch: Any) -> Any:
    """The batch, whose offsets lie within its values: pyarrow itself ends the process where they do not. Raises ArrowInvalid."""
    batch.validate(full=True)
    return batch
