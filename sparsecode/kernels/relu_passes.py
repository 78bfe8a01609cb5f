"""Elementwise passes of ReLU autoencoders between their matrix products, float32 or bfloat16, samples in columns.

Each reads its matrix once. Numbers in bfloat16 come as int16, which are the upper halves of float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sparsecode.kernels.jit import compiled

__all__ = ["differ", "gate", "rectify"]

ZERO = np.float32(0)

_intrinsic: Any = intrinsic  # it changes the signature of a function

_jit = compiled(divide=True)


@_intrinsic
def _number(_: Any, entry: Any) -> Any:
    """A matrix's entry as a number: bfloat16 as float32, floats as they are."""
    word = ir.IntType(32)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001 - numba's order
        if isinstance(entry, types.Float):
            return args[0]
        return builder.bitcast(builder.shl(builder.zext(args[0], word), word(16)), ir.FloatType())

    return (entry if isinstance(entry, types.Float) else types.float32)(entry), generate


@_intrinsic
def _like(_: Any, entry: Any, number: Any) -> Any:
    """A number in the type of `entry`; to bfloat16 it is rounded to nearest, ties to even."""
    word = ir.IntType(32)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        if isinstance(entry, types.Float):
            return context.cast(builder, args[1], number, entry)
        bits = builder.bitcast(args[1], word)
        odd = builder.and_(builder.lshr(bits, word(16)), word(1))
        rounded = builder.add(bits, builder.add(odd, word(0x7FFF)))
        return builder.trunc(builder.lshr(rounded, word(16)), ir.IntType(16))

    return entry(entry, number), generate


@_jit
def rectify(pre: Any, bias: Any) -> None:
    """pre [k, B] = relu(pre + bias[:, None]) in place; NaN is kept."""
    for k in range(len(pre)):
        row, shift = pre[k], bias[k]
        for i in range(len(row)):
            value = _number(row[i]) + shift
            row[i] = _like(row[i], ZERO if value <= ZERO else value)


@_jit
def gate(slope: Any, z: Any, sums: Any) -> int:
    """slope [k, B] = 0 in place where z is not positive; `sums` [k] are its sums over samples. Returns the number of positive z."""
    active = 0
    for k in range(len(slope)):
        row, codes, total = slope[k], z[k], ZERO
        for i in range(len(row)):
            row[i] = row[i] if codes[i] > 0 else _like(row[i], ZERO)
        for i in range(
            len(row)
        ):  # apart: choosing and adding, numbers of two widths, would not vectorise well together
            total += _number(row[i])
        for i in range(len(row)):
            active += codes[i] > 0
        sums[k] = total
    return active


@_jit
def differ(linear: Any, shift: Any, target: Any, slope: Any, sums: Any) -> float:
    """The mean over samples of |e|^2, e = linear + shift[:, None] - target [f, B].

    `slope` receives its gradient with respect to e, `sums` [f] the sum of that over samples.
    """
    total, n = 0.0, target.shape[1]
    sums[0] = 2 / n
    factor = sums[0]  # now in their precision
    for j in range(len(linear)):
        row, wanted, to, level = linear[j], target[j], slope[j], shift[j]
        squares, errors = ZERO, ZERO
        for i in range(n):
            error = _number(row[i]) + level - wanted[i]
            squares += error * error
            errors += error
            to[i] = _like(to[i], factor * error)
        sums[j] = factor * errors
        total += squares
    return total / n
