"""Work shared out to plain threads: every block once, errors reach the caller, calls from within a call and after a fork end."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest

from sparsecode.kernels.threads import item, share_out


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 7, 100])
def test_every_row_once_in_at_most_so_many_threads(n: int, threads: int) -> None:
    rows, names = [0] * n, set[str]()

    def work(blocks: Iterable[slice]) -> None:
        names.add(threading.current_thread().name)
        for block in blocks:
            for i in range(n)[block]:
                rows[i] += 1

    share_out(n, item(n, threads), threads, work)
    assert rows == [1] * n
    assert len(names) <= threads


def test_threads_are_used_again() -> None:
    def work(blocks: Iterable[slice]) -> None:
        for _ in blocks:
            barrier.wait()  # both threads take a block

    for _ in range(20):
        barrier = threading.Barrier(2, timeout=30)
        share_out(2, 1, 2, work)
    assert sum(thread.name.startswith("sparsecode") for thread in threading.enumerate()) <= 8


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_in_any_thread_is_raised_and_ends_the_others(failing: int) -> None:
    done = list[int]()
    barrier = threading.Barrier(2, timeout=30)

    def work(blocks: Iterable[slice]) -> None:
        for block in blocks:
            if block.start < 2:
                barrier.wait()
            if block.start == failing:
                raise ArithmeticError(f"block {failing}")
            done.append(block.start)

    with pytest.raises(ArithmeticError, match=f"block {failing}"):
        share_out(10_000, 1, 2, work)
    assert failing not in done


def test_calls_from_within_a_call_and_from_many_threads_end() -> None:
    totals = list[int]()

    def inner(blocks: Iterable[slice]) -> None:
        totals.extend(block.stop - block.start for block in blocks)

    def outer(blocks: Iterable[slice]) -> None:
        for block in blocks:
            share_out(block.stop - block.start, 1, 3, inner)

    callers = [threading.Thread(target=share_out, args=(40, 10, 4, outer)) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not any(caller.is_alive() for caller in callers)
    assert sum(totals) == 8 * 40
