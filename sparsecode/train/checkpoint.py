"""What a run needs to go on as if nothing had happened: one file, replaced whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import torch
from msgspec import Meta
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sparsecode.files import write_atomic
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.portable import tensors_of
from sparsecode.specs import Spec, from_json, to_json
from sparsecode.train.optim import OptimiserGroup

__all__ = ["Best", "FitState", "read_state", "restore", "save_state"]


class Best(Spec, tag="best"):
    """The best validation value so far and the step it was seen at."""

    value: float
    step: int


class FitState(Spec, tag="fit_state"):
    """Where a training stands. `threads` changes the order of sums, so resuming takes it over.

    `data` is the fingerprint of the samples: going on with others would be another experiment.
    """

    step: Annotated[int, Meta(ge=0)]
    total_steps: int
    threads: int
    data: str
    best: Best | None = None
    stopped_by: str | None = None


def save_state(path: Path, state: FitState, model: AbstractSparseModel, groups: list[OptimiserGroup]) -> None:
    """Write model, optimisers and position to `path`: a crash leaves the old file or the new one."""
    tensors = {f"model/{name}": value for name, value in tensors_of(model).items()}
    for group in groups:
        for name, param in group.params.items():
            for key, value in group.optimiser.state[param].items():
                tensors[f"optim/{name}/{key}"] = value.detach().cpu().contiguous()
    write_atomic(path, save(tensors, metadata={"sparsecode": to_json(state).decode()}))


def read_state(path: Path) -> FitState:
    """The position stored in `path`. Raises ValueError naming the file if it is damaged or cut short."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path}: damaged or cut short ({error}); delete it to train from the start, or restore it from a copy"
        ) from None
    return from_json(metadata.get("sparsecode", "null").encode(), FitState, str(path))


def restore(path: Path, data: str, model: AbstractSparseModel, groups: list[OptimiserGroup]) -> FitState:
    """Load what `save_state` wrote into a fresh model and fresh optimisers; sets torch's thread count."""
    state = read_state(path)
    if state.data != data:
        raise ValueError(
            f"{path}: this run was trained on other samples (fingerprint {state.data}, now {data}); put the old "
            "data back, or train on the new ones in another folder"
        )
    with safe_open(path, framework="pt") as file:
        tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    weights = {name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith("model/")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path}: does not fit this run's model ({error})") from None
    for group in groups:
        for name, param in group.params.items():
            prefix = f"optim/{name}/"
            group.optimiser.state[param] = {
                key.removeprefix(prefix): value.to(param.device)
                for key, value in tensors.items()
                if key.startswith(prefix)
            }
    torch.set_num_threads(state.threads)
    return msgspec.structs.replace(state, stopped_by=None)
