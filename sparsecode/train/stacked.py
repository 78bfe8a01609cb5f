"""The training loop for members of a stack: one stream of data and noise per seed, everything else each member's own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
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

TURN = 8  # steps of a member before the next one's
HELD = 2**27  # bytes of batches and noise that members may share


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
    signal stops and saves all. Threads take turns of some steps with one member after the other, or `batched` products take
    all at once (the default off CPUs).
    """
    weights = next(iter(stack.tensors.values()))
    batched = weights.device.type != "cpu" if batched is None else batched
    samples = splits.training.to(weights.device, weights.dtype)
    course = entrants[0].course
    draws = _Draws(
        {entrant.seed: samples.reader(entrant.seed) for entrant in entrants},
        stack.normal_seeds([entrant.seed for entrant in entrants]),
        course.train.batch_size,
        steps_per_epoch(samples.n, course.train.batch_size),
        course.total_steps,
    )
    for member in stack.members:
        member.train()
    failed: dict[int, Exception] = {}
    workers = 1 if batched else min(torch.get_num_threads(), len(entrants))
    try:
        with Interrupts() as interrupts, _pool(workers) as pool:
            train = _all_at_once if batched else _in_turns
            train(stack, entrants, draws, pool, lambda: interrupts.caught, failed)
    finally:
        for entrant in entrants:
            entrant.course.end()
    return failed


class _Draws(NamedTuple):
    """Batches, and noise for those of seeds in `normal`."""

    readers: dict[int, Reader]
    normal: set[int]
    batch_size: int
    per_epoch: int
    total_steps: int

    def at(self, seed: int, step: int) -> Drawn:
        epoch, position = divmod(step, self.per_epoch)
        batch = self.readers[seed](epoch, position * self.batch_size, (position + 1) * self.batch_size)
        if seed not in self.normal:
            return Drawn.of(batch, None)
        flat = batch.x.flatten(1)
        return Drawn.of(batch, drawn_rows(flat, flat.shape[1:], Stream(seed, step)("corruption"), "normal"))

    def steps_of(self, seed: int, steps: range) -> list[Drawn]:
        return [self.at(seed, step) for step in steps]

    def turn(self, seed: int) -> int:
        """Steps whose draws may be held for all seeds, twice."""
        drawn = self.at(seed, 0)
        size = 2 * (1 + (drawn.normal is not None)) * drawn.turned.numel() * drawn.turned.element_size()
        return max(1, min(TURN, HELD // (2 * size * len(self.readers))))


def _in_turns(
    stack: Stacked,
    entrants: Sequence[Entrant],
    draws: _Draws,
    pool: ThreadPoolExecutor,
    caught: Callable[[], str | None],
    failed: dict[int, Exception],
) -> None:
    """Some steps of one member at a time: threads seldom wait for each other, though members share what is drawn."""
    wide, total = stack.members[0].spec.n_code >= WIDE, draws.total_steps
    lean = [clipped_adam(e.course.groups, e.optim.clip) if wide else None for e in entrants]
    length = draws.turn(entrants[0].seed)
    drawn: dict[int, dict[int, Future[list[Drawn]]]] = {}  # by number of the turn, and by seed

    def draw(number: int) -> None:
        steps = range(number * length, min((number + 1) * length, total))
        if number not in drawn and steps:
            drawn[number] = {seed: pool.submit(draws.steps_of, seed, steps) for seed in draws.readers}

    def turn(i: int, number: int, coming: Future[list[Drawn]]) -> None:
        member, course = entrants[i], entrants[i].course
        for given in coming.result()[course.step - number * length :]:
            step = course.step
            watched = (step + 1) % course.train.log_every == 0 or step + 1 == total
            loss = stack.learn(i, given, step, Stream(member.seed, step), watched)
            _check(loss, given, step, course)
            _update(stack.members[i], member, step, lean[i])
            course.advance(loss, caught)
            if course.stopped_by:
                return

    def begin(i: int) -> Future[None]:
        number = entrants[i].course.step // length
        draw(number)
        draw(number + 1)
        return pool.submit(turn, i, number, drawn[number][entrants[i].seed])

    going = {begin(i): i for i, entrant in enumerate(entrants) if entrant.course.step < total}
    while going:
        for future in wait(going, return_when=FIRST_COMPLETED).done:
            i = going.pop(future)
            try:
                future.result()
            except Exception as problem:
                failed[i] = problem
                continue
            if not entrants[i].course.stopped_by and entrants[i].course.step < total:
                going[begin(i)] = i
        last = min((entrants[i].course.step // length for i in going.values()), default=0)
        for number in [n for n in drawn if n < last]:
            del drawn[number]


def _all_at_once(
    stack: Stacked,
    entrants: Sequence[Entrant],
    draws: _Draws,
    pool: ThreadPoolExecutor,
    caught: Callable[[], str | None],
    failed: dict[int, Exception],
) -> None:
    """By batched products, which take all members, whether they are needed or not."""

    def draw(step: int) -> dict[int, Future[Drawn]]:
        return {seed: pool.submit(draws.at, seed, step) for seed in draws.readers} if step < draws.total_steps else {}

    first = min(entrant.course.step for entrant in entrants)
    coming = draw(first)
    for step in range(first, draws.total_steps):
        drawn = {seed: future.result() for seed, future in coming.items()}
        coming = draw(step + 1)  # while members learn from these
        given = [drawn[entrant.seed] for entrant in entrants]
        losses = stack.losses(given, step, [Stream(entrant.seed, step) for entrant in entrants])
        signal = caught()
        for i, entrant in enumerate(entrants):
            if i in failed or entrant.course.step != step:
                continue
            try:
                _check(losses[i], given[i], step, entrant.course)
                _update(stack.members[i], entrant, step)
                entrant.course.advance(losses[i], lambda signal=signal: signal)
            except Exception as problem:
                failed[i] = problem
        if signal or len(failed) == len(entrants):
            break


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
