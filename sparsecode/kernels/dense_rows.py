"""Rectified codes with few zeros and their gradients: each block of a row is read once, in reused memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecode.kernels.jit import compiled
from sparsecode.kernels.threads import share_out

__all__ = ["activate", "slopes"]

WIDTH = 1024  # entries of a row per block, which fit the first-level cache
ROWS = 128  # samples per work item of a thread

_jit = compiled()


@_jit
def _loaded(keys: Any, bits: Any, line: Any) -> Any:
    """bfloat16 numbers, a float32's upper half, into `line`, which shares its memory with `bits`."""
    for j in range(len(keys)):
        bits[j] = np.int32(keys[j]) << 16
    return line[: len(keys)]


@_jit
def _activate(
    keys: Any, floats: Any, z_keys: Any, z_floats: Any, bias: Any, threshold: Any, scale: Any, rough: Any, kept: Any,
    bits: Any, line: Any, sums: Any, counts: Any, fired: Any,
) -> None:  # fmt: skip
    zero = threshold[0] - threshold[0]
    one = zero + np.float32(1)
    for i in range(len(sums)):
        total, count = zero, zero  # a count of floats, as all else here: the loop then vectorises
        for start in range(0, len(threshold), WIDTH):
            level, factor = threshold[start : start + WIDTH], scale[start : start + WIDTH]
            shift, hit = bias[start : start + WIDTH], fired[start : start + WIDTH]
            pre = floats[i, start : start + WIDTH]
            part = pre if not (rough or kept) else line[: len(level)]
            if rough:
                part = _loaded(keys[i, start : start + WIDTH], bits, line)
            elif kept:
                for j in range(len(part)):
                    part[j] = pre[j]
                for j in range(len(part)):
                    pre[j] += shift[j]
            for j in range(len(part)):  # in place: of two arrays that may be one the loop would not vectorise
                value = part[j] + shift[j]
                on = one if value > level[j] else zero
                value = value if value > level[j] else zero
                part[j] = value
                total += value * factor[j]
                count += on
                hit[j] += on
            if rough:
                z_key = z_keys[i, start : start + WIDTH]
                for j in range(len(part)):
                    z_key[j] = bits[j] >> 16
            elif kept:
                z = z_floats[i, start : start + WIDTH]
                for j in range(len(part)):
                    z[j] = part[j]
        sums[i], counts[i] = total, np.int64(count)


@_jit
def _slopes(
    keys: Any, floats: Any, slope_keys: Any, slope_floats: Any, threshold: Any, half: Any, scale: Any, by_sum: Any,
    by_count: Any, rough: Any, scaled: Any, bits: Any, line: Any, slope_bits: Any, slope_line: Any, totals: Any,
    by_scale: Any, by_threshold: Any,
) -> None:  # fmt: skip
    zero = half - half
    density = half / (half * half + half * half) if half > 0 else zero
    for i in range(len(by_sum)):
        per_sum, per_count = by_sum[i], by_count[i]
        for start in range(0, len(threshold), WIDTH):
            level, factor = threshold[start : start + WIDTH], scale[start : start + WIDTH]
            part, slope = floats[i, start : start + WIDTH], slope_floats[i, start : start + WIDTH]
            if rough:
                part = _loaded(keys[i, start : start + WIDTH], bits, line)
                slope = _loaded(slope_keys[i, start : start + WIDTH], slope_bits, slope_line)
            total = totals[start : start + WIDTH]
            if half > 0:
                by_level = by_threshold[start : start + WIDTH]
                for j in range(len(part)):
                    value = slope[j] + per_sum * factor[j]
                    near = abs(part[j] - level[j]) < half
                    by_level[j] -= (level[j] * value + per_count) * density if near else zero
            if scaled:
                by_factor = by_scale[start : start + WIDTH]
                for j in range(len(part)):
                    by_factor[j] += per_sum * part[j] if part[j] > level[j] else zero
            for j in range(len(part)):
                value = slope[j] + per_sum * factor[j]
                value = value if part[j] > level[j] else zero
                total[j] += value
                slope[j] = value
            if rough:
                key = slope_keys[i, start : start + WIDTH]
                for j in range(len(part)):  # round to nearest, ties to even
                    key[j] = (slope_bits[j] + np.int32(0x7FFF) + ((slope_bits[j] >> 16) & 1)) >> 16


