"""Fused training steps of a variational perceptron: the bound, its gradient, and Adam's update of the weights.

What limits such a step in small batches is memory: weights and moments do not fit into the cache of a core. Here a block
of rows is read once for the gradient with respect to the layer's input, that with respect to the weights, and the update.
Threads share the rows of every layer. Samples are columns.
"""

from __future__ import annotations

import math
import platform
from typing import Any, NamedTuple

import numpy as np
from numba import carray, types  # pyright: ignore[reportPrivateImportUsage]
from numba.extending import intrinsic
from numpy.typing import NDArray

from sparsecode.kernels.adam import adam
from sparsecode.kernels.barrier import CAN_WAIT, more_to_do, wait_for_all
from sparsecode.kernels.elbo import NORMAL, ElboObjective, bernoulli, gaussian, spike_slab
from sparsecode.kernels.jit import compiled
from sparsecode.kernels.small_gemm import (
    BLOCK,
    TILES,
    columns_from_rows,
    columns_to_rows,
    product,
    share,
    weight_derivative,
)

__all__ = ["Layer", "Orders", "steps"]

_intrinsic: Any = intrinsic  # it changes the signature of a function
_jit = compiled(divide=True, host=(TILES, platform.machine(), CAN_WAIT))

ZERO = np.float32(0)
UNIT = 12  # rows that threads share in multiples of

Array = NDArray[np.float32]


class Layer(NamedTuple):
    """A layer of k inputs and m outputs: both numbers, and addresses of float32 arrays, since a tuple of arrays would be
    compiled anew for every depth.

    Weight [m, k], bias [m], Adam's moments of both. Scratch for B samples in L >= B columns and T threads: its input, as
    `rows` [B, k] and `columns` [k, L]; gradients with respect to its output, `slopes` [m, L], and, from each thread, to its
    input, `partial` [T, k, L]; those with respect to the latest block of weights, `derivative` [T, BLOCK, k].
    """

    m: int
    k: int
    weight: int
    bias: int
    first: int
    second: int
    bias_first: int
    bias_second: int
    rows: int
    columns: int
    slopes: int
    partial: int
    derivative: int


M, K, WEIGHT, BIAS, FIRST, SECOND, BIAS_FIRST, BIAS_SECOND, ROWS, COLUMNS, SLOPES, PARTIAL, DERIVATIVE = range(13)


class Orders(NamedTuple):
    """Arguments of a step: samples `x` [B, f], `normal` and `uniform` noise for them [B, K], the `kind` of posterior [1];
    `numbers`, those of an `ElboObjective` and of an `AdamStep`. Scratch for K codes: `noise` [2, K, L], `scale` and `push` [H K, L],
    the two parts of the gradient with respect to the encoder's output, H heads; `by_bias` [T, BLOCK]. `sums` [T, 5] are the results.
    """

    x: Array
    normal: Array
    uniform: Array
    kind: NDArray[np.int64]
    numbers: Array
    noise: Array
    scale: Array
    push: Array
    by_bias: Array
    sums: NDArray[np.float64]


@_intrinsic
def _pointer(_: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float32)(address), generate


@_jit
def _matrix(address: Any, rows: Any, columns: Any) -> Any:
    """The array [rows, columns] at an address."""
    return carray(_pointer(address), (rows, columns))


@_jit
def _vector(address: Any, first: Any, last: Any) -> Any:
    """Elements `first` to `last` of the array at an address."""
    return carray(_pointer(address + 4 * first), (last - first,))


@_jit
def _update(layer: Any, what: Any, first: Any, second: Any, start: Any, stop: Any, grad: Any, numbers: Any) -> None:
    """Adam's update of elements `start` to `stop` of parameter `what` and its moments."""
    moments = _vector(layer[first], start, stop), _vector(layer[second], start, stop)
    adam(_vector(layer[what], start, stop), grad, moments[0], moments[1], numbers)


@_jit
def _forward(layer: Any, x: Any, out: Any, rows: Any, hidden: Any, first: Any, last: Any) -> None:
    """Rows `first` to `last` of a layer's output; for a hidden layer also the `rows` of the next layer's input."""
    m, k = layer[M], layer[K]
    weight, bias = _matrix(layer[WEIGHT], m, k), _vector(layer[BIAS], 0, m)
    product(weight, 0, k, 1, x, 0, out, first, last, k, False)
    for i in range(first, last):
        for j in range(out.shape[1]):
            value = out[i, j] + bias[i]
            out[i, j] = ZERO if hidden and value < ZERO else value  # NaN stays, as it would not with max
    if hidden:
        columns_to_rows(out, rows, first, last)


@_jit
def _backward(layer: Any, numbers: Any, slope: Any, x: Any, partial: Any, derivative: Any, by_bias: Any, first: Any, last: Any) -> None:  # fmt: skip
    """For rows `first` to `last` of a layer: their part of the gradient with respect to its input, if needed, and the update."""
    m, k, width = layer[M], layer[K], slope.shape[1]
    weight = _matrix(layer[WEIGHT], m, k)
    if first == last:
        for i in range(partial.shape[0]):
            for j in range(width):
                partial[i, j] = ZERO
    for start in range(first, last, BLOCK):
        stop = min(start + BLOCK, last)
        if len(partial):
            product(weight, start * k, 1, k, slope, start * width, partial, 0, k, stop - start, start > first)
        weight_derivative(slope, x, derivative, start, stop)
        for r in range(start, stop):
            total = ZERO
            for j in range(len(x)):
                total += slope[r, j]
            by_bias[r - start] = total
        _update(layer, WEIGHT, FIRST, SECOND, start * k, stop * k, derivative.reshape(-1), numbers)
        _update(layer, BIAS, BIAS_FIRST, BIAS_SECOND, start, stop, by_bias, numbers)


