"""`Features` as one file: tensors in the format of safetensors, and a JSON record in its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.file_metadata import read_metadata
from sparsecode.evaluate.units.examples import Examples
from sparsecode.evaluate.units.features import Features, FeatureSettings
from sparsecode.evaluate.units.firing import CoFiring
from sparsecode.evaluate.units.token_contexts import TokenContexts
from sparsecode.files import absent
from sparsecode.models.storage import read_tensors, write_tensors
from sparsecode.specs import Count, Spec, from_json, parsed, to_json
from sparsecode.version import __version__

__all__ = ["FEATURES", "FeatureOrigin", "FeatureRecord", "read_features", "read_record", "write_features"]

FEATURES = Path("features") / "features.safetensors"  # in the folder of a run
RECORD, TEXT_IDS, TEXTS = "features", "texts.token_id", "texts.json"
REMEDY = "collect the features again with sparsecode features --force"
SMALL = np.iinfo(np.int32).max
WIDE = ("n_active", "positive", "rows_by_l0", "class_sizes", "row", "group", "place", "offsets")  # 64 bits in memory


class FeatureOrigin(Spec, tag="feature_origin"):
    """Where features are from."""

    run: Annotated[str, Meta(description="its name")] = ""
    coder: Annotated[str, Meta(description="which of the model's coders")] = ""
    data: Annotated[str, Meta(description="the split of the run's data, or a file or folder")] = ""
    fingerprint: Annotated[str, Meta(description="of the samples")] = ""
    model: Annotated[str, Meta(description="SHA-256 of the weights' file")] = ""
    tokenizer: Annotated[str, Meta(description="the name of its folder")] = ""


class FeatureRecord(Spec, tag="features"):
    """The JSON record of a file of features: settings, numbers of rows, and origin."""

    settings: FeatureSettings
    origin: FeatureOrigin
    n: Count
    n_cofiring: Annotated[int, Meta(ge=0, description="rows on which neighbours were counted")]


def write_features(path: str | Path, features: Features, origin: FeatureOrigin | None = None) -> None:
    """Write features as one safetensors file, atomically, with a checksum; `read_features` reads it.

    Tensors have the names of the fields of `Features`, those of `examples`, `neighbours` and `contexts` as `examples.row` and so on.
    The metadata `features` is the JSON of `FeatureRecord` under a format number. Raises FileExistsError if the file there is not ours.
    """
    path = Path(path)
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in features._asdict().items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif isinstance(value, Examples | CoFiring | TokenContexts):
            arrays |= {f"{name}.{part}": a for part, a in value._asdict().items() if isinstance(a, np.ndarray)}
    if features.texts:
        arrays[TEXT_IDS] = np.fromiter(features.texts, np.int64, len(features.texts))
        arrays[TEXTS] = np.frombuffer(msgspec.json.encode(list(features.texts.values())), dtype=np.uint8).copy()
    record = FeatureRecord(features.settings, origin or FeatureOrigin(), features.n, features.neighbours.n)
    metadata = {"sparsecode": __version__, RECORD: to_json(record).decode()}
    write_tensors(path, {name: torch.from_numpy(_compact(a)) for name, a in arrays.items()}, metadata)


def read_record(path: Path) -> FeatureRecord:
    """The record of a file of features, without its tensors. Raises FileNotFoundError or ValueError naming the file."""
    if not path.is_file():
        raise FileNotFoundError(absent(path, "features, which sparsecode features RUN writes"))
    return _record(read_metadata(path, REMEDY), path)


def read_features(path: str | Path) -> Features:
    """The features in a file, or in the folder of a run, that `write_features` or `sparsecode features` wrote.

    Raises FileNotFoundError naming the file and the command if there is none, ValueError if it is damaged, of another kind or of a newer format.
    """
    path = Path(path)
    path = path / FEATURES if path.is_dir() else path
    read_record(path)
    file = read_tensors(path, REMEDY)
    record = _record(file.metadata, path)
    arrays = {name: value.numpy() for name, value in file.tensors.items()}
    try:
        texts = (
            dict(zip(arrays.pop(TEXT_IDS).tolist(), _texts(arrays.pop(TEXTS)), strict=True)) if TEXTS in arrays else {}
        )
        groups: dict[str, dict[str, Any]] = {"": {}, "examples": {}, "neighbours": {}, "contexts": {}}
        for name, value in arrays.items():
            group, _, part = name.rpartition(".")
            groups[group][part] = value.astype(np.int64) if part in WIDE else value
        return Features(
            settings=record.settings,
            n=record.n,
            **groups[""],
            examples=Examples(**groups["examples"]),
            neighbours=CoFiring(**groups["neighbours"], n=record.n_cofiring),
            contexts=TokenContexts(**groups["contexts"]) if groups["contexts"] else None,
            texts=texts,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a whole file of features ({error}); {REMEDY}") from None


def _record(metadata: dict[str, str], path: Path) -> FeatureRecord:
    if RECORD not in metadata:
        raise ValueError(f"{path}: not a file of features; expected one that sparsecode features wrote")
    return from_json(metadata[RECORD].encode(), FeatureRecord, str(path))


def _texts(data: NDArray[Any]) -> list[str]:
    return [str(text) for text in parsed(data.tobytes(), "texts")]


def _compact(array: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers in 32 bits where they fit; reading restores their type."""
    small = array.dtype == np.int64 and (not array.size or int(np.abs(array).max()) <= SMALL)
    return np.ascontiguousarray(array.astype(np.int32) if small else array)
