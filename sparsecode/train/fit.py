"""The training loop, for every model."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import torch
from lightning_fabric import Fabric
from safetensors.torch import save

from sparsecode.data.batches import batches
from sparsecode.data.splits import Splits
from sparsecode.files import remove_leftovers, write_atomic
from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.collective import any_rank, mean_over_ranks
from sparsecode.ops.streams import Stream, generator
from sparsecode.train.checkpoint import Best, FitState, restore, save_state
from sparsecode.train.interrupts import Interrupts
from sparsecode.train.observers import Observer
from sparsecode.train.optim import Optim, OptimiserGroup, build, clip_, set_rates
from sparsecode.train.plan import STATE_FILE, NonFiniteLossError, Precision, Train, clock
from sparsecode.types import Batch, Event, Loss

__all__ = ["fit", "launch"]

INITIAL_SAMPLE = 10_000  # training samples that data-dependent starts may look at


def launch(precision: Precision, accelerator: str = "auto", devices: int = 1) -> Fabric:
    """A Fabric for this process; under torchrun (which sets WORLD_SIZE) or with several devices, one of a group.

    "auto" is CUDA where there is one, else the CPU. Raises ValueError for what this machine does not have.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator not in ("auto", "cpu", "cuda"):
        raise ValueError(f"accelerator is {accelerator!r}; expected auto, cpu or cuda")
    if accelerator == "cuda" and not cards:
        raise ValueError("accelerator is 'cuda', and torch sees no CUDA device here; expected auto or cpu")
    accelerator = ("cuda" if cards else "cpu") if accelerator == "auto" else accelerator
    nodes = 1
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if devices < 1 or (accelerator == "cuda" and devices > cards):
        raise ValueError(f"devices is {devices}; expected 1 to {cards if accelerator == 'cuda' else 'as many as fit'}")
    strategy = "ddp" if nodes * devices > 1 else "auto"
    fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def fit(
    model: AbstractSparseModel,
    splits: Splits,
    optim: Optim,
    train: Train,
    seed: int,
    *,
    fabric: Fabric,
    observers: Sequence[Observer] = (),
    evaluate: Callable[[AbstractSparseModel], dict[str, float]] | None = None,
    on_best: Callable[[AbstractSparseModel], None] | None = None,
    higher_is_better: bool = False,
    resume: Path | None = None,
) -> FitState:
    """Train `model` in place and return where it stands.

    With a folder `resume`, the state is saved there at every checkpoint and on SIGINT or SIGTERM (the current
    step is finished first), and a state found there is continued: on one CPU the weights are then bit for bit
    those of an uninterrupted run. `evaluate` gives validation values; whenever the one named `train.select` is the
    lowest (highest, if `higher_is_better`) so far, `on_best` is called; at every validation if it is `last`.

    Raises NonFiniteLossError with the step and term, and saves the batch to `resume/nonfinite-RANK.safetensors`.
    """
    ticks = clock(train, splits.training.n, fabric.world_size)
    data = splits.fingerprint()
    every_evaluate = max(1, round(train.evaluate_every * ticks.steps_per_epoch))
    every_checkpoint = max(1, round(train.checkpoint_every * ticks.steps_per_epoch))
    objective: Callable[[Batch, int, Stream], Loss] = model.loss
    if any(param.requires_grad for param in model.parameters()):
        module = fabric.setup_module(model)
        module.mark_forward_method("loss")
        objective = module.loss  # pyright: ignore[reportAssignmentType] - the wrapper hands it through
    else:  # it learns from statistics alone; DDP refuses models without gradients
        fabric.to_device(model)
    dtype = next(model.parameters()).dtype
    groups = build(optim, model)

    path = None if resume is None else resume / STATE_FILE
    state = FitState(step=0, total_steps=ticks.total_steps, threads=torch.get_num_threads(), data=data)
    if path is not None and path.exists():
        if fabric.is_global_zero:
            remove_leftovers(path.parent)
        state = restore(path, state, model, groups)
    else:
        order = torch.randperm(splits.train.n, generator=generator(seed, "initialise"))[:INITIAL_SAMPLE]
        model.initialise_(splits.train.x[order].to(fabric.device, dtype))

    def notify(event: Event) -> None:
        if fabric.is_global_zero:
            for observer in observers:
                observer(event)

    def save_now() -> None:
        if path is not None and fabric.is_global_zero:
            save_state(path, state, model, groups)

    began = time.monotonic()
    notify(Event("start", state.step, state.total_steps, {}))
    samples = splits.training.to(fabric.device, dtype)
    steps = batches(
        samples, train.batch_size, seed, state.step, state.total_steps, fabric.global_rank, fabric.world_size
    )
    model.train()
    try:
        with Interrupts() as interrupts:
            for step, batch in steps:
                loss = objective(batch, step, Stream(seed, step))
                broken = not bool(torch.isfinite(loss.total))
                if any_rank(broken, fabric.device):
                    raise _non_finite(loss, batch, step, resume if broken else None, fabric.global_rank)
                _update(model, fabric, loss, groups, optim, step)
                state = msgspec.structs.replace(state, step=step + 1)
                last = state.step == state.total_steps
                if state.step % train.log_every == 0 or last:
                    values = {**_floats(loss), "seconds": time.monotonic() - began}
                    notify(Event("train", state.step, state.total_steps, values))
                if evaluate and fabric.is_global_zero and (state.step % every_evaluate == 0 or last):
                    values = _validate(model, evaluate, state, notify)
                    best = Best(values.get(train.select, 0.0), state.step)
                    if train.select == "last" or state.best is None or _better(best, state.best, higher_is_better):
                        state = msgspec.structs.replace(state, best=best)
                        if on_best is not None:
                            on_best(model)
                caught = interrupts.caught
                stopped = any_rank(caught is not None, fabric.device) and not last
                if stopped:
                    state = msgspec.structs.replace(state, stopped_by=caught or "another process")
                if stopped or last or state.step % every_checkpoint == 0:
                    save_now()
                if stopped:
                    break
    finally:
        model.eval()
        notify(Event("end", state.step, state.total_steps, {}))
    return state


