"""Signals outside training, and the rank that prints."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Terminated", "is_first_process", "terminable"]


class Terminated(BaseException):
    """SIGINT or SIGTERM outside the training loop, which handles them itself; `code` is for the shell."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def terminable() -> Generator[None]:
    """Within, SIGINT and SIGTERM raise Terminated."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Terminated(number)

    before = {kind: signal.signal(kind, stop) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def is_first_process() -> bool:
    """Whether this process prints: rank 0 of those that train together."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
