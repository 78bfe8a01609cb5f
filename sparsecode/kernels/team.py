"""Threads that work through one compiled function together: where they wait for each other, and for more to do.

Handing work to a sleeping thread takes Python as long as a small layer takes; so one that has nothing to do goes on looking
for a while before it sleeps.
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
LOOKS = 1_000  # before the core is offered to others, who may be those waited for
OFFERS = 10_000  # some milliseconds, before a thread sleeps
LINE = 8  # numbers of a cache line: each signal has its own
ARRIVED, CALLED, SLEEPING = 0, LINE, 2 * LINE  # at SLEEPING + i LINE is 1 while member i sleeps

_intrinsic: Any = intrinsic  # it changes what a function takes
_jit = compiled(reorder=False)


def signals(team: int) -> NDArray[np.int64]:
    """What a team tells each other by."""
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
        if platform.machine() in ("x86_64", "AMD64"):  # looks that leave the core's other thread alone
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])

    return types.void(), generate


@_jit
def wait_for_all(told: Any, team: Any) -> None:
    """Go on when all of the team have come here as often as this one."""
    if team == 1:
        return
    due = (_add(told, ARRIVED) // team + 1) * team
    looks = 0
    while _read(told, ARRIVED) < due:
        looks += 1
        if looks > LOOKS:
            _give_way()
        else:
            _pause()


@_jit
def asleep(told: Any, member: Any) -> Any:
    """Whether a member must be woken; it counts as awake from now on."""
    return _swap(told, SLEEPING + LINE * member, 0) == 1


@_jit
def call(told: Any) -> Any:
    """Say that there is something to do; how often it was said before."""
    return _add(told, CALLED)


@_jit
def more_to_do(told: Any, member: Any, done: Any) -> Any:
    """Wait until the team has been called more often than `done`; False if that took too long: sleep then."""
    looks = 0
    while _read(told, CALLED) <= done:
        looks += 1
        if looks > LOOKS:
            _give_way()
        else:
            _pause()
        if looks > LOOKS + OFFERS:
            _swap(told, SLEEPING + LINE * member, 1)
            # called meanwhile: whoever puts the 1 back to 0 sees to it, this one here or the caller, who wakes another
            return _read(told, CALLED) > done and _swap(told, SLEEPING + LINE * member, 0) == 1
    return True
