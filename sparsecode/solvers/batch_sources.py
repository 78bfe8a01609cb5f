"""Batches of samples from an array, a memory-mapped file or a stream."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.ops.arrays import matrix, native
from sparsecode.ops.rng import generator
from sparsecode.solvers.checks import refuse_not_finite
from sparsecode.solvers.observed import checked_mask, checked_weight, filled

__all__ = ["Array", "Observed", "Rows", "Source", "array_source", "checked", "refuse_too_small", "stream_source"]

Array = NDArray[Any] | Tensor

# By default so many passes over an array, and so many steps at least: an array of few batches needs more passes.
EPOCHS, STEPS = 10.0, 300


class Rows(NamedTuple):
    """A batch, the name of its i-th row in messages, and what `mask` and `sample_weight` say of it."""

    x: Array
    name: Callable[[int], str]
    mask: Any = None
    weight: NDArray[np.float64] | None = None


class Observed(NamedTuple):
    """A checked batch [b, n_features], 0 where it is not observed; where that is, if not everywhere; weights [b] if not 1."""

    x: Tensor
    observed: Tensor | None
    weight: Tensor | None

    def completed(self, z: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor]:
        """What statistics take: samples with z D in place of missing entries, and codes, both times sqrt(weight)."""
        x = self.x if self.observed is None else torch.where(self.observed, self.x, z @ atoms)
        if self.weight is None:
            return x, z
        root = self.weight.sqrt()[:, None]
        return x * root, z * root

    def mean(self, values: Tensor) -> float:
        """The weighted mean of values [b]; 0 where all weights are."""
        if self.weight is None:
            return float(values.mean())
        total = float(self.weight.sum())
        return float((self.weight * values).sum()) / total if total else 0.0


class Source(NamedTuple):
    """Iterator of batches, their number if known, an array of their kind, and candidate samples for initial atoms."""

    batches: Iterator[Rows]
    total: int | None
    first: Array
    candidates: Callable[[int], Iterator[Rows]]


def array_source(
    x: Array, batch_size: int, seed: int, start: int, epochs: float | None, max_steps: int | None,
    mask: Any = None, sample_weight: Any = None,
) -> Source:  # fmt: skip
    """Batches of `x` in an order that is a function of (seed, step), from step `start` on."""
    x = matrix("x", x)
    mask, weight = checked_mask(mask, x), checked_weight(sample_weight, x)
    n = len(x)
    if n < 2:
        raise ValueError(f"x has {n} rows; expected at least 2 samples")
    size = min(batch_size, n)
    per_epoch = n // size
    if max_steps is None:
        max_steps = max(STEPS, round(EPOCHS * per_epoch)) if epochs is None else max(1, round(epochs * per_epoch))
    total = max_steps

    def pick(rows: NDArray[np.int64]) -> Rows:
        chosen = x[torch.from_numpy(rows).to(x.device)] if isinstance(x, Tensor) else x[rows]
        observed = None if mask is None else mask[torch.from_numpy(rows) if isinstance(mask, Tensor) else rows]
        return Rows(chosen, lambda i: f"row {rows[i]}", observed, None if weight is None else weight[rows])

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


def stream_source(
    stream: Iterable[Array], epochs: float | None, max_steps: int | None, mask: Any = None, sample_weight: Any = None
) -> Source:
    """The batches of the stream, at most `max_steps`, each with that of `mask` and `sample_weight`, if given."""
    if not isinstance(stream, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not check types
        raise TypeError(f"x is a {type(stream).__name__}; expected an array, a tensor or an iterable of batches")
    if epochs is not None:
        raise ValueError("epochs is given for a stream, which is read once; expected max_steps or neither")

    beside = {"mask": _batches_of("mask", mask), "sample_weight": _batches_of("sample_weight", sample_weight)}

    def next_of(name: str, number: int) -> Any:
        values = beside[name]
        value = None if values is None else next(values, None)
        if values is not None and value is None:
            raise ValueError(f"{name} ends after {number} batches; expected an array for each batch of x")
        return value

    def named() -> Iterator[Rows]:
        for number, batch in enumerate(stream):
            rows = matrix(f"batch {number} of x", batch)
            if not len(rows):
                raise ValueError(f"batch {number} of x has no rows; expected samples")
            observed = checked_mask(next_of("mask", number), rows)
            weight = checked_weight(next_of("sample_weight", number), rows, zeros=True)
            yield Rows(rows, lambda i, number=number: f"row {i} of batch {number}", observed, weight)

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


def _batches_of(name: str, values: Any) -> Iterator[Any] | None:
    if values is None:
        return None
    if hasattr(values, "__array__") or not isinstance(values, Iterable):
        raise TypeError(
            f"{name} is a {type(values).__name__} beside a stream; expected an iterable of arrays, one for each batch of x"
        )
    return iter(cast("Iterable[Any]", values))


def checked(rows: Rows, like: Tensor, nan_is_missing: bool) -> Observed:
    """The batch as tensors of the atoms' dtype and device. Raises ValueError for other widths, NaN and too large values."""
    if rows.x.shape[1] != like.shape[1]:
        raise ValueError(f"{rows.name(0)} of x has {rows.x.shape[1]} features; expected {like.shape[1]} as before")
    x, observed = filled(torch.as_tensor(native(rows.x)).to(like), rows.mask, nan_is_missing)
    refuse_not_finite(x, rows.name, squares=True)
    return Observed(x, observed, None if rows.weight is None else torch.from_numpy(rows.weight).to(like))


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
