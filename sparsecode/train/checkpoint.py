"""Checkpoints: all state needed to continue a run exactly, in one file that is replaced atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch

from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.storage import read_tensors, tensors_of, write_tensors
from sparsecode.specs import to_json
from sparsecode.train.fit_state import REMEDY, FitState, read_state
from sparsecode.train.optim import OptimiserGroup

__all__ = ["restore", "save_state"]

COUNTERS = ("step", "steps")  # optimiser state whose shape and dtype differ from the parameter's


def save_state(path: Path, state: FitState, model: AbstractSparseModel, groups: list[OptimiserGroup]) -> None:
    """Write model, optimisers and position to `path`: a crash leaves the old file or the new one."""
    tensors = {f"model/{name}": value for name, value in tensors_of(model).items()}
    for group in groups:
        for name, param in group.params.items():
            for key, value in group.optimiser.state[param].items():
                tensors[f"optim/{name}/{key}"] = value.detach().cpu().contiguous()
    write_tensors(path, tensors, {"sparsecode": to_json(state).decode()})


def restore(
    path: Path,
    fresh: FitState,
    model: AbstractSparseModel,
    groups: list[OptimiserGroup],
    extended_at: int | None = None,
) -> FitState:
    """Load what `save_state` wrote into a fresh model and fresh optimisers; sets torch's thread count.

    A training that has finished at step `extended_at` continues with the plan of `fresh`. Raises ValueError naming the file if it is
    damaged, or belongs to other samples or to another plan than `fresh`.
    """
    state = read_state(path)
    tensors = read_tensors(path, REMEDY).tensors
    if state.data != fresh.data:
        raise ValueError(
            f"{path}: this run was trained on other samples (fingerprint {state.data}, now {fresh.data}); put the old "
            "data back, or train on the new ones in another folder"
        )
    if state.finished and state.step == extended_at:
        state = msgspec.structs.replace(state, total_steps=fresh.total_steps, ended=None, stall=None)
    if state.total_steps != fresh.total_steps:
        raise ValueError(
            f"{path}: this run was planned for {state.total_steps} steps, and its config asks for {fresh.total_steps} now; "
            "put the old config back, or train with the new one in another folder"
        )
    weights = {name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith("model/")}
    weights = model.renamed(weights)
    _check_kinds(weights, model.state_dict(), path)
    model.load_state_dict(weights)
    for group in groups:
        for name, param in group.params.items():
            prefix = f"optim/{name}/"
            group.optimiser.state[param] = results = {
                key.removeprefix(prefix): value.to(param.device)
                for key, value in tensors.items()
                if key.startswith(prefix)
            }
            moments = {key: value for key, value in results.items() if value.ndim and key not in COUNTERS}
            _check_kinds(moments, dict.fromkeys(moments, param), path)
    torch.set_num_threads(state.threads)
    return msgspec.structs.replace(state, stopped_by=None)


def _check_kinds(given: dict[str, torch.Tensor], expected: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise ValueError unless names, types and shapes are the same: training in other precision would be another training."""

    def kind(tensors: Mapping[str, torch.Tensor], name: str) -> str:
        result = tensors.get(name)
        return "missing" if result is None else f"{str(result.dtype).removeprefix('torch.')} {tuple(result.shape)}"

    for name in sorted({*given, *expected}):
        ours, theirs = kind(expected, name), kind(given, name)
        if ours != theirs:
            raise ValueError(f"{path}: does not fit this run's model: {name} is {theirs}, expected {ours}; {REMEDY}")
