"""Work shared out to threads, torch's and others: every block once, errors reach the caller, calls from within a call and after a fork end."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from sparsecode.kernels import threads as module
from sparsecode.kernels.selection import above_rows
from sparsecode.kernels.sparse_rows import row_dots, row_sums
from sparsecode.kernels.threads import WORTH, item, share_out, worth
from sparsecode.kernels.unit_rows import remove_parallel


@pytest.fixture(params=["torch's threads", "a pool"], autouse=True)
def whose(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Threads of both kinds, on platforms where torch's can be called."""
    if request.param == "a pool":
        monkeypatch.setattr(module, "_team", lambda: None)
    return request.param


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 7, 100])
def test_every_row_once_in_at_most_so_many_threads(n: int, threads: int) -> None:
    rows, members = [0] * n, set[int]()

    def work(blocks: Iterable[slice]) -> None:
        members.add(threading.get_ident())
        for block in blocks:
            for i in range(n)[block]:
                rows[i] += 1

    share_out(n, item(n, threads), threads, work)
    assert rows == [1] * n
    assert len(members) <= threads


def test_threads_are_used_again() -> None:
    members = set[int]()

    def work(blocks: Iterable[slice]) -> None:
        members.add(threading.get_ident())
        for _ in blocks:
            barrier.wait()  # both threads take a block

    for _ in range(20):
        barrier = threading.Barrier(2, timeout=30)
        share_out(2, 1, 2, work)
    assert 2 <= len(members) <= 8


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


def _sum() -> int:
    totals = list[int]()
    share_out(100, 10, 2, lambda blocks: totals.extend(block.stop - block.start for block in blocks))
    return sum(totals)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_ends_with_the_same_sum() -> None:
    assert _sum() == 100  # so that there are threads to lose
    child = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(_sum()))
    child.start()
    child.join(60)
    assert child.exitcode == 100


def test_an_interrupt_of_the_caller_is_raised() -> None:
    barrier = threading.Barrier(2, timeout=30)

    def work(blocks: Iterable[slice]) -> None:
        for block in blocks:
            if block.start < 2:
                barrier.wait()  # both threads take a block
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        share_out(10_000, 1, 2, work)


def test_small_work_stays_in_one_thread_and_the_results_do_not_depend_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (worth(4, WORTH - 1), worth(4, WORTH)) == (1, 4)
    n, k, f, per_row = 200, 300, 40, 6
    rng = np.random.default_rng(0)
    x, table = rng.normal(size=(n, f)).astype(np.float32), rng.normal(size=(k, f)).astype(np.float32)
    entries = rng.normal(size=n * per_row).astype(np.float32)
    columns, starts = rng.integers(0, k, n * per_row).astype(np.int32), np.arange(n + 1) * per_row

    def results() -> list[NDArray[np.generic]]:
        scores, grad = x @ table.T, table[::-1].copy()
        sums, dots = np.empty((n, f), np.float32), np.empty(n * per_row, np.float32)
        selected, values, counts = np.zeros((n, k), np.int32), np.zeros((n, k), np.float32), np.zeros(n, np.int64)
        row_sums(entries, columns, starts, table, np.zeros(f, np.float32), sums, 2)
        row_dots(x, columns, starts, table, dots, 2)
        remove_parallel(grad, table, 1e-9, 2)
        threshold, margin = np.full(k, 9, np.float32), np.zeros(n, np.float32)
        above_rows(scores, x, table, np.zeros(k, np.float32), threshold, margin, selected, values, counts, 2)
        return [sums, dots, grad, selected, values, counts]

    threads = set[int]()
    shared = module.share_out

    def counted(n: int, block: int, members: int, work: Callable[[Iterable[slice]], None]) -> None:
        threads.add(members)
        shared(n, block, members, work)

    for name in ("selection", "sparse_rows", "unit_rows"):
        monkeypatch.setattr(f"sparsecode.kernels.{name}.share_out", counted)
    alone = results()
    assert threads == {1}
    monkeypatch.setattr(module, "WORTH", 0)
    together = results()
    assert threads == {1, 2}
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    assert alone[-1].sum() > 0
