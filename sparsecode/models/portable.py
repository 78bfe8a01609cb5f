"""A model as a folder: `cfg.json` and `sae_weights.safetensors`, readable without this library.

File names and orientation (samples are rows, atoms are rows) follow SAELens. A model that SAELens cannot
compute carries an `architecture` of our own, so that a foreign reader fails loudly on the name.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from sparsecode.files import write_atomic
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.iterative import Iterative
from sparsecode.specs import pack, unpack

__all__ = ["ModelSpec", "load_model", "read_tensors", "save_model", "tensors_of"]

ModelSpec = Iterative  # the union of all model configs

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"


def tensors_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state of a module on the CPU, ready for safetensors."""
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def save_model(model: AbstractSparseModel, folder: Path, provenance: dict[str, Any]) -> None:
    """Write the model to `folder`, each file whole or not at all."""
    packed = pack(model.spec)
    config = {
        "architecture": f"sparsecode_{packed['spec']['type']}",
        "d_in": math.prod(model.shape),
        "d_sae": packed["spec"]["n_code"],
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "metadata": {"sparsecode": {**packed, "shape": model.shape, "provenance": provenance}},
    }
    write_atomic(folder / CONFIG, msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
    write_atomic(folder / WEIGHTS, save(tensors_of(model)))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file. Raises ValueError naming the file if it is cut short or damaged."""
    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged or cut short ({error}); restore it from a copy or train again") from None


def load_model(folder: str | Path) -> AbstractSparseModel:
    """The model saved in `folder`, on the CPU, in evaluation mode.

    Raises FileNotFoundError if a file is missing and ValueError if one is damaged or of another kind.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name}: no such file; expected a model folder with {CONFIG} and {WEIGHTS}"
            )
    try:
        config = msgspec.json.decode((folder / CONFIG).read_bytes())
        own = config["metadata"]["sparsecode"]
        shape = tuple(int(n) for n in own["shape"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / CONFIG}: not a sparsecode model ({error!r})") from None
    model = unpack(own, ModelSpec, str(folder / CONFIG)).build(shape, seed=0)
    tensors = read_tensors(folder / WEIGHTS)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    if given != expected:
        wrong = sorted(n for n in {*given, *expected} if given.get(n) != expected.get(n))
        raise ValueError(
            f"{folder / WEIGHTS}: tensors do not fit {CONFIG}: "
            + "; ".join(f"{n} is {given.get(n, 'missing')}, expected {expected.get(n, 'none')}" for n in wrong)
        )
    broken = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ValueError(
            f"{folder / WEIGHTS}: NaN or infinity in {', '.join(broken)}; restore it from a copy or train again"
        )
    model.load_state_dict(tensors, assign=True)  # each tensor in the dtype it was saved in
    return model.eval()
