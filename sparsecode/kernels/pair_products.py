"""Products of matrices of 16-bit integers with sums of 32 bits, where a processor multiplies and adds pairs of them in one instruction.

It takes half of the time of float32's where there are registers of 256 bits (AVX2). Pairs of neighbouring features of a row are one
32-bit number; the table lies in panels of COLUMNS rows, whose pairs of the same features follow each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from sparsecode.kernels.jit import compiled
from sparsecode.kernels.threads import item, share_out

__all__ = ["COLUMNS", "ROWS", "padded", "pair_products"]

WIDTH, VECTORS = 8, 2  # sums in a register, and registers in a row of a block
COLUMNS, ROWS = WIDTH * VECTORS, 5  # of a block of the result, which stays in registers

_jit = compiled(divide=True)


def padded(n: int) -> int:
    """The number of rows of the first matrix and of the result in memory."""
    return -(-n // ROWS) * ROWS


@intrinsic
def _block(_: Any, x: Any, x0: Any, along: Any, panel: Any, p0: Any, out: Any, o0: Any, stride: Any, n: Any) -> Any:  # noqa: ARG001 - typed here
    """out[r, :] = sum_k x[r, k] . panel[k, :] of pairs, for ROWS rows of COLUMNS columns.

    Each array comes with the index of its first element; strides are in elements.
    """
    number, index = ir.IntType(32), ir.IntType(64)
    sums, pairs, products = (
        ir.VectorType(number, WIDTH),
        ir.VectorType(ir.IntType(16), 2 * WIDTH),
        ir.VectorType(number, 2 * WIDTH),
    )
    zeros, nothing = ir.Constant(sums, [0] * WIDTH), ir.Constant(sums, ir.Undefined)
    every_other = [ir.Constant(sums, list(range(first, 2 * WIDTH, 2))) for first in (0, 1)]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> None:
        def pointer(i: int) -> Any:
            array = context.make_array(signature.args[i])(context, builder, args[i])
            return builder.gep(array.data, [args[i + 1]])

        def vectors_at(place: Any) -> list[Any]:
            places = [builder.gep(place, [index(WIDTH * v)]) for v in range(VECTORS)]
            return [builder.bitcast(p, sums.as_pointer()) for p in places]

        def dot(left: Any, right: Any) -> Any:  # in a form that LLVM makes one instruction of
            wide = builder.mul(builder.sext(left, products), builder.sext(right, products), flags=("nsw",))
            return builder.add(*(builder.shuffle_vector(wide, wide, half) for half in every_other))

        _, _, along, _, _, _, _, stride, n = args
        rows = [builder.gep(pointer(0), [builder.mul(along, index(r))]) for r in range(ROWS)]
        panel, out = pointer(3), pointer(5)
        totals = [[cgutils.alloca_once(builder, sums) for _ in range(VECTORS)] for _ in rows]  # registers, to LLVM
        for total in (each for row in totals for each in row):
            builder.store(zeros, total)
        with cgutils.for_range(builder, n) as loop:
            here = builder.gep(panel, [builder.mul(loop.index, index(COLUMNS))])
            loaded = [builder.bitcast(builder.load(p, align=4), pairs) for p in vectors_at(here)]
            for row, places in zip(rows, totals, strict=True):
                factor = builder.insert_element(nothing, builder.load(builder.gep(row, [loop.index])), number(0))
                factor = builder.bitcast(builder.shuffle_vector(factor, nothing, zeros), pairs)
                for total, right in zip(places, loaded, strict=True):
                    builder.store(builder.add(builder.load(total), dot(factor, right)), total)
        for r, places in enumerate(totals):
            for total, at in zip(places, vectors_at(builder.gep(out, [builder.mul(stride, index(r))])), strict=True):
                builder.store(builder.load(total), at, align=4)

    i = types.intp
    return types.void(x, i, i, panel, i, out, i, i, i), generate


@_jit
def _products(x: Any, panels: Any, out: Any, first: Any, last: Any) -> None:
    k = x.shape[1]
    n, width = out.shape
    for p in range(first, last):
        column = min(p * COLUMNS, width - COLUMNS)  # overlapping columns are written twice
        for r in range(0, n, ROWS):
            _block(x, r * k, k, panels, p * k * COLUMNS, out, r * width + column, width, k)  # pyright: ignore[reportCallIssue] - numba gives `_`


def pair_products(x: NDArray[np.int32], panels: NDArray[np.int32], out: NDArray[np.int32], threads: int) -> None:
    """out [n, m] = the products of the first n rows of pairs `x` [., k] with those of a table in `panels` [m / COLUMNS, k, COLUMNS], rounded up.

    n is a multiple of ROWS, m at least COLUMNS; the last panel holds the last COLUMNS rows of the table.
    """

    def work(blocks: Iterable[slice]) -> None:
        for block in blocks:
            _products(x, panels, out, block.start, min(block.stop, len(panels)))

    share_out(len(panels), item(len(panels), threads), threads, work)
