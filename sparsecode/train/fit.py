"""Training of a single model: devices and processes. The only file that imports Fabric, and only where it is needed."""

from __future__ import annotations

import atexit
import os
import typing
from typing import TYPE_CHECKING, Protocol, Unpack, cast

import torch

from sparsecode.data.batches import batches
from sparsecode.data.splits import Splits
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_activation
from sparsecode.models.compiled_step import CompiledSteps
from sparsecode.models.dense_step import dense_step
from sparsecode.ops.collective import average_gradients
from sparsecode.train.fit_state import FitState
from sparsecode.train.interrupts import Interrupts
from sparsecode.train.optim import Optim
from sparsecode.train.plan import NAMED, Accelerator, Precision, Train
from sparsecode.train.session import Objective, Options, TrainingSession
from sparsecode.train.steps import steps_for

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Devices", "OneCPU", "fit", "launch", "open_session", "train_alone"]


class Devices(Protocol):
    """Where a model is trained: the device of this process, and its place among those that share the training. A Fabric is one."""

    @property
    def device(self) -> torch.device: ...

    @property
    def global_rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    @property
    def is_global_zero(self) -> bool: ...


class OneCPU:
    """One process on the CPU, in float32, which needs nothing of a Fabric: importing that imports torch's compiler."""

    device = torch.device("cpu")
    global_rank, world_size, is_global_zero = 0, 1, True


def launch(precision: Precision, accelerator: str = "auto", devices: int = 1) -> Devices:
    """`OneCPU`, or a Fabric for this process; under torchrun (which sets WORLD_SIZE) or with several devices, one of a group.

    "auto" is CUDA where there is one, else the CPU. Raises ValueError for devices that this machine does not have, and for "mps",
    the GPU of Apple computers: it has no float64, in which models keep some of their state and scores are summed.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = typing.get_args(Accelerator)
    if accelerator == "mps":
        here = "has no float64, which models and scores need" if torch.backends.mps.is_available() else "is not there"
        raise ValueError(f"accelerator is 'mps', and Apple's GPU {here}; choose auto or cpu")
    if accelerator not in known:
        raise ValueError(f"accelerator is {accelerator!r}; choose from {', '.join(known)}")
    if accelerator == "cuda" and not cards:
        raise ValueError("accelerator is 'cuda', and torch sees no CUDA device here; choose auto or cpu")
    accelerator = ("cuda" if cards else "cpu") if accelerator == "auto" else accelerator
    nodes = 1
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if devices < 1 or (accelerator == "cuda" and devices > cards):
        raise ValueError(f"devices is {devices}; expected 1 to {cards if accelerator == 'cuda' else 'as many as fit'}")
    wide = (
        NAMED.get(precision, precision) == "64-true"
    )  # with bf16-mixed weights are in float32, and models do the rest
    if accelerator == "cpu" and nodes * devices == 1 and not wide:
        return OneCPU()
    from lightning_fabric import Fabric  # here, because it imports torch's compiler

    strategy = "ddp" if nodes * devices > 1 else "auto"
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision="64-true" if wide else "32-true",
    )
    fabric.launch()
    if fabric.world_size > 1:
        atexit.register(_leave)
    return fabric


def _leave() -> None:
    """Processes part when all are done: one whose peers are gone before its threads have ended is aborted."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def open_session(
    model: AbstractSparseModel,
    splits: Splits,
    optim: Optim,
    train: Train,
    seed: int,
    *,
    fabric: Devices,
    **options: Unpack[Options],
) -> TrainingSession:
    """A training session of `model`, moved to the device and precision of `fabric`; its processes share each batch."""
    if has_activation(model):
        model.in_bf16 = train.in_bf16
        model.compiled = CompiledSteps(dense_step) if train.compile else None
    objective: Objective = model.loss
    backward = torch.Tensor.backward
    if isinstance(fabric, OneCPU):
        model.to(fabric.device)
    elif any(param.requires_grad for param in model.parameters()):
        group = cast("Fabric", fabric)
        module = group.setup_module(model)
        module.mark_forward_method("loss")
        if fabric.device.type == "cpu" and fabric.world_size > 1:
            module._forward_module.register_comm_hook(None, average_gradients)  # pyright: ignore[reportPrivateUsage, reportCallIssue] - DDP's
        objective = module.loss  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType] - the wrapper hands it through
        backward = group.backward
    else:  # the model learns from statistics alone; DDP rejects models without gradients
        cast("Fabric", fabric).to_device(model)
    return TrainingSession(
        model,
        splits,
        optim,
        train,
        seed,
        options,
        objective=objective,
        backward=backward,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )


def train_alone(session: TrainingSession) -> FitState:
    """Run a session outside a stack and return its final state; SIGINT and SIGTERM stop it."""
    weights = next(session.model.parameters())
    samples = session.splits.training.to(weights.device, weights.dtype)
    steps = batches(
        samples,
        session.train.batch_size,
        session.seed,
        session.step,
        session.total_steps,
        session.rank,
        session.world,
    )
    try:
        with Interrupts() as interrupts:
            session.run((batch for _, batch in steps), steps_for(session), lambda: interrupts.caught)
    finally:
        session.end()
    return session.state


def fit(
    model: AbstractSparseModel,
    splits: Splits,
    optim: Optim,
    train: Train,
    seed: int,
    *,
    fabric: Devices,
    **options: Unpack[Options],
) -> FitState:
    """Train `model` in place and return the final state; `options` are those of `Options`.

    Raises NonFiniteLossError with the step and term, and saves the batch to `resume/nonfinite-RANK.safetensors`.
    """
    return train_alone(open_session(model, splits, optim, train, seed, fabric=fabric, **options))
