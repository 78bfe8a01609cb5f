"""`Features` of a run's codes: on a split of its own data, or on other rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from msgspec.structs import replace

from sparsecode.choices import Part
from sparsecode.data.arrays import read_tokens, stored_array
from sparsecode.data.code_index import CodeIndex
from sparsecode.data.codes import read_codes
from sparsecode.data.shard_index import INDEX, read_index
from sparsecode.data.shard_rows import ShardRows
from sparsecode.data.shards import Shards, ShardStream
from sparsecode.evaluate.units.feature_collection import (
    CodedRows,
    class_count,
    coded_rows,
    collect_features,
    rows_of_codes,
    rows_of_split,
)
from sparsecode.evaluate.units.feature_file import FEATURES, FeatureOrigin, read_features, read_record
from sparsecode.evaluate.units.features import NO_TEXTS, Features, FeatureSettings
from sparsecode.files import printable
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.storage import WEIGHTS
from sparsecode.records import Batch
from sparsecode.runs import RunFolder
from sparsecode.specs import parsed

__all__ = ["FeatureSource", "StoredFeatures", "features_of_run", "source_of_file", "source_of_run", "stored_features"]

CHUNK = 10_000  # rows of an array that are read together


class FeatureSource(NamedTuple):
    """Rows to be looked at, and where they are from."""

    rows: CodedRows
    origin: FeatureOrigin


class StoredFeatures(NamedTuple):
    """Features that a run's folder has, if they are those wanted, with the `part` of its data that they are of; the texts of token ids in any
    of the same data.
    """

    features: Features | None = None
    texts: Mapping[int, str] = NO_TEXTS
    part: str = ""


def features_of_run(
    run: str | Path,
    part: Part = "train",
    settings: FeatureSettings | None = None,
    *,
    coder: str | None = None,
    moved: Path | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> Features:
    """`Features` of a run's codes on a split of its data: those stored in its folder if they are these, else collected now (not stored).

    Without settings those of the stored ones, or the defaults with the run's `theta`. Data that were `moved` are there. Raises as
    `RunFolder.splits`, and ValueError for a coder that the model does not have.
    """
    folder = RunFolder(run)
    source = source_of_run(folder, folder.best_model(), part, coder=coder, moved=moved)
    path = folder.path / FEATURES
    if path.is_file():
        record = read_record(path)
        same = replace(record.origin, tokenizer="") == source.origin
        if same and settings in (None, record.settings):
            return read_features(path)
    return collect_features(source.rows, settings or FeatureSettings(theta=folder.config().evaluate.theta), report)


def source_of_run(
    folder: RunFolder,
    model: AbstractSparseModel,
    part: Part = "train",
    *,
    theta: float | None = None,
    coder: str | None = None,
    moved: Path | None = None,
) -> FeatureSource:
    """The rows of a split of a run's data, all of them where they are streamed from shards."""
    splits = folder.splits(moved)
    theta = folder.config().evaluate.theta if theta is None else theta
    origin = _origin(folder, model, part, coder)
    if isinstance(splits.stream, ShardStream):
        return FeatureSource(_rows_of_shards(ShardRows(splits.stream, part), model, theta, coder), origin)
    return FeatureSource(rows_of_split(model, getattr(splits, part), theta, coder), origin)


def _origin(folder: RunFolder, model: AbstractSparseModel, part: str, coder: str | None) -> FeatureOrigin:
    return FeatureOrigin(
        run=printable(folder.path.resolve().name),
        coder=model.coder_called(coder),
        data=f"{part} split",
        fingerprint=folder.provenance().data,  # of the samples, which `RunFolder.splits` compares
        model=_sha256(folder.model / WEIGHTS),
    )


