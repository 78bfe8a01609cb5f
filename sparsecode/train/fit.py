"""The training loop, for every model."""

from __future__ import annotations

import atexit
import math
import os
import time
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

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
from sparsecode.schedules import Clock
from sparsecode.train.checkpoint import Best, FitState, restore, save_state
from sparsecode.train.denormals import EVERY, flush_
from sparsecode.train.interrupts import Interrupts
from sparsecode.train.observers import Observer
from sparsecode.train.one_pass import one_pass
from sparsecode.train.optim import Optim, OptimiserGroup, build, clip_, set_rates
from sparsecode.train.plan import STATE_FILE, UNREAD, Accelerator, NonFiniteLossError, Precision, Train, clock
from sparsecode.types import Batch, Event, Loss
from sparsecode.version import __version__

__all__ = ["Course", "fit", "launch", "non_finite"]

INITIAL_SAMPLE = 10_000  # training samples that data-dependent starts may look at


def launch(precision: Precision, accelerator: str = "auto", devices: int = 1) -> Fabric:
    """A Fabric for this process; under torchrun (which sets WORLD_SIZE) or with several devices, one of a group.

    "auto" is CUDA where there is one, else the CPU. Raises ValueError for what this machine does not have, and for "mps",
    the GPU of Apple computers: it has no float64, in which models keep some of their state and scores are summed.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = typing.get_args(Accelerator)
    if accelerator not in known:
        raise ValueError(f"accelerator is {accelerator!r}; choose from {', '.join(known)}")
    if accelerator == "mps":
        here = "has no float64, which models and scores need" if torch.backends.mps.is_available() else "is not there"
        raise ValueError(f"accelerator is 'mps', and Apple's GPU {here}; choose auto or cpu")
    if accelerator == "cuda" and not cards:
        raise ValueError("accelerator is 'cuda', and torch sees no CUDA device here; choose auto or cpu")
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
    if fabric.world_size > 1:
        atexit.register(_leave)
    return fabric


def _leave() -> None:
    """Processes part when all are done: one whose peers are gone before its threads have ended is aborted."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


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
    objective: Callable[[Batch, int, Stream], Loss] = model.loss
    if any(param.requires_grad for param in model.parameters()):
        module = fabric.setup_module(model)
        module.mark_forward_method("loss")
        objective = module.loss  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType] - the wrapper hands it through
    else:  # it learns from statistics alone; DDP refuses models without gradients
        fabric.to_device(model)
    course = Course(
        model,
        splits,
        optim,
        train,
        seed,
        ticks,
        splits.fingerprint(),
        first=fabric.is_global_zero,
        observers=observers,
        evaluate=evaluate,
        on_best=on_best,
        higher_is_better=higher_is_better,
        resume=resume,
    )
    samples = splits.training.to(fabric.device, next(model.parameters()).dtype)
    steps = batches(
        samples, train.batch_size, seed, course.step, ticks.total_steps, fabric.global_rank, fabric.world_size
    )
    model.train()
    whole = one_pass(model, course.groups, optim, train.batch_size) if fabric.world_size == 1 else None
    try:
        with Interrupts() as interrupts:
            for step, batch in steps:
                loss = (whole or objective)(batch, step, Stream(seed, step))
                broken = not math.isfinite(loss.total.item())
                if any_rank(broken, fabric.device):
                    raise non_finite(loss, batch, step, resume if broken else None, fabric.global_rank)
                if whole is None:
                    _update(model, fabric, loss, course.groups, optim, step)
                if step % EVERY == EVERY - 1:
                    flush_(course.groups)
                course.advance(loss, lambda: interrupts.caught)
                if course.stopped_by:
                    break
    finally:
        course.end()
    return course.state


