"""The training session of one model: training loop, position, validation, observers, checkpoints and resumption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypedDict

import msgspec
import torch
from safetensors.torch import save
from torch import Tensor

from sparsecode.data.splits import Splits
from sparsecode.files import remove_leftovers, write_atomic
from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.collective import any_rank, mean_over_ranks
from sparsecode.ops.rng import Stream, generator
from sparsecode.records import Batch, Event, Loss
from sparsecode.train.checkpoint import restore, save_state
from sparsecode.train.denormals import EVERY, flush_
from sparsecode.train.fit_state import STATE_FILE, Best, FitState, Stall
from sparsecode.train.observers import Observer
from sparsecode.train.optim import Optim, build
from sparsecode.train.plan import UNREAD, NonFiniteLossError, StopTraining, Train, clock
from sparsecode.version import __version__

__all__ = ["Objective", "Options", "Signal", "Steps", "TrainingSession"]

INITIAL_SAMPLE = 10_000  # training samples used for data-dependent initialisation

Objective = Callable[[Batch, int, Stream], Loss]
Signal = Callable[[], str | None]  # the reason to stop now, else None


class Steps(Protocol):
    """The protocol of a step: by autograd, in one fused pass, or as a member of a stack."""

    def loss(self, batch: Batch, step: int, rng: Stream, watched: bool) -> Loss:
        """The loss of a batch; `stats` are needed only if it is `watched`."""
        ...

    def update(self, loss: Loss, step: int) -> None:
        """Update the weights, once the loss is known to be finite."""
        ...


class Options(TypedDict, total=False):
    """Options of a session besides model, samples and plan.

    With a folder `resume`, the state is saved there at every checkpoint and whenever training is stopped, and an
    existing state is continued: on one CPU the weights are then bit for bit those of an uninterrupted run. `evaluate`
    returns validation values; whenever the one named `train.select` is the lowest (highest, if `higher_is_better`) so far,
    `on_best` is called; at every validation if it is `last`. `data` is the fingerprint of the samples, where it is known;
    `extended_at` the step at which the state in `resume` has finished an earlier plan. `start` is called with the model after
    its data-dependent start, unless a state is continued; parameters named in `frozen` keep their bits.
    """

    observers: Sequence[Observer]
    evaluate: Callable[[AbstractSparseModel], dict[str, float]] | None
    on_best: Callable[[AbstractSparseModel], None] | None
    higher_is_better: bool
    resume: Path | None
    data: str | None
    extended_at: int | None
    start: Callable[[AbstractSparseModel], None] | None
    frozen: Sequence[str]


class TrainingSession:
    """The training of one model, in place. `run` is the training loop.

    Creating it builds the optimisers of `groups` and continues the state saved in `resume`, or initialises the model from
    data. `rank` of `world` processes share each batch; `objective` and `backward` do so.
    """

    def __init__(
        self,
        model: AbstractSparseModel,
        splits: Splits,
        optim: Optim,
        train: Train,
        seed: int,
        options: Options | None = None,
        *,
        objective: Objective | None = None,
        backward: Callable[[Tensor], object] = torch.Tensor.backward,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        options = {} if options is None else options
        ticks = clock(train, splits.training.n, world)
        self.model, self.splits, self.optim, self.train, self.seed = model, splits, optim, train, seed
        self.objective, self.backward = objective or model.loss, backward
        self.rank, self.world = rank, world
        self._observers = options.get("observers", ())
        self._evaluate, self._on_best = options.get("evaluate"), options.get("on_best")
        self._higher_is_better = options.get("higher_is_better", False)
        self._every_evaluate = max(1, round(train.evaluate_every * ticks.steps_per_epoch))
        self._every_checkpoint = max(1, round(train.checkpoint_every * ticks.steps_per_epoch))
        self.groups = build(optim, model)
        resume = options.get("resume")
        self._path = None if resume is None else resume / STATE_FILE
        data = options.get("data") or splits.fingerprint()
        self._plan = FitState(step=0, total_steps=ticks.total_steps, threads=torch.get_num_threads(), data=data)
        if self._path is not None and self._path.exists():
            if rank == 0:
                remove_leftovers(self._path.parent)
            self._plan = restore(self._path, self._plan, model, self.groups, options.get("extended_at"))
        else:
            weights = next(model.parameters())
            order = torch.randperm(splits.train.n, generator=generator(seed, "initialise"))[:INITIAL_SAMPLE]
            first = splits.train.take(order).to(weights.device, weights.dtype)
            model.initialise_(first.x, first.target)
            start = options.get("start")
            if start is not None:
                start(model)
        params = dict(model.named_parameters())
        self._frozen = [(params[name].detach(), params[name].detach().clone()) for name in options.get("frozen", ())]
        self.step, self.best, self.stopped_by = self._plan.step, self._plan.best, self._plan.stopped_by
        self.ended, self._stall = self._plan.ended, self._plan.stall
        self.total_steps = ticks.total_steps
        if resume is not None and self.step == options.get("extended_at") and not self.over:
            self._save()  # by the new plan
        self._began = time.monotonic()
        self._reason: str | None = None  # the reason to stop given by an observer
        self._notify("start", {})
        model.train()

    @property
    def state(self) -> FitState:
        """The position of the training, as it is saved."""
        return msgspec.structs.replace(
            self._plan,
            step=self.step,
            best=self.best,
            stopped_by=self.stopped_by,
            ended=self.ended,
            stall=self._stall,
        )

    @property
    def over(self) -> bool:
        """Whether training is over: the plan is complete or ended early, or the session was stopped."""
        return self.step >= self.total_steps or self.ended is not None or self.stopped_by is not None

    def run(self, batches: Iterable[Batch], steps: Steps, signal: Signal) -> None:
        """The training loop: one step per batch, from the current one, until batches end or the session is `over`.

        Raises NonFiniteLossError with the step and term, and saves the batch beside the state as `nonfinite-RANK.safetensors`.
        """
        if self.over:
            return
        for batch in batches:
            step = self.step
            watched = (step + 1) % self.train.log_every == 0 or step + 1 == self.total_steps
            loss = steps.loss(batch, step, Stream(self.seed, step), watched)
            broken = not math.isfinite(loss.total.item())
            if any_rank(broken, loss.total.device):
                raise self._non_finite(loss, batch, keep=broken)
            steps.update(loss, step)
            for param, value in self._frozen:  # constraints and revivals write to them
                param.copy_(value)
            if step % EVERY == EVERY - 1:
                flush_(self.groups)
            self._advance(loss, signal)
            if self.over:
                return

    def end(self) -> None:
        """Finish, whether or not all steps were done: evaluation mode, and the event "end"."""
        self.model.eval()
        self._notify("end", {})

    def _advance(self, loss: Loss, signal: Signal) -> None:
        """After an update: notify, validate and save as due; sets `stopped_by` on a request to stop before the last step."""
        self.step = step = self.step + 1
        last = step == self.total_steps
        if step % self.train.log_every == 0 or last:
            self._notify("train", {**_floats(loss), "seconds": time.monotonic() - self._began})
        if self._evaluate and self.rank == 0 and (step % self._every_evaluate == 0 or last):
            self._validate(self._evaluate)
        # only now, as observers and validation may take long
        reason = signal() or self._reason
        stopped = any_rank(reason is not None or self.ended is not None, loss.total.device) and not last
        if stopped and self.ended is None:
            self.stopped_by = reason or "another process"
        if stopped or last or step % self._every_checkpoint == 0:
            self._save()

    def _save(self) -> None:
        if self._path is not None and self.rank == 0:
            save_state(self._path, self.state, self.model, self.groups)

    def _notify(self, kind: Literal["start", "train", "evaluate", "end"], values: dict[str, float]) -> None:
        if self.rank != 0:
            return
        for observer in self._observers:
            try:
                reason = observer(Event(kind, self.step, self.total_steps, values, self.model))
            except StopTraining as stop:
                reason = str(stop) or "an observer"
            except BrokenPipeError:  # the reader of the output has exited
                reason = UNREAD
            if isinstance(reason, str):  # other return values have no meaning
                self._reason = reason

    def _validate(self, evaluate: Callable[[AbstractSparseModel], dict[str, float]]) -> None:
        self.model.eval()
        values = evaluate(self.model)
        self.model.train()
        self._notify("evaluate", values)
        best, old = Best(values.get(self.train.select, 0.0), self.step), self.best
        if self.train.patience is not None:
            self._judge(best.value, self.train.patience)
        if self.train.select == "last" or old is None or _better(best, old, self._higher_is_better):
            self.best = best
            if self._on_best is not None:
                self._on_best(self.model)

    def _judge(self, value: float, patience: int) -> None:
        """End training early if the selected value has stopped improving."""
        stall, sign = self._stall, -1.0 if self._higher_is_better else 1.0
        if stall is None or sign * (stall.value - value) > self.train.min_change:
            self._stall = Stall(value)
            return
        self._stall = Stall(stall.value, stall.validations + 1)
        if self._stall.validations >= patience and self.step < self.total_steps:
            self.ended = f"no improvement of {self.train.select} in {patience} validations"

    def _non_finite(self, loss: Loss, batch: Batch, keep: bool) -> NonFiniteLossError:
        """The error for this step, with the file that its batch is saved to."""
        terms = [name for name, value in loss.parts.items() if not bool(torch.isfinite(value))]
        kept = ""
        if self._path is not None and keep:
            file = self._path.parent / f"nonfinite-{self.rank}.safetensors"
            write_atomic(file, save({"x": batch.x.detach().cpu().contiguous()}, {"sparsecode": __version__}))
            kept = f" The batch is in {file}."
        bad = int((~torch.isfinite(batch.x)).flatten(1).any(dim=1).sum())
        return NonFiniteLossError(
            f"step {self.step}: the loss is not finite (process {self.rank}: terms {', '.join(terms) or 'none'}; {bad} of "
            f"{len(batch.x)} samples hold NaN or infinity).{kept} Lower the learning rate or look at the data."
        )


def _better(new: Best, old: Best, higher_is_better: bool) -> bool:
    return new.value > old.value if higher_is_better else new.value < old.value


def _floats(loss: Loss) -> dict[str, float]:
    named = {"loss": loss.total, **loss.parts, **loss.stats}
    values = mean_over_ranks(torch.stack([value.detach().double() for value in named.values()]))
    return dict(zip(named, values.tolist(), strict=True))