def stored_features(folder: RunFolder, model: AbstractSparseModel, part: str | None, theta: float) -> StoredFeatures:
    """What the run's folder has of features of its main coder on a split of its data (None: any), of codes above `theta`.

    Raises ValueError naming the file if it is damaged.
    """
    path = folder.path / FEATURES
    if not path.is_file():
        return StoredFeatures()
    record = read_record(path)
    kinds = {_origin(folder, model, kind, None): kind for kind in ((part,) if part else get_args(Part))}
    if record.origin.fingerprint not in {origin.fingerprint for origin in kinds}:
        return StoredFeatures()
    features = read_features(path)
    kind = kinds.get(replace(record.origin, run=next(iter(kinds)).run, tokenizer=""), "")
    if not kind or record.settings.theta != theta:
        return StoredFeatures(texts=features.texts)
    return StoredFeatures(features, features.texts, kind)


def _rows_of_shards(rows: ShardRows, model: AbstractSparseModel, theta: float, coder: str | None) -> CodedRows:
    return coded_rows(
        model,
        rows.batches,
        rows.n,
        theta=theta,
        tokens=rows.tokens,
        n_classes=class_count(rows.labels()),
        coder=coder,
    )


def source_of_file(
    path: Path,
    model: AbstractSparseModel,
    part: Part = "train",
    *,
    like: object = None,
    key: str | None = None,
    theta: float = 0.0,
    coder: str | None = None,
) -> FeatureSource:
    """The rows of other data: an array in a `.npy` or `.npz` file, a part of a folder of shards, or a folder of sparse codes.

    Of shards with several sites those that the data source `like` names. Raises FileNotFoundError or ValueError naming the path, for
    samples of another shape than the model's and codes of another number, too.
    """
    name = printable(path.name)
    origin = FeatureOrigin(coder=model.coder_called(coder), data=name)
    if not path.is_dir():
        return _source_of_array(path, model, key, theta, coder, origin)
    if _holds_codes(path):
        codes = read_codes(path)
        if codes.index.n_code != model.n_code:
            raise ValueError(f"{path}: codes of {codes.index.n_code} numbers; the model has {model.n_code}")
        return FeatureSource(
            rows_of_codes(codes, theta), replace(origin, coder=codes.index.provenance.get("coder", ""), data=name)
        )
    index = read_index(path)
    source = replace(like, path=str(path)) if isinstance(like, Shards) else Shards(path=str(path))
    chosen = source.chosen(path, index)
    shape = chosen.x[0].shape if len(chosen.x) == 1 else (len(chosen.x), *chosen.x[0].shape)
    _require_shape(path, shape, model)
    stream = ShardStream(path, index, chosen)
    rows = _rows_of_shards(ShardRows(stream, part), model, theta, coder)
    return FeatureSource(rows, replace(origin, data=f"{name}, {part}", fingerprint=stream.fingerprint()))


def _source_of_array(
    path: Path, model: AbstractSparseModel, key: str | None, theta: float, coder: str | None, origin: FeatureOrigin
) -> FeatureSource:
    stored = stored_array(path, key)
    _require_shape(path, stored.shape[1:], model)
    n = stored.shape[0]

    def batches() -> Iterator[Batch]:
        for start in range(0, n, CHUNK):
            yield Batch(torch.from_numpy(stored.rows(start, min(n, start + CHUNK))))

    rows = coded_rows(model, batches, n, theta=theta, tokens=read_tokens(path, n), coder=coder)
    return FeatureSource(rows, replace(origin, fingerprint=stored.sha256[:16]))


def _holds_codes(folder: Path) -> bool:
    """Whether a folder's index is of sparse codes."""
    file = folder / INDEX
    spec = parsed(file.read_bytes(), str(file)).get("spec") if file.is_file() else None
    return isinstance(spec, dict) and spec.get("type") == CodeIndex.__struct_config__.tag


def _require_shape(path: Path, shape: tuple[int, ...], model: AbstractSparseModel) -> None:
    if shape != model.shape:
        raise ValueError(
            f"{path}: samples of shape {shape}; the model takes {model.shape}: expected an array [n, {', '.join(map(str, model.shape))}]"
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