def _views(x: NDArray[Any], like: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """x as int16 and as floats, one of them empty."""
    if x.dtype == np.int16:
        return x, np.empty((len(x), 0), like.dtype)
    return np.empty((len(x), 0), np.int16), x


def _scratch(rough: bool, dtype: np.dtype[Any]) -> tuple[NDArray[np.int32], NDArray[Any]]:
    bits = np.empty(WIDTH, np.int32)
    return bits, bits.view(np.float32) if rough else np.empty(WIDTH, dtype)


def activate(
    pre: NDArray[Any],
    z: NDArray[Any],
    bias: NDArray[Any],
    threshold: NDArray[Any],
    scale: NDArray[Any],
    sums: NDArray[Any],
    counts: NDArray[np.int64],
    fired: NDArray[np.bool_],
    threads: int,
) -> None:
    """z = pre where pre > threshold [m], else 0 [r, m] (z may be pre); sums of z scale [m] and counts of active codes [r].

    `pre` and `z` are floats, or bfloat16 read as int16; `bias` [m] is added to pre first, in its memory if floats. `fired` [m] is
    set for codes that were active.
    """
    rough = pre.dtype == np.int16
    keys, floats = _views(pre, scale)
    z_keys, z_floats = _views(z, scale)

    results: list[NDArray[Any]] = []
    kept = z.ctypes.data != pre.ctypes.data

    def work(blocks: Iterable[slice]) -> None:
        bits, line = _scratch(rough, scale.dtype)
        block = np.zeros(len(fired), scale.dtype)
        results.append(block)
        for rows in blocks:
            _activate(
                keys[rows], floats[rows], z_keys[rows], z_floats[rows], bias, threshold, scale, rough, kept, bits, line,
                sums[rows], counts[rows], block,
            )  # fmt: skip

    share_out(len(pre), ROWS, threads, work)
    for block in results:
        fired |= block > 0


def slopes(
    pre: NDArray[Any],
    slope: NDArray[Any],
    threshold: NDArray[Any],
    width: float,
    scale: NDArray[Any],
    by_sum: NDArray[Any],
    by_count: NDArray[Any],
    threads: int,
    scaled: bool = True,
) -> NDArray[Any]:
    """Replace the gradient with respect to z, `slope` [r, m], by that with respect to pre, in place.

    Adds those through the sums `by_sum` and counts `by_count` [r] of `activate`. Returns [3, m]: its sums over rows, and the
    gradients with respect to `scale` (0 unless `scaled`) and `threshold`, the latter estimated as in
    sparsecode.ops.straight_through with a rectangle of `width`.
    """
    rough, m = pre.dtype == np.int16, len(threshold)
    keys, floats = _views(pre, scale)
    slope_keys, slope_floats = _views(slope, scale)
    # one row per block, whichever thread processes it: sums are then added in a fixed order
    result = np.zeros((-(-len(pre) // ROWS), 3, m), scale.dtype)

    def work(blocks: Iterable[slice]) -> None:
        bits, line = _scratch(rough, scale.dtype)
        slope_bits, slope_line = _scratch(rough, scale.dtype)
        half = scale.dtype.type(width / 2)
        for rows in blocks:
            block = result[rows.start // ROWS]
            _slopes(
                keys[rows], floats[rows], slope_keys[rows], slope_floats[rows], threshold, half, scale, by_sum[rows],
                by_count[rows], rough, scaled, bits, line, slope_bits, slope_line, block[0], block[1], block[2],
            )  # fmt: skip

    share_out(len(pre), ROWS, threads, work)
    return result.sum(axis=0)
