"""Reports of models that were not trained here, on samples from elsewhere."""

from __future__ import annotations

from pathlib import Path

from sparsecode.data import Arrays, Data, Shards, VectorTable
from sparsecode.data.shard_index import INDEX
from sparsecode.data.tables import table_of
from sparsecode.init_from import model_at
from sparsecode.interop.formats import locate
from sparsecode.reports.builders.source import ReportSource, source_of_model
from sparsecode.runs import RunFolder, loaded_from

__all__ = ["data_at", "source_of_file"]


def data_at(path: Path) -> Data:
    """The data source at a path: that of a run, an array in a `.npy` or `.npz` file, a folder of shards, a table of vectors.

    Raises FileNotFoundError if nothing is there, ValueError if it is none of these.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file or folder; expected a run, an array, a folder of shards, or a table"
        )
    if RunFolder(path).exists:
        return RunFolder(path).config().data
    if (path / INDEX).is_file():
        return Shards(path=str(path))
    if path.suffix in (".npy", ".npz"):
        return Arrays(str(path))
    if table_of(path) is not None:
        return VectorTable(path=str(path))
    raise ValueError(
        f"{path}: no samples; expected a run, a .npy or .npz file, a folder of shards, or a table of vectors"
    )


def source_of_file(model: Path, data: Path, name: str) -> ReportSource:
    """The source for a model of ours without a run, or of another library, on the test samples of `data`.

    Raises ValueError naming the data if their samples have another shape than the model's.
    """
    loaded = model_at(model).eval()
    splits = loaded_from(data_at(data))
    if splits.shape != loaded.shape:
        raise ValueError(f"{data}: samples have shape {splits.shape}; the model {model} takes {loaded.shape}")
    origin = f"Read from a file of {locate(model)[0]}."
    return source_of_model(loaded, splits, name, origin)
