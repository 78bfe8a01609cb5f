"""Products of a matrix and a few columns, for small batches: nothing is packed, and weights are read once.

Blocks of the result are held in vector registers: `_tile` builds the loop that fills one in LLVM IR, because numba does not
compile loops over array elements to it.
"""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsecode.kernels.jit import compiled

__all__ = [
    "BLOCK",
    "LANES",
    "TILES",
    "columns_from_rows",
    "columns_to_rows",
    "product",
    "row_length",
    "share",
    "weight_derivative",
]


def _registers() -> tuple[int, int, int]:
    """Numbers in a vector register; rows of blocks two registers wide, and width of blocks of 6 rows, that fit the registers."""
    chosen = os.environ.get("NUMBA_CPU_FEATURES")
    features = get_host_cpu_features().flatten() if chosen is None else chosen
    if "+avx512f" in features:
        return 16, 12, 4
    return (8, 6, 2) if platform.machine() in ("x86_64", "AMD64") else (4, 12, 4)


TILES = WIDTH, TALL, WIDE = _registers()
LOW = TALL // 3
LANES = 2 * WIDTH  # columns per block; batches are padded to multiples of it
BLOCK = 24  # rows of weights processed at a time
ZERO = np.float32(0)

_jit = compiled(divide=True)


def _tile(rows: int, vectors: int) -> Any:
    """out[r, :] = (out[r, :] if `add`) + sum_k a[r ar + k ak] b[k bk, :] for `rows` rows of WIDTH `vectors` columns.

    Each array comes with the index of its first element; strides are in elements.
    """
    vector, index = ir.VectorType(ir.FloatType(), WIDTH), ir.IntType(64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> None:
        def pointer(i: int) -> Any:
            array = context.make_array(signature.args[i])(context, builder, args[i])
            return builder.gep(array.data, [args[i + 1]])

        def vectors_at(place: Any) -> list[Any]:
            places = [builder.gep(place, [index(WIDTH * v)]) for v in range(vectors)]
            return [builder.bitcast(p, vector.as_pointer()) for p in places]

        _, _, ar, ak, _, _, bk, _, _, stride, n, add = args
        a, b, out = pointer(0), pointer(4), pointer(7)
        rows_of_a = [builder.gep(a, [builder.mul(ar, index(r))]) for r in range(rows)]
        outs = [vectors_at(builder.gep(out, [builder.mul(stride, index(r))])) for r in range(rows)]
        sums = [
            [cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(rows)
        ]  # LLVM turns them into registers
        both = [(h, o) for hs, os in zip(sums, outs, strict=True) for h, o in zip(hs, os, strict=True)]
        with builder.if_else(add) as (yes, no):
            with yes:
                for place, at in both:
                    builder.store(builder.load(at, align=4), place)
            with no:
                for place, _ in both:
                    builder.store(ir.Constant(vector, [0.0] * WIDTH), place)
        nothing, first = (
            ir.Constant(vector, ir.Undefined),
            ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH),
        )
        with cgutils.for_range(builder, n) as loop:
            loaded = [builder.load(v, align=4) for v in vectors_at(builder.gep(b, [builder.mul(loop.index, bk)]))]
            along = builder.mul(loop.index, ak)
            for row, places in zip(rows_of_a, sums, strict=True):
                factor = builder.insert_element(nothing, builder.load(builder.gep(row, [along])), ir.IntType(32)(0))
                factor = builder.shuffle_vector(factor, nothing, first)
                for place, value in zip(places, loaded, strict=True):
                    product = builder.fmul(factor, value, flags=("contract",))
                    builder.store(builder.fadd(builder.load(place), product, flags=("contract",)), place)
        for place, at in both:
            builder.store(builder.load(place), at, align=4)

    @intrinsic
    def fill(_: Any, a: Any, a0: Any, ar: Any, ak: Any, b: Any, b0: Any, bk: Any, out: Any, o0: Any, stride: Any, n: Any, add: Any) -> Any:  # fmt: skip # noqa: ARG001 - typed here
        i = types.intp
        return types.void(a, i, i, i, b, i, i, out, i, i, i, types.boolean), generate

    return fill


_tall, _low, _row, _wide, _narrow = _tile(TALL, 2), _tile(LOW, 2), _tile(1, 2), _tile(6, WIDE), _tile(6, 1)


def row_length(columns: int) -> int:
    """Numbers of a row with room for so many columns in multiples of LANES; not a power of 2, whose multiples crowd a cache."""
    lanes = -(-columns // LANES) * LANES
    return lanes if lanes <= 32 else lanes + 16  # numbers of a cache line


@_jit
def share(n: Any, unit: Any, member: Any, team: Any) -> Any:
    """Start and end of a member's part of 0..n; all parts but the last are multiples of `unit`."""
    units = (n + unit - 1) // unit
    return units * member // team * unit, min(n, units * (member + 1) // team * unit)


@_jit
def columns_from_rows(rows: Any, columns: Any, first: Any, last: Any) -> None:
    """columns[j, i] = rows[i, j] for j from `first` to `last`."""
    for start in range(first, last, WIDTH):
        for i in range(len(rows)):
            for j in range(start, min(start + WIDTH, last)):
                columns[j, i] = rows[i, j]


@_jit
def columns_to_rows(columns: Any, rows: Any, first: Any, last: Any) -> None:
    """rows[j, i] = columns[i, j] for i from `first` to `last`."""
    for start in range(first, last, WIDTH):
        for j in range(len(rows)):
            for i in range(start, min(start + WIDTH, last)):
                rows[j, i] = columns[i, j]


@_jit
def product(
    a: Any, a0: Any, ar: Any, ak: Any, b: Any, b0: Any, out: Any, first: Any, last: Any, n: Any, add: Any
) -> None:
    """Rows `first` to `last` of out [m, L] = (out if `add`) + A b [n, L], for columns up to the last multiple of LANES.

    A begins at number a0 of `a`, its rows are `ar` numbers apart and its columns `ak`; b begins at number b0 of `b`.
    """
    width, r = out.shape[1], first
    while r < last:
        at, rows = a0 + r * ar, TALL if r + TALL <= last else LOW if r + LOW <= last else 1
        for lane in range(0, width - LANES + 1, LANES):
            to = r * width + lane
            if rows == TALL:
                _tall(a, at, ar, ak, b, b0 + lane, width, out, to, width, n, add)
            elif rows == LOW:
                _low(a, at, ar, ak, b, b0 + lane, width, out, to, width, n, add)
            else:
                _row(a, at, ar, ak, b, b0 + lane, width, out, to, width, n, add)
        r += rows


@_jit
def weight_derivative(slope: Any, x: Any, out: Any, first: Any, last: Any) -> None:
    """Row r - first of out [m, k] = sum_b slope[r, b] x[b, :] for rows `first` to `last` of slope [m, L], x [B, k]."""
    n, k = x.shape
    width, count = slope.shape[1], last - first
    if count < 6 or k < WIDTH:
        for r in range(count):
            for j in range(k):
                out[r, j] = ZERO
            for b in range(n):
                for j in range(k):
                    out[r, j] += slope[first + r, b] * x[b, j]
        return
    for start in range(0, count, 6):
        r = min(start, count - 6)  # overlapping rows are written twice
        at = (first + r) * width
        for j in range(0, k - WIDE * WIDTH + 1, WIDE * WIDTH):
            _wide(slope, at, width, 1, x, j, k, out, r * k + j, k, n, False)
        for column in range(k // (WIDE * WIDTH) * WIDE * WIDTH, k, WIDTH):
            j = min(column, k - WIDTH)
            _narrow(slope, at, width, 1, x, j, k, out, r * k + j, k, n, False)
