"""Training the members of stacks, and models beside them, on shared batches and noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from sparsecode.models.stacked import WIDE, Drawn, Stacked
from sparsecode.ops.rng import Stream
from sparsecode.records import Batch, Loss
from sparsecode.train.adam_state import clipped_adam
from sparsecode.train.session import Signal, TrainingSession
from sparsecode.train.side_by_side import Futures, Single, TurnTaker, draws_for, take_turns
from sparsecode.train.steps import update_weights

__all__ = ["train_side_by_side", "train_stacked"]


def train_stacked(
    stack: Stacked, sessions: Sequence[TrainingSession], batched: bool | None = None
) -> dict[int, Exception]:
    """`train_side_by_side` of the members of one stack."""
    return train_side_by_side([(stack, sessions)], (), batched)


def train_side_by_side(
    stacks: Sequence[tuple[Stacked, Sequence[TrainingSession]]],
    alone: Sequence[TrainingSession],
    batched: bool | None = None,
) -> dict[int, Exception]:
    """Train all members of stacks and the sessions beside them; returns the errors of those that failed, by number: members first, stack after
    stack. The others continue.

    All have the same samples and batch size. Each session gives the result of training alone, with its own order of samples, noise, clipping and
    optimiser state; a signal stops and saves all. Batches are drawn once for all sessions with one order. Threads take some steps of one model
    after the other, or `batched` products take a step of all members of a stack at once (the default off CPUs).
    """
    sessions = [*(session for _, members in stacks for session in members), *alone]
    weights = next(sessions[0].model.parameters())
    batched = weights.device.type != "cpu" if batched is None else batched
    failed: dict[int, Exception] = {}
    units: list[TurnTaker] = []
    normal: set[int] = set()
    number = 0
    for stack, members in stacks:
        normal |= stack.normal_seeds([session.seed for session in members])
        numbers = range(number, number := number + len(members))
        if batched:
            units.append(_AllAtOnce(stack, numbers, members, failed))
        else:
            for i, (n, session) in enumerate(zip(numbers, members, strict=True)):
                units.append(Single(n, session, failed, _Steps(stack, i, session, compiled=True).run))
    units += [Single.alone(n, session, failed) for n, session in enumerate(alone, number)]
    samples = sessions[0].splits.training.to(weights.device, weights.dtype)
    draws = draws_for(sessions, samples, normal, turned=bool(stacks))
    workers = 2 if batched else min(torch.get_num_threads(), len(units))
    take_turns(units, sessions, draws, workers)
    return failed


class _Steps:
    """Steps of one member along the gradients of its stack, with `compiled` passes of Adam where these are faster."""

    def __init__(self, stack: Stacked, i: int, session: TrainingSession, compiled: bool) -> None:
        self._stack, self._i, self._session = stack, i, session
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
        return self._stack.learn(self._i, self._drawn, step, rng, watched)

    def update(self, loss: Loss, step: int) -> None:  # noqa: ARG002 - `Steps`
        session = self._session
        update_weights(session.model, session.groups, session.optim.clip, step, self._optimise)


class _AllAtOnce:
    """All members of a stack by batched products, including members that are finished."""

    def __init__(
        self, stack: Stacked, numbers: Sequence[int], sessions: Sequence[TrainingSession], failed: dict[int, Exception]
    ) -> None:
        self._stack, self._numbers, self._sessions, self._failed = stack, numbers, sessions, failed
        self._steps = [_Steps(stack, i, session, compiled=False) for i, session in enumerate(sessions)]

    @property
    def _going(self) -> list[int]:
        return [i for i, s in enumerate(self._sessions) if not s.over and self._numbers[i] not in self._failed]

    @property
    def step(self) -> int | None:
        return min((self._sessions[i].step for i in self._going), default=None)

    def turn(self, drawn: Futures, first: int, signal: Signal) -> None:
        try:
            batches = [drawn[session.seed].result() for session in self._sessions]
        except Exception as problem:
            self._failed |= dict.fromkeys(self._numbers, problem)
            return
        begin = self.step
        for step in range(first if begin is None else begin, first + len(batches[0])):
            given = [each[step - first] for each in batches]
            losses = self._stack.losses(given, step, [Stream(session.seed, step) for session in self._sessions])
            caught = signal()  # so that all stop at the same step
            for i in self._going:
                if self._sessions[i].step == step:
                    try:
                        self._steps[i].run([given[i]], lambda caught=caught: caught, losses[i])
                    except Exception as problem:
                        self._failed[self._numbers[i]] = problem
            if caught or not self._going:
                return
