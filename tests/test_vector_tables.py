"""Activations in parquet files and saved data sets as a data source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsecode.data import Splits, VectorTable
from sparsecode.specs import from_json, to_json

arrow: Any = pytest.importorskip("pyarrow")
parquet: Any = pytest.importorskip("pyarrow.parquet")

X = np.random.default_rng(0).normal(size=(40, 5, 3)).astype(np.float32)
IDS = np.arange(200, dtype=np.int32).reshape(40, 5)
HOOK = "blocks.1.hook_resid_post"


def whole(splits: Splits) -> torch.Tensor:
    return torch.cat([part.x for part in (splits.train, splits.valid, splits.test)])


def save_spans(folder: Path) -> Path:
    """What SAELens leaves: a column of a two-dimensional extension type of `datasets` for the hook point, and token ids."""
    name = b"datasets.features.features.Array2DExtensionType"
    about = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": b'[[5, 3], "float32"]'}
    schema = arrow.schema(
        [
            arrow.field(HOOK, arrow.list_(arrow.list_(arrow.float32())), metadata=about),
            arrow.field("token_ids", arrow.list_(arrow.int32(), 5)),
        ]
    )
    folder.mkdir()
    with arrow.ipc.new_stream(folder / "data-00000-of-00001.arrow", schema) as stream:
        for rows in (slice(0, 30), slice(30, 40)):
            ids = arrow.FixedSizeListArray.from_arrays(arrow.array(IDS[rows].ravel()), 5)
            stream.write_batch(arrow.record_batch([arrow.array(X[rows].tolist(), schema.field(0).type), ids], schema))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    return folder


def test_spans_of_a_saved_data_set_are_split_whole(tmp_path: Path) -> None:
    source = VectorTable(path=str(save_spans(tmp_path / "cache")), valid=0.2, test=0.2)
    splits = source.load()
    assert [part.n for part in (splits.train, splits.valid, splits.test)] == [120, 40, 40]
    for split in (splits.train, splits.valid, splits.test):
        tokens = split.tokens
        assert tokens is not None
        assert torch.equal(split.x, torch.from_numpy(X.reshape(-1, 3))[tokens.ids])
        assert torch.equal(tokens.group, tokens.ids // 5)
        assert torch.equal(tokens.position, tokens.ids % 5)
        assert split.n == 5 * len(tokens.group.unique())
    assert from_json(to_json(source), VectorTable) == source


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_vectors_of_parquet_files_are_samples(kind: str, tmp_path: Path) -> None:
    x = X.reshape(-1, 3).astype(kind)
    (tmp_path / "files").mkdir()
    for i, part in enumerate(np.split(x, [77])):
        values = arrow.FixedSizeListArray.from_arrays(arrow.array(part.ravel()), 3) if i else arrow.array(list(part))
        table = arrow.table({"number": np.arange(len(part)), HOOK: values, "other": values})
        parquet.write_table(table, tmp_path / "files" / f"{i}.parquet", row_group_size=20)
    with pytest.raises(
        ValueError, match=rf"columns of vectors are {HOOK}, other, and no column is given; set `column`"
    ):
        VectorTable(path=str(tmp_path / "files")).load()
    with pytest.raises(ValueError, match="'number' is none"):
        VectorTable(path=str(tmp_path / "files"), column="number").load()
    splits = VectorTable(path=str(tmp_path / "files"), column=HOOK, block=10).load()
    expected = torch.from_numpy(x.astype(np.float32))
    assert splits.train.tokens is None
    assert torch.equal(whole(splits).sort(dim=0)[0], expected.sort(dim=0)[0])
    firsts = splits.valid.x[::10]
    at = [int((expected == row).all(dim=1).nonzero()) for row in firsts]
    assert all(i % 10 == 0 for i in at)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [1.0]], r"holds vectors of \[1, 2\] numbers; expected one length for all"),
        ([[[1.0], [2.0]], [[1.0]]], "holds between 1 and 2 vectors in a row; expected as many in each"),
        ([[1.0], None], "lacks 1 values; expected all"),
        ([[1.0], [None]], "without gaps"),
        ([[1.0], [float("nan")]], "1 samples with NaN"),
        ([[[[1.0]]]], "expected vectors, or lists of them"),
        ([[1.0]] * 20, "all training values are 1; expected data that vary"),
    ],
)
def test_values_that_make_no_samples_are_refused(values: list[Any], message: str, tmp_path: Path) -> None:
    parquet.write_table(arrow.table({"x": values}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=message):
        VectorTable(path=str(tmp_path / "a.parquet")).load()


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file or folder; expected a \.parquet file"):
        VectorTable(path=str(tmp_path / "none")).load()
    with pytest.raises(FileNotFoundError, match=r"not a table; expected a \.parquet file"):
        VectorTable(path=str(tmp_path)).load()
    parquet.write_table(arrow.table({"x": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="columns of vectors are missing, and no column is given"):
        VectorTable(path=str(tmp_path / "a.parquet")).load()


def test_lists_that_end_outside_their_values_are_damage(tmp_path: Path) -> None:
    """pyarrow would end the process."""
    folder = save_spans(tmp_path / "cache")
    file = folder / "data-00000-of-00001.arrow"
    data = file.read_bytes()
    ends = np.array([5, 10, 15, 20], np.int32).tobytes()
    assert ends in data
    file.write_bytes(data.replace(ends, np.full(4, 2**30, np.int32).tobytes()))
    with pytest.raises(ValueError, match=r"arrow: not a file of a table, or damaged"):
        VectorTable(path=str(folder)).load()