class Course:
    """One model's way through a training, apart from its gradients: where it stands, who is told, what is saved.

    Beginning builds the optimisers of `groups`, and goes on with what was saved in `resume` or lets the model look at its data.
    """

    def __init__(
        self,
        model: AbstractSparseModel,
        splits: Splits,
        optim: Optim,
        train: Train,
        seed: int,
        ticks: Clock,
        data: str,
        *,
        first: bool = True,
        observers: Sequence[Observer] = (),
        evaluate: Callable[[AbstractSparseModel], dict[str, float]] | None = None,
        on_best: Callable[[AbstractSparseModel], None] | None = None,
        higher_is_better: bool = False,
        resume: Path | None = None,
    ) -> None:
        self.model, self.train, self.first = model, train, first
        self.observers, self.evaluate, self.on_best = observers, evaluate, on_best
        self.higher_is_better = higher_is_better
        self.every_evaluate = max(1, round(train.evaluate_every * ticks.steps_per_epoch))
        self.every_checkpoint = max(1, round(train.checkpoint_every * ticks.steps_per_epoch))
        self.groups = build(optim, model)
        self.path = None if resume is None else resume / STATE_FILE
        self._plan = FitState(step=0, total_steps=ticks.total_steps, threads=torch.get_num_threads(), data=data)
        if self.path is not None and self.path.exists():
            if first:
                remove_leftovers(self.path.parent)
            self._plan = restore(self.path, self._plan, model, self.groups)
        else:
            weights = next(model.parameters())
            order = torch.randperm(splits.train.n, generator=generator(seed, "initialise"))[:INITIAL_SAMPLE]
            model.initialise_(splits.train.x[order].to(weights.device, weights.dtype))
        self.step, self.best, self.stopped_by = self._plan.step, self._plan.best, self._plan.stopped_by
        self.total_steps = ticks.total_steps
        self.began = time.monotonic()
        self._unread = False
        self._notify("start", {})

    @property
    def state(self) -> FitState:
        """Where it stands, as it is saved."""
        return msgspec.structs.replace(self._plan, step=self.step, best=self.best, stopped_by=self.stopped_by)

    def advance(self, loss: Loss, signal: Callable[[], str | None]) -> None:
        """After an update: tell, validate and save what is due; `stopped_by` is set if a `signal` was caught before the end."""
        self.step = step = self.step + 1
        last = step == self.total_steps
        if step % self.train.log_every == 0 or last:
            self._notify("train", {**_floats(loss), "seconds": time.monotonic() - self.began})
        if self.evaluate and self.first and (step % self.every_evaluate == 0 or last):
            self._validate(self.evaluate)
        # only now: observers and validation take their time
        caught = signal() or (UNREAD if self._unread else None)
        stopped = any_rank(caught is not None, loss.total.device) and not last
        if stopped:
            self.stopped_by = caught or "another process"
        if stopped or last or step % self.every_checkpoint == 0:
            self.save()

    def save(self) -> None:
        """Write down where training stands, if there is a place for it."""
        if self.path is not None and self.first:
            save_state(self.path, self.state, self.model, self.groups)

    def end(self) -> None:
        """Whether or not all steps were taken."""
        self.model.eval()
        self._notify("end", {})

    def _notify(self, kind: Literal["start", "train", "evaluate", "end"], values: dict[str, float]) -> None:
        if self.first:
            for observer in self.observers:
                try:
                    observer(Event(kind, self.step, self.total_steps, values))
                except BrokenPipeError:  # whoever read the output has left
                    self._unread = True

    def _validate(self, evaluate: Callable[[AbstractSparseModel], dict[str, float]]) -> None:
        self.model.eval()
        values = evaluate(self.model)
        self.model.train()
        self._notify("evaluate", values)
        best, old = Best(values.get(self.train.select, 0.0), self.step), self.best
        if self.train.select == "last" or old is None or _better(best, old, self.higher_is_better):
            self.best = best
            if self.on_best is not None:
                self.on_best(self.model)


def _update(
    model: AbstractSparseModel, fabric: Fabric, loss: Loss, groups: list[OptimiserGroup], optim: Optim, step: int
) -> None:
    set_rates(groups, step)
    for group in groups:
        for param in group.params.values():
            param.grad = None
    if loss.total.requires_grad:
        fabric.backward(loss.total)
    model.project_grads_()
    clip_(groups, optim.clip)
    for group in groups:
        group.optimiser.step()
    model.constrain_()


def _better(new: Best, old: Best, higher_is_better: bool) -> bool:
    return new.value > old.value if higher_is_better else new.value < old.value


def _floats(loss: Loss) -> dict[str, float]:
    named = {"loss": loss.total, **loss.parts, **loss.stats}
    values = mean_over_ranks(torch.stack([value.detach().double() for value in named.values()]))
    return dict(zip(named, values.tolist(), strict=True))


def non_finite(loss: Loss, batch: Batch, step: int, folder: Path | None, rank: int = 0) -> NonFiniteLossError:
    """What went wrong at a step, and in which file of `folder` its batch is."""
    terms = [name for name, value in loss.parts.items() if not bool(torch.isfinite(value))]
    kept = ""
    if folder is not None:
        file = folder / f"nonfinite-{rank}.safetensors"
        write_atomic(file, save({"x": batch.x.detach().cpu().contiguous()}, {"sparsecode": __version__}))
        kept = f" The batch is in {file}."
    bad = int((~torch.isfinite(batch.x)).flatten(1).any(dim=1).sum())
    return NonFiniteLossError(
        f"step {step}: the loss is not finite (process {rank}: terms {', '.join(terms) or 'none'}; {bad} of "
        f"{len(batch.x)} samples hold NaN or infinity).{kept} Lower the learning rate or look at the data."
    )
