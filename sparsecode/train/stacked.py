"""The training loop for members of a stack: one stream of data and noise per seed, everything else each member's own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import torch

from sparsecode.data.batches import steps_per_epoch
from sparsecode.data.splits import Reader, Splits
from sparsecode.models.amortised import AmortisedModel
from sparsecode.models.stacked import WIDE, Drawn, Stacked
from sparsecode.ops.streams import Stream, drawn_rows
from sparsecode.train.adam_state import clipped_adam
from sparsecode.train.denormals import EVERY, flush_
from sparsecode.train.fit import Course, non_finite
from sparsecode.train.interrupts import Interrupts
from sparsecode.train.optim import Optim, clip_, set_rates
from sparsecode.types import Loss

__all__ = ["Entrant", "fit_stacked"]


class Entrant(NamedTuple):
    """A member of a stack in training; `optim` has its schedules in steps."""

    course: Course
    optim: Optim
    seed: int


def fit_stacked(
    stack: Stacked, entrants: Sequence[Entrant], splits: Splits, batched: bool | None = None
) -> dict[int, Exception]:
    """Train all members of a stack, in place; what went wrong with whom, by number. The others go on without them.

    Each goes its own `course` as `fit` would take it, with its own order of samples, noise, clipping and optimiser state; a
    signal stops and saves all. Members are shared out to threads, or `batched` products take all at once (the default off CPUs).
    """
    course = entrants[0].course
    weights = next(iter(stack.tensors.values()))
    batch_size = course.train.batch_size
    batched = weights.device.type != "cpu" if batched is None else batched
    samples = splits.training.to(weights.device, weights.dtype)
    per_epoch = steps_per_epoch(samples.n, batch_size)
    readers: dict[int, Reader] = {entrant.seed: samples.reader(entrant.seed) for entrant in entrants}
    normal = stack.normal_seeds([entrant.seed for entrant in entrants])
    failed: dict[int, Exception] = {}
    wide = not batched and stack.members[0].spec.n_code >= WIDE
    lean = [clipped_adam(e.course.groups, e.optim.clip) if wide else None for e in entrants]

    def draw(seed: int, step: int) -> Drawn:
        epoch, position = divmod(step, per_epoch)
        batch = readers[seed](epoch, position * batch_size, (position + 1) * batch_size)
        flat = batch.x.flatten(1)
        noise = drawn_rows(flat, flat.shape[1:], Stream(seed, step)("corruption"), "normal") if seed in normal else None
        return Drawn.of(batch, noise)

    def learn(i: int, drawn: Drawn, step: int) -> Loss:
        member, course = entrants[i], entrants[i].course
        watched = (step + 1) % course.train.log_every == 0 or step + 1 == course.total_steps
        loss = stack.learn(i, drawn, step, Stream(member.seed, step), watched)
        _check(loss, drawn, step, course)
        _update(stack.members[i], member, step, lean[i])
        return loss

    def learn_all(drawn: dict[int, Drawn], step: int, running: list[int]) -> Iterator[tuple[int, Loss | Exception]]:
        """By batched products, which take all members, whether they are needed or not."""
        losses = stack.losses(
            [drawn[entrant.seed] for entrant in entrants], step, [Stream(entrant.seed, step) for entrant in entrants]
        )
        for i in running:
            try:
                _check(losses[i], drawn[entrants[i].seed], step, entrants[i].course)
                _update(stack.members[i], entrants[i], step)
                yield i, losses[i]
            except ArithmeticError as problem:
                yield i, problem

    for member in stack.members:
        member.train()
    first, total = min(entrant.course.step for entrant in entrants), course.total_steps
    workers = min(torch.get_num_threads(), len(entrants)) if not batched else 1
    try:
        with Interrupts() as interrupts, _pool(workers) as pool:

            def ahead(step: int) -> dict[int, Future[Drawn]]:
                return {seed: pool.submit(draw, seed, step) for seed in readers} if step < total else {}

            coming = ahead(first)
            for step in range(first, total):
                drawn = {seed: future.result() for seed, future in coming.items()}
                coming = ahead(step + 1)  # while members learn from these
                running = [i for i, e in enumerate(entrants) if i not in failed and e.course.step == step]
                if not batched:
                    turns = [(i, pool.submit(learn, i, drawn[entrants[i].seed], step)) for i in running]
                    taken = ((i, turn.exception() or turn.result()) for i, turn in turns)
                else:
                    taken = learn_all(drawn, step, running)
                results, caught = list(taken), interrupts.caught
                for i, loss in results:
                    try:
                        if isinstance(loss, BaseException):
                            raise loss
                        entrants[i].course.advance(loss, lambda caught=caught: caught)
                    except Exception as problem:
                        failed[i] = problem
                if caught or len(failed) == len(entrants):
                    break
    finally:
        for entrant in entrants:
            entrant.course.end()
    return failed


def _update(model: AmortisedModel, entrant: Entrant, step: int, lean: Callable[[int], None] | None = None) -> None:
    groups = entrant.course.groups
    set_rates(groups, step)
    model.project_grads_()
    if lean is not None:
        lean(step)
    else:
        clip_(groups, entrant.optim.clip)
        for group in groups:
            group.optimiser.step()
    model.constrain_()
    if step % EVERY == EVERY - 1:
        flush_(groups)


def _check(loss: Loss, drawn: Drawn, step: int, course: Course) -> None:
    if not bool(torch.isfinite(loss.total)):
        raise non_finite(loss, drawn.batch, step, None if course.path is None else course.path.parent)


@contextmanager
def _pool(workers: int) -> Generator[ThreadPoolExecutor]:
    """Threads that share torch's between them."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(max(1, threads // workers),)) as pool:
        try:
            yield pool
        finally:
            torch.set_num_threads(threads)
