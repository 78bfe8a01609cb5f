"""Batches of samples from an array, a memory-mapped file or a stream."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.ops.arrays import matrix, native
from sparsecode.ops.rng import generator
from sparsecode.solvers.checks import refuse_not_finite

__all__ = ["Array", "Rows", "Source", "array_source", "checked", "refuse_too_small", "stream_source"]

Array = NDArray[Any] | Tensor

# By default so many passes over an array, and so many steps at least: an array of few batches needs more passes.
EPOCHS, STEPS = 10.0, 300


class Rows(NamedTuple):
    """A batch, and the name of its i-th row in messages."""

    x: Array
    name: Callable[[int], str]


class Source(NamedTuple):
    """Iterator of batches, their number if known, an array of their kind, and candidate samples for initial atoms."""

    batches: Iterator[Rows]
    total: int | None
    first: Array
    candidates: Callable[[int], Iterator[Rows]]


def array_source(
    x: Array, batch_size: int, seed: int, start: int, epochs: float | None, max_steps: int | None
) -> Source:
    """Batches of `x` in an order that is a function of (seed, step), from step `start` on."""
    x = matrix("x", x)
    n = len(x)
    if n < 2:
        raise ValueError(f"x has {n} rows; expected at least 2 samples")
    size = min(batch_size, n)
    per_epoch = n // size
    if max_steps is None:
        max_steps = max(STEPS, round(EPOCHS * per_epoch)) if epochs is None else max(1, round(epochs * per_epoch))
    total = max_steps

    def pick(rows: NDArray[np.int64]) -> Rows:
        taken = x[torch.from_numpy(rows).to(x.device)] if isinstance(x, Tensor) else x[rows]
        return Rows(taken, lambda i: f"row {rows[i]}")

    def batches() -> Iterator[Rows]:
        order = np.empty(0, np.int64)
        for step in range(start, start + total):
            epoch, position = divmod(step, per_epoch)
            if position == 0 or not len(order):
                order = torch.randperm(n, generator=generator(seed, "order", epoch)).numpy()
            yield pick(np.sort(order[position * size : (position + 1) * size]))  # sequential reads from a disk

    def candidates(n_code: int) -> Iterator[Rows]:
        if n < n_code:
            raise ValueError(
                f"n_code is {n_code} and x has {n} rows; expected at least as many to start from: pass init"
            )
        order = torch.randperm(n, generator=generator(seed, "atoms")).numpy()
        yield from (pick(order[i : i + 2 * n_code]) for i in range(0, n, 2 * n_code))

    return Source(batches(), total, x, candidates)


def stream_source(stream: Iterable[Array], epochs: float | None, max_steps: int | None) -> Source:
    """The batches of the stream, at most `max_steps`."""
    if not isinstance(stream, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not check types
        raise TypeError(f"x is a {type(stream).__name__}; expected an array, a tensor or an iterable of batches")
    if epochs is not None:
        raise ValueError("epochs is given for a stream, which is read once; expected max_steps or neither")

    def named() -> Iterator[Rows]:
        for number, batch in enumerate(stream):
            rows = matrix(f"batch {number} of x", batch)
            if not len(rows):
                raise ValueError(f"batch {number} of x has no rows; expected samples")
            yield Rows(rows, lambda i, number=number: f"row {i} of batch {number}")

    batches = named()
    first = next(batches, None)
    if first is None:
        raise ValueError("x is an empty stream; expected at least one batch [b, n_features]")
    batches = itertools.chain([first], batches)
    kept: list[Rows] = []

    def candidates(n_code: int) -> Iterator[Rows]:
        for rows in batches:
            kept.append(rows)
            yield rows
        seen = sum(len(rows.x) for rows in kept)
        if seen < n_code:
            raise ValueError(
                f"n_code is {n_code} and the stream has {seen} rows; expected at least as many to start from: pass init"
            )

    def after_candidates() -> Iterator[Rows]:
        yield from kept
        yield from batches

    return Source(itertools.islice(after_candidates(), max_steps), max_steps, first.x, candidates)


def checked(rows: Rows, like: Tensor) -> Tensor:
    """The batch as a tensor of the atoms' dtype and device. Raises ValueError for other widths, NaN and too large values."""
    if rows.x.shape[1] != like.shape[1]:
        raise ValueError(f"{rows.name(0)} of x has {rows.x.shape[1]} features; expected {like.shape[1]} as before")
    x = torch.as_tensor(native(rows.x)).to(like)
    refuse_not_finite(x, rows.name, squares=True)
    return x


def refuse_too_small(x: Tensor, name: Callable[[int], str], least: float) -> None:
    """Raise ValueError for samples of a norm above `least`, and so perhaps with a code, whose squares underflow."""
    kind = torch.finfo(x.dtype)
    small = (x.square().sum(dim=1) < kind.tiny / kind.eps) & (x.abs().sum(dim=1) > least)
    if bool(small.any()):
        word = str(x.dtype).removeprefix("torch.")
        raise ValueError(
            f"x is too small for {word}: squares of its values underflow, first in {name(int(small.int().argmax()))}; rescale x "
            "and alpha alike" + (", or pass x as float64" if word == "float32" else "")
        )
