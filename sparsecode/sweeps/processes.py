"""Parallel runs, each in a separate process."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process, resource_tracker
from threading import Thread
from typing import Any

import torch

from sparsecode.ops.cores import cores
from sparsecode.sweeps.jobs import Backend, Job, Outcome, trained

__all__ = ["processes"]

STOPPING = (signal.SIGINT, signal.SIGTERM)


def processes(n: int, accelerator: str = "auto") -> Backend:
    """`n` runs at a time, each in a separate process with its share of the cores.

    When the iteration is given up, running jobs are asked to save and end, and are waited for.
    """
    threads = max(1, cores() // n)

    def backend(jobs: Sequence[Job]) -> Iterator[Outcome]:
        context = get_context("spawn")
        resource_tracker.ensure_running()  # here, because starting it lets SIGINT through
        waiting, running = deque(jobs), dict[Any, Any]()
        try:
            while waiting or running:
                while waiting and len(running) < n:
                    job = waiting.popleft()
                    receive, send = context.Pipe(duplex=False)
                    process = context.Process(target=_work, args=(job, threads, accelerator, send))
                    with _blocked():  # lest a signal meet the child in its imports; `_work` lets it through again
                        process.start()
                    send.close()  # so that the child's end is the only one, and its death is noticed
                    running[receive] = process, job
                ended = connection.wait(list(running))
                for receive in [r for r in running if r in ended]:
                    process, job = running[receive]
                    try:
                        outcome: Outcome | None = receive.recv()
                    except EOFError:
                        outcome = None
                    process.join()
                    del running[receive]
                    yield outcome or Outcome(job, problem=f"its process died with exit code {process.exitcode}")
        finally:
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                process.join()

    return backend


@contextmanager
def _blocked() -> Generator[None]:
    """Hold back SIGINT and SIGTERM, in processes started within, too, where the system can (not on Windows)."""
    masked = getattr(signal, "pthread_sigmask", None)
    if masked:
        masked(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        if masked:
            masked(signal.SIG_UNBLOCK, STOPPING)


def _work(job: Job, threads: int, accelerator: str, send: Any) -> None:
    # The terminal's Ctrl-C reaches children too: training saves and ends by itself, the rest is the parent's to end,
    # by SIGTERM, which ends them without a traceback. Training takes both signals while it runs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    outcome = trained(job, (), accelerator)
    with suppress(BrokenPipeError):  # a parent that was stopped twice has not waited
        send.send(outcome)


def _end_with_parent() -> None:
    """Ask this process to save and end when its parent is killed: it would train on, and hold its folder against the next sweep."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