def _update(
    model: AbstractSparseModel, fabric: Fabric, loss: Loss, groups: list[OptimiserGroup], optim: Optim, step: int
) -> None:
    set_rates(groups, step)
    for group in groups:
        group.optimiser.zero_grad(set_to_none=True)
    if loss.total.requires_grad:
        fabric.backward(loss.total)
    model.project_grads_()
    clip_(groups, optim.clip)
    for group in groups:
        group.optimiser.step()
    model.constrain_()


def _validate(
    model: AbstractSparseModel,
    evaluate: Callable[[AbstractSparseModel], dict[str, float]],
    state: FitState,
    notify: Observer,
) -> dict[str, float]:
    model.eval()
    values = evaluate(model)
    model.train()
    notify(Event("evaluate", state.step, state.total_steps, values))
    return values


def _better(new: Best, old: Best, higher_is_better: bool) -> bool:
    return new.value > old.value if higher_is_better else new.value < old.value


def _floats(loss: Loss) -> dict[str, float]:
    named = {"loss": loss.total, **loss.parts, **loss.stats}
    values = mean_over_ranks(torch.stack([value.detach().double() for value in named.values()]))
    return dict(zip(named, values.tolist(), strict=True))


def _non_finite(loss: Loss, batch: Batch, step: int, folder: Path | None, rank: int) -> NonFiniteLossError:
    terms = [name for name, value in loss.parts.items() if not bool(torch.isfinite(value))]
    kept = ""
    if folder is not None:
        file = folder / f"nonfinite-{rank}.safetensors"
        write_atomic(file, save({"x": batch.x.detach().cpu().contiguous()}))
        kept = f" The batch is in {file}."
    bad = int((~torch.isfinite(batch.x)).flatten(1).any(dim=1).sum())
    return NonFiniteLossError(
        f"step {step}: the loss is not finite (process {rank}: terms {', '.join(terms) or 'none'}; {bad} of "
        f"{len(batch.x)} samples hold NaN or infinity).{kept} Lower the learning rate or look at the data."
    )