@_jit
def _gather(parts: Any, k: Any, first: Any, last: Any) -> None:
    """Sum the matrices [k, L] stacked in `parts` into the first one, rows `first` to `last`."""
    for start in range(k, len(parts), k):
        for i in range(first, last):
            for j in range(parts.shape[1]):
                parts[i, j] += parts[start + i, j]


@_jit
def _slopes(slopes: Any, parts: Any, columns: Any, orders: Any, first: Any, last: Any, coded: Any) -> None:
    """Gradients with respect to a layer's output from those with respect to the next input: through ReLU, or through the codes."""
    k, n = len(columns), len(orders.x)
    _gather(parts, k, first, last)
    if coded:
        scale, push = orders.scale, orders.push
        for head in range(len(scale) // k):
            for i in range(first, last):
                for j in range(n):
                    slopes[head * k + i, j] = push[head * k + i, j] + scale[head * k + i, j] * parts[i, j]
    else:
        for i in range(first, last):
            for j in range(n):
                slopes[i, j] = parts[i, j] if columns[i, j] > ZERO else ZERO


@_jit
def _codes(orders: Any, out: Any, z: Any, rows: Any, first: Any, last: Any, sums: Any) -> None:
    """Codes `first` to `last` of z, and of its `rows`, from the encoder's output."""
    numbers = orders.numbers
    objective = ElboObjective(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4])
    noise, kind, n = orders.noise, orders.kind[0], len(orders.x)
    columns_from_rows(orders.normal, noise[0], first, last)
    if kind == NORMAL:
        gaussian(objective, out, noise, z, orders.scale, orders.push, n, first, last, sums)
    else:
        columns_from_rows(orders.uniform, noise[1], first, last)
        spike_slab(kind, objective, out, noise, z, orders.scale, orders.push, n, first, last, sums)
    columns_to_rows(z, rows, first, last)


@_jit
def steps(member: Any, team: Any, signals: Any, layers: Any, encoder: Any, orders: Any, done: Any, most: Any) -> None:
    """The part of thread `member` in at most `most` steps after step `done`, until no next step is published in time.

    `layers` [depth, 13] holds a `Layer` in each row, the first `encoder` of them the encoder's. In each step sums over the batch
    of -log p(x | z), of both divergences, of active gates and of gamma go to `orders.sums`, one row per member, whose total is
    the result; then the weights are updated, unless a sum is not finite.
    """
    depth, (n, n_features), width = len(layers), orders.x.shape, orders.noise.shape[2]
    while most > 0 and more_to_do(signals, member, done):
        done, most = done + 1, most - 1
        sums = orders.sums[member]
        for i in range(len(sums)):
            sums[i] = 0.0
        pixels = _matrix(layers[0, COLUMNS], n_features, width)
        first, last = share(n_features, UNIT, member, team)
        columns_from_rows(orders.x, pixels, first, last)
        wait_for_all(signals, team)
        for i in range(depth):
            layer = layers[i]
            inputs = _matrix(layer[COLUMNS], layer[K], width)
            out = _matrix(layer[SLOPES], layer[M], width)
            if i == encoder:
                first, last = share(layer[K], UNIT, member, team)
                below = _matrix(layers[i - 1, SLOPES], layers[i - 1, M], width)
                _codes(orders, below, inputs, _matrix(layer[ROWS], n, layer[K]), first, last, sums)
                wait_for_all(signals, team)
            rows, hidden = _matrix(layer[ROWS], n, layer[K]), i not in (encoder - 1, depth - 1)
            if hidden:
                out = _matrix(layers[i + 1, COLUMNS], layer[M], width)
                rows = _matrix(layers[i + 1, ROWS], n, layer[M])
            first, last = share(layer[M], UNIT, member, team)
            _forward(layer, inputs, out, rows, hidden, first, last)
            if i == depth - 1:
                bernoulli(out, pixels, n, first, last, sums)
            wait_for_all(signals, team)
        total = 0.0
        for i in range(team):
            for value in orders.sums[i]:
                total += value
        if not math.isfinite(total):
            continue
        for i in range(depth - 1, -1, -1):
            layer = layers[i]
            m, k = layer[M], layer[K]
            slopes = _matrix(layer[SLOPES], m, width)
            if i < depth - 1:
                above = layers[i + 1]
                first, last = share(above[K], UNIT, member, team)
                parts = _matrix(above[PARTIAL], team * above[K], width)
                columns = _matrix(above[COLUMNS], above[K], width)
                _slopes(slopes, parts, columns, orders, first, last, i == encoder - 1)
                wait_for_all(signals, team)
            first, last = share(m, UNIT, member, team)
            result = _matrix(layer[DERIVATIVE] + 4 * member * BLOCK * k, BLOCK, k)
            inputs = _matrix(layer[ROWS], n, k) if i else orders.x
            partial = _matrix(layer[PARTIAL] + 4 * member * k * width, k if i else 0, width)
            _backward(layer, orders.numbers[5:], slopes, inputs, partial, result, orders.by_bias[member], first, last)
            wait_for_all(signals, team)
