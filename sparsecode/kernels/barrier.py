"""A spin barrier and a work counter for threads that run one compiled function together.

Handing work to a sleeping thread takes Python as long as a small layer takes; an idle thread therefore
polls for a while before it sleeps.
"""

from __future__ import annotations

import platform
import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from sparsecode.kernels.jit import compiled

__all__ = ["CAN_WAIT", "asleep", "call", "more_to_do", "signals", "wait_for_all"]

CAN_WAIT = sys.platform != "win32"  # which has no sched_yield
LOOKS = 1_000  # polls before the thread yields its core, perhaps to a thread it waits for
OFFERS = 10_000  # yields before a thread sleeps: some milliseconds
LINE = 8  # int64 numbers in a cache line: each signal has a line to itself
ARRIVED, CALLED, SLEEPING = 0, LINE, 2 * LINE  # at SLEEPING + i LINE is 1 while member i sleeps

_intrinsic: Any = intrinsic  # it changes the signature of a function
_jit = compiled(reorder=False)


def signals(team: int) -> NDArray[np.int64]:
    """The shared signals of a team of threads."""
    made = np.zeros(SLEEPING + LINE * team, np.int64)
    made[SLEEPING:] = 1
    return made


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.gep(data, [args[1]])


@_intrinsic
def _add(_: Any, array: Any, i: Any) -> Any:  # noqa: ARG001 - typed below
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _place(context, builder, signature, args), ir.IntType(64)(1), "seq_cst")

    return types.int64(array, types.intp), generate


@_intrinsic
def _swap(_: Any, array: Any, i: Any, value: Any) -> Any:  # noqa: ARG001 - typed below
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", _place(context, builder, signature, args), args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), generate


@_intrinsic
def _read(_: Any, array: Any, i: Any) -> Any:  # noqa: ARG001 - typed below
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_place(context, builder, signature, args), "seq_cst", 8)

    return types.int64(array, types.intp), generate


@_intrinsic
def _give_way(_: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001 - the contract
        if CAN_WAIT:
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])

    return types.void(), generate


@_intrinsic
def _pause(_: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001 - the contract
        if platform.machine() in ("x86_64", "AMD64"):  # polls without slowing the core's other hardware thread
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])

    return types.void(), generate


@_jit
def wait_for_all(flags: Any, team: Any) -> None:
    """A barrier: return when all members of the team have reached it as often as this one."""
    if team == 1:
        return
    due = (_add(flags, ARRIVED) // team + 1) * team
    looks = 0
    while _read(flags, ARRIVED) < due:
        looks += 1
        if looks > LOOKS:
            _give_way()
        else:
            _pause()


@_jit
def asleep(flags: Any, member: Any) -> Any:
    """Whether a member must be woken; marks it as awake."""
    return _swap(flags, SLEEPING + LINE * member, 0) == 1


@_jit
def call(flags: Any) -> Any:
    """Publish a work item; returns the number published before."""
    return _add(flags, CALLED)


@_jit
def more_to_do(flags: Any, member: Any, done: Any) -> Any:
    """Poll until more than `done` work items are published; False on timeout: the thread should then sleep."""
    looks = 0
    while _read(flags, CALLED) <= done:
        looks += 1
        if looks > LOOKS:
            _give_way()
        else:
            _pause()
        if looks > LOOKS + OFFERS:
            _swap(flags, SLEEPING + LINE * member, 1)
            # if an item came meanwhile, the thread that resets the 1 to 0 handles it: this one, or the caller by waking it
            return _read(flags, CALLED) > done and _swap(flags, SLEEPING + LINE * member, 0) == 1
    return True
