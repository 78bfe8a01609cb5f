"""Training the members of a stack: shared batches and noise per seed, and the schedule of members."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import NamedTuple

import torch

from sparsecode.data.batches import steps_per_epoch
from sparsecode.data.splits import Reader
from sparsecode.models.stacked import WIDE, Drawn, Stacked
from sparsecode.ops.rng import Stream, drawn_rows
from sparsecode.records import Batch, Loss
from sparsecode.train.adam_state import clipped_adam
from sparsecode.train.interrupts import Interrupts
from sparsecode.train.session import Signal, TrainingSession
from sparsecode.train.steps import update_weights

__all__ = ["train_stacked"]

TURN = 8  # steps of a member before the next one's
HELD = 2**27  # bytes of batches and noise that members may share


def train_stacked(
    stack: Stacked, sessions: Sequence[TrainingSession], batched: bool | None = None
) -> dict[int, Exception]:
    """Train all members of a stack; returns the errors of those that failed, by number. The others continue.

    Each session gives the result of training alone, with its own order of samples, noise, clipping and optimiser state; a signal stops
    and saves all. Threads take some steps of one member after the other, or `batched` products take a step of all members
    at once (the default off CPUs).
    """
    weights = next(iter(stack.tensors.values()))
    batched = weights.device.type != "cpu" if batched is None else batched
    first = sessions[0]
    samples = first.splits.training.to(weights.device, weights.dtype)
    draws = _Draws(
        {session.seed: samples.reader(session.seed) for session in sessions},
        stack.normal_seeds([session.seed for session in sessions]),
        first.train.batch_size,
        steps_per_epoch(samples.n, first.train.batch_size),
        first.total_steps,
    )
    workers = 1 if batched else min(torch.get_num_threads(), len(sessions))
    try:
        with Interrupts() as interrupts, _pool(workers) as pool:
            train = _all_at_once if batched else _in_turns
            return train(stack, sessions, draws, pool, lambda: interrupts.caught)
    finally:
        for session in sessions:
            session.end()


class _Draws(NamedTuple):
    """Batches, with noise for seeds in `normal`."""

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
        """The number of steps whose batches and noise fit in memory for all seeds, twice."""
        drawn = self.at(seed, 0)
        size = 2 * (1 + (drawn.normal is not None)) * drawn.turned.numel() * drawn.turned.element_size()
        return max(1, min(TURN, HELD // (2 * size * len(self.readers))))


class _Member:
    """Steps of one member along the gradients of its stack, with `compiled` passes of Adam where these are faster."""

    def __init__(self, stack: Stacked, number: int, session: TrainingSession, compiled: bool) -> None:
        self._stack, self._number, self._session = stack, number, session
        wide = stack.members[0].spec.n_code >= WIDE
        self._optimise = clipped_adam(session.groups, session.optim.clip) if compiled and wide else None
        self._drawn: Drawn | None = None
        self._loss: Loss | None = None

    def run(self, drawn: Iterable[Drawn], signal: Signal, loss: Loss | None = None) -> None:
        """Take a step of the session for each; `loss` is of the only one, its gradients in place."""
        self._loss = loss
        self._session.run(self._batches(drawn), self, signal)

    def _batches(self, drawn: Iterable[Drawn]) -> Iterator[Batch]:
        for given in drawn:
            self._drawn = given
            yield given.batch

    def loss(self, batch: Batch, step: int, rng: Stream, watched: bool) -> Loss:  # noqa: ARG002 - `Steps`
        if self._loss is not None:
            return self._loss
        assert self._drawn is not None
        return self._stack.learn(self._number, self._drawn, step, rng, watched)

    def update(self, loss: Loss, step: int) -> None:  # noqa: ARG002 - `Steps`
        session = self._session
        update_weights(session.model, session.groups, session.optim.clip, step, self._optimise)


def _in_turns(
    stack: Stacked, sessions: Sequence[TrainingSession], draws: _Draws, pool: ThreadPoolExecutor, signal: Signal
) -> dict[int, Exception]:
    """Several steps of one member at a time: threads rarely wait for each other, although members share batches."""
    members = [_Member(stack, i, session, compiled=True) for i, session in enumerate(sessions)]
    length = draws.turn(sessions[0].seed)
    drawn: dict[int, dict[int, Future[list[Drawn]]]] = {}  # by turn, then by seed
    failed: dict[int, Exception] = {}

    def draw(number: int) -> None:
        steps = range(number * length, min((number + 1) * length, draws.total_steps))
        if number not in drawn and steps:
            drawn[number] = {seed: pool.submit(draws.steps_of, seed, steps) for seed in draws.readers}

    def turn(i: int, number: int, coming: Future[list[Drawn]]) -> None:
        members[i].run(coming.result()[sessions[i].step - number * length :], signal)

    def begin(i: int) -> Future[None]:
        number = sessions[i].step // length
        draw(number)
        draw(number + 1)
        return pool.submit(turn, i, number, drawn[number][sessions[i].seed])

    going = {begin(i): i for i, session in enumerate(sessions) if not session.over}
    while going:
        for future in wait(going, return_when=FIRST_COMPLETED).done:
            i = going.pop(future)
            try:
                future.result()
            except Exception as problem:
                failed[i] = problem
                continue
            if not sessions[i].over:
                going[begin(i)] = i
        last = min((sessions[i].step // length for i in going.values()), default=0)
        for number in [n for n in drawn if n < last]:
            del drawn[number]
    return failed


def _all_at_once(
    stack: Stacked, sessions: Sequence[TrainingSession], draws: _Draws, pool: ThreadPoolExecutor, signal: Signal
) -> dict[int, Exception]:
    """Steps of all members at once by batched products, including members that are finished."""
    members = [_Member(stack, i, session, compiled=False) for i, session in enumerate(sessions)]
    failed: dict[int, Exception] = {}

    def draw(step: int) -> dict[int, Future[Drawn]]:
        return {seed: pool.submit(draws.at, seed, step) for seed in draws.readers} if step < draws.total_steps else {}

    step = min(session.step for session in sessions)
    coming = draw(step)
    while going := [i for i, session in enumerate(sessions) if i not in failed and not session.over]:
        drawn = {seed: future.result() for seed, future in coming.items()}
        coming = draw(step + 1)  # while members train on the present ones
        given = [drawn[session.seed] for session in sessions]
        losses = stack.losses(given, step, [Stream(session.seed, step) for session in sessions])
        caught = signal()  # so that all stop at the same step
        for i in going:
            if sessions[i].step == step:
                try:
                    members[i].run([given[i]], lambda caught=caught: caught, losses[i])
                except Exception as problem:
                    failed[i] = problem
        if caught:
            break
        step += 1
    return failed


@contextmanager
def _pool(workers: int) -> Generator[ThreadPoolExecutor]:
    """A pool of threads that divide torch's threads among them."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(max(1, threads // workers),)) as pool:
        try:
            yield pool
        finally:
            torch.set_num_threads(threads)
