"""Training of several models on one stream of batches, in turns of some steps each."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch

from sparsecode.data.batches import steps_per_epoch
from sparsecode.data.splits import Reader, Samples
from sparsecode.models.stacked import Drawn
from sparsecode.ops.rng import Stream, drawn_rows
from sparsecode.train.interrupts import Interrupts
from sparsecode.train.session import Signal, TrainingSession
from sparsecode.train.steps import steps_for

__all__ = ["Draws", "Futures", "Single", "TurnTaker", "draws_for", "take_turns"]

TURN = 8  # steps of a unit before the next one's
AHEAD = 1  # turns that a unit may be before the last one
HELD = 2**27  # bytes of batches and noise that units may share

Futures = Mapping[int, Future[list[Drawn]]]  # by seed


class TurnTaker(Protocol):
    """What takes a turn as a whole: a model alone, a member of a stack, or all members of a stack at once."""

    @property
    def step(self) -> int | None:
        """Where it stands; None when it is over, or has failed."""
        ...

    def turn(self, drawn: Futures, first: int, signal: Signal) -> None:
        """Go on by the batches of a turn, which are those from step `first` on. Errors are kept, not raised."""
        ...


class Single:
    """A model in turns of its own, which `run` takes. Its error, if it fails, is put into `failed` under its `number`."""

    def __init__(
        self,
        number: int,
        session: TrainingSession,
        failed: dict[int, Exception],
        run: Callable[[list[Drawn], Signal], None],
    ) -> None:
        self._number, self._session, self._failed, self._run = number, session, failed, run

    @classmethod
    def alone(cls, number: int, session: TrainingSession, failed: dict[int, Exception]) -> Single:
        """A model with steps of its own, as when it is trained by itself."""
        steps = steps_for(session)
        return cls(
            number, session, failed, lambda there, signal: session.run((each.batch for each in there), steps, signal)
        )

    @property
    def step(self) -> int | None:
        return None if self._session.over or self._number in self._failed else self._session.step

    def turn(self, drawn: Futures, first: int, signal: Signal) -> None:
        session = self._session
        try:
            self._run(drawn[session.seed].result()[session.step - first :], signal)
        except Exception as problem:
            self._failed[self._number] = problem


class Draws(NamedTuple):
    """Batches by step, the same for all seeds with one `key`, and noise for the seeds in `normal`; with transposes if they are `turned`."""

    readers: dict[int, Reader]
    keys: dict[int, int]
    normal: set[int]
    batch_size: int
    per_epoch: int
    total_steps: int
    length: int
    turned: bool

    def begin(self, number: int, pool: ThreadPoolExecutor, before: Turn | None) -> Turn:
        """Turn `number`, drawn in the pool, each reader's batches after those of the turn before."""
        steps = range(number * self.length, min((number + 1) * self.length, self.total_steps))
        batches = {
            key: pool.submit(self._batches, key, steps, None if before is None else before.batches[key])
            for key in self.readers
        }
        by_seed = {
            seed: pool.submit(self._noisy, seed, batches[key], steps) if seed in self.normal else batches[key]
            for seed, key in self.keys.items()
        }
        return Turn(batches, by_seed)

    def _batches(self, key: int, steps: range, before: Future[list[Drawn]] | None) -> list[Drawn]:
        if before is not None:
            wait([before])
        drawn: list[Drawn] = []
        for step in steps:
            epoch, position = divmod(step, self.per_epoch)
            batch = self.readers[key](epoch, position * self.batch_size, (position + 1) * self.batch_size)
            drawn.append(Drawn.of(batch, None) if self.turned else Drawn(batch, None, batch.x[:0], None))
        return drawn

    def _noisy(self, seed: int, batches: Future[list[Drawn]], steps: range) -> list[Drawn]:
        drawn: list[Drawn] = []
        for step, given in zip(steps, batches.result(), strict=True):
            flat = given.batch.x.flatten(1)
            normal = drawn_rows(flat, flat.shape[1:], Stream(seed, step)("corruption"), "normal")
            drawn.append(given._replace(normal=normal, turned_normal=normal.T.contiguous()))
        return drawn


class Turn(NamedTuple):
    """The batches of a turn, by reader, and what each seed gets of them."""

    batches: dict[int, Future[list[Drawn]]]
    by_seed: dict[int, Future[list[Drawn]]]


def draws_for(sessions: Sequence[TrainingSession], samples: Samples, normal: set[int], *, turned: bool) -> Draws:
    """What these sessions train on: one reader for each seed, or one for all where the order of the samples does not depend on it."""
    first = sessions[0]
    one_order = bool(getattr(samples, "one_order", False))
    keys = {session.seed: 0 if one_order else session.seed for session in sessions}
    size = first.train.batch_size
    numbers = size * math.prod(first.splits.shape) * next(first.model.parameters()).element_size()
    most = 2 * (len({*keys.values()}) * (1 + turned) + 2 * len(normal)) * numbers
    return Draws(
        {key: samples.reader(key) for key in {*keys.values()}},
        keys,
        normal,
        size,
        steps_per_epoch(samples.n, size),
        max(session.total_steps for session in sessions),
        max(1, min(TURN, HELD // most)),
        turned,
    )


def take_turns(units: Sequence[TurnTaker], sessions: Sequence[TrainingSession], draws: Draws, workers: int) -> None:
    """Train until all units are over; a signal stops and saves all. None is more than a turn or two before the last one, so that few
    batches are in memory and a source that computes them does so once.
    """
    try:
        with Interrupts() as interrupts, _pool(workers) as pool:
            _rounds(units, draws, pool, lambda: interrupts.caught)
    finally:
        for session in sessions:
            session.end()


def _rounds(units: Sequence[TurnTaker], draws: Draws, pool: ThreadPoolExecutor, signal: Signal) -> None:
    turns: dict[int, Turn] = {}
    going: dict[Future[None], tuple[TurnTaker, int]] = {}
    idle = list(units)

    def drawn(number: int) -> Turn:
        if number not in turns:
            turns[number] = draws.begin(number, pool, turns.get(number - 1))
        return turns[number]

    while True:
        waiting = sorted(
            ((step // draws.length, i, unit) for i, unit in enumerate(idle) if (step := unit.step) is not None),
            key=lambda each: each[:2],
        )
        idle = [unit for _, _, unit in waiting]
        last = min([*(number for number, *_ in waiting), *(number for _, number in going.values())], default=0)
        for number in [number for number in turns if number < last]:
            del turns[number]
        for number, _, unit in waiting:
            if number <= last + AHEAD:
                now = drawn(number)
                if (number + 1) * draws.length < draws.total_steps:
                    drawn(number + 1)
                idle.remove(unit)
                going[pool.submit(unit.turn, now.by_seed, number * draws.length, signal)] = unit, number
        if not going:
            return
        for future in wait(going, return_when=FIRST_COMPLETED).done:
            unit, _ = going.pop(future)
            future.result()
            idle.append(unit)


@contextmanager
def _pool(workers: int) -> Generator[ThreadPoolExecutor]:
    """A pool of threads that divide torch's threads among them."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(max(1, threads // workers),)) as pool:
        try:
            yield pool
        finally:
            torch.set_num_threads(threads)
