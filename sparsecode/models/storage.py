"""A model as a folder: `cfg.json` and `sae_weights.safetensors`, readable without this library.

File names and orientation (samples are rows, atoms are rows) follow SAELens. A model that SAELens cannot
compute carries its own `architecture` name, on which other readers fail with an error.
Tensor files hold a checksum in their metadata: with a separate file, a crash between two writes could leave them inconsistent.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from sparsecode.files import absent, write_atomic
from sparsecode.hub import local_path
from sparsecode.losses.task import Predict
from sparsecode.models.amortised import Amortised
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.iterative import Iterative
from sparsecode.models.variational import Variational
from sparsecode.ops.memory import AllocationsFit
from sparsecode.specs import Count, converted, pack, parsed, unpack

__all__ = [
    "ModelSpec",
    "TensorFile",
    "build_model",
    "load_model",
    "provenance_of",
    "read_tensors",
    "save_model",
    "tensors_of",
    "write_tensors",
]

ModelSpec = Iterative | Amortised | Variational  # the union of all model configs

CONFIG, WEIGHTS, CHECKSUM = "cfg.json", "sae_weights.safetensors", "sha256"
MODEL = "model"  # the folder of the best model in that of a run


def build_model(
    spec: ModelSpec, shape: tuple[int, ...], seed: int, target: tuple[int, ...] | None = None
) -> AbstractSparseModel:
    """A fresh model for samples of `shape` with targets of shape `target`.

    Raises ValueError if its weights are more than this machine's memory, for targets that the model would leave unused, and
    without those that it needs.
    """
    predicts = isinstance(spec, Amortised) and isinstance(spec.task, Predict)
    if target is not None and not predicts:
        raise ValueError(
            f"the data have targets of shape {target}, which the model does not use; expected an amortised model with "
            "task 'predict', or data without a target"
        )
    what = f"model.n_code is {spec.n_code}: a model for samples of {shape}"
    with AllocationsFit(what, "choose smaller sizes"):
        try:
            return spec.build(shape, seed, target) if isinstance(spec, Amortised) else spec.build(shape, seed)
        except RuntimeError as error:  # torch has no specific error for it on the CPU
            if "allocate" not in str(error):
                raise
            raise ValueError(f"{what} does not fit in memory; choose smaller sizes") from None


def tensors_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state of a module on the CPU, as tensors for safetensors."""
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def save_model(model: AbstractSparseModel, folder: str | Path, provenance: dict[str, Any]) -> None:
    """Write the model to `folder`, each file atomically."""
    folder = Path(folder)
    packed = pack(model.spec)
    entry = {**packed, "shape": model.shape, "provenance": provenance}
    if model.target_shape is not None:
        entry["target_shape"] = model.target_shape
    config = {
        "architecture": f"sparsecode_{packed['spec']['type']}",
        "d_in": math.prod(model.shape),
        "d_sae": packed["spec"]["n_code"],
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "metadata": {"sparsecode": entry},
    }
    write_atomic(folder / CONFIG, msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
    write_tensors(folder / WEIGHTS, tensors_of(model))


class TensorFile(NamedTuple):
    """The contents of a safetensors file: tensors and metadata."""

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str]


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file atomically, with a checksum of its contents."""
    metadata = metadata or {}
    write_atomic(path, save(tensors, {**metadata, CHECKSUM: _checksum(TensorFile(tensors, metadata))}))


def read_tensors(path: Path, remedy: str = "restore it from a copy or train again") -> TensorFile:
    """The contents of a safetensors file, checked if `write_tensors` wrote it.

    Raises ValueError naming the file and the remedy if it is cut short, damaged or was changed by other means.
    """
    data = path.read_bytes()
    try:
        tensors = load(data)
    except KeyError as kind:
        raise ValueError(f"{path}: holds tensors of type {kind}, which torch does not read; convert them") from None
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged or cut short ({error}); {remedy}") from None
    header = parsed(data[8 : 8 + int.from_bytes(data[:8], "little")], f"{path}, header", remedy)
    metadata: dict[str, str] = header.get("__metadata__", {})
    result = TensorFile(tensors, {name: text for name, text in metadata.items() if name != CHECKSUM})
    if metadata.get(CHECKSUM) not in (None, _checksum(result)):
        raise ValueError(f"{path}: damaged, or changed since it was written (its checksum does not fit); {remedy}")
    return result


def _checksum(file: TensorFile) -> str:
    hasher = hashlib.sha256(msgspec.json.encode(file.metadata, order="sorted"))
    for name, value in sorted(file.tensors.items()):
        hasher.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        if value.numel():  # nothing has no bytes to view
            hasher.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def provenance_of(folder: Path) -> dict[str, Any]:
    """What was stored with the model in `folder`, or with that of a run; nothing of other folders."""
    for place in (folder, folder / MODEL):
        if (place / CONFIG).is_file():
            metadata = parsed((place / CONFIG).read_bytes(), str(place / CONFIG)).get("metadata")
            entry = metadata.get("sparsecode") if isinstance(metadata, dict) else None
            provenance = entry.get("provenance") if isinstance(entry, dict) else None
            return provenance if isinstance(provenance, dict) else {}
    return {}


def load_model(folder: str | Path, leaves: Sequence[type] = ()) -> AbstractSparseModel:
    """The model saved in `folder`, on the CPU, in evaluation mode; `folder` may be on the hub, `hf://org/repo/sub@revision`.

    `leaves` are the classes of its parts that are not this library's. Raises FileNotFoundError if a file is missing and ValueError if one is damaged, of another kind, or needs a class that is not in `leaves`.

    >>> import tempfile
    >>> from sparsecode.models import Amortised, load_model, save_model
    >>> from sparsecode.nn import TopK
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(Amortised(n_code=32, activation=TopK(k=4)).build((16,), seed=0), folder, {})
    ...     load_model(folder).n_code
    32
    """
    folder = local_path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            run = (folder / MODEL / CONFIG).is_file()
            remedy = f": this is a run, whose model is in {folder / MODEL}" if run else ""
            raise FileNotFoundError(absent(folder / name, f"a model folder with {CONFIG} and {WEIGHTS}{remedy}"))
    try:
        entry = parsed((folder / CONFIG).read_bytes(), "its text")["metadata"]["sparsecode"]
        shape = converted(entry["shape"], tuple[Count, ...], "shape")
        target = converted(entry.get("target_shape"), tuple[Count, ...] | None, "target_shape")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder / CONFIG}: damaged, or not a sparsecode model ({error!r}); restore it from a copy or train again"
        ) from None
    spec: ModelSpec = unpack(entry, ModelSpec, str(folder / CONFIG), leaves=leaves)
    tensors = read_tensors(folder / WEIGHTS).tensors
    model = build_model(spec, shape, 0, target)
    tensors = model.renamed(tensors)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    if given != expected:
        wrong = sorted(n for n in {*given, *expected} if given.get(n) != expected.get(n))
        raise ValueError(
            f"{folder / WEIGHTS}: tensors do not fit {CONFIG}: "
            + "; ".join(f"{n} is {given.get(n, 'missing')}, expected {expected.get(n, 'none')}" for n in wrong)
        )
    tensors = _computable(tensors, model.state_dict(), folder / WEIGHTS)
    broken = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ValueError(
            f"{folder / WEIGHTS}: NaN or infinity in {', '.join(broken)}; restore it from a copy or train again"
        )
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def _computable(
    tensors: dict[str, torch.Tensor], built: dict[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """Tensors in the dtypes a model computes in: weights in their widest dtype, at least float32; integer buffers as integers.

    Half precisions are exact in float32; float64 stays float64. Raises ValueError naming the file for other types: integer
    weights are quantised, and their scales are not in the file.
    """
    for name, value in tensors.items():
        ours = built[name].dtype
        if value.is_complex() or value.is_floating_point() != ours.is_floating_point:
            kinds = [str(dtype).removeprefix("torch.") for dtype in (value.dtype, ours)]
            raise ValueError(
                f"{path}: {name} is in {kinds[0]}; expected {kinds[1]}: convert it, or restore the file from a copy"
            )
    wide = torch.float32
    for name, value in tensors.items():
        if value.dtype == torch.float64 and built[name].dtype == torch.float32:
            wide = torch.float64
    return {
        name: value.to(torch.promote_types(wide, built[name].dtype) if value.is_floating_point() else built[name].dtype)
        for name, value in tensors.items()
    }
