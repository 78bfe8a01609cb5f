"""Samples from memory as splits: arrays, tensors, data frames, memory maps, PyTorch's data loaders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from sparsecode.data.splits import Reader, Samples, Split, Splits, epoch_orders
from sparsecode.ops.arrays import array_of, native
from sparsecode.records import Batch
from sparsecode.specs import Count, Spec

__all__ = ["InMemory", "splits_from"]

CHUNK = 2**24  # numbers of a memory map that are looked at together
HELD = 10_000  # samples of a memory map that are held in memory, of each split
SPLIT_SEED = 0  # that of `Arrays`: the same samples are in the same splits


class InMemory(Spec, tag="in_memory"):
    """A record of samples that `sparsecode.fit` was given: their fingerprint, their shape, and how many are in each split.

    They are nowhere on disk, so that `load` refuses.
    """

    fingerprint: str
    shape: tuple[Count, ...]
    n: tuple[Count, Count, Count]

    def load(self) -> NoReturn:
        """Raises ValueError."""
        raise ValueError(
            f"data: this run was trained on {self.n[0]} samples of shape {self.shape} that were given to sparsecode.fit and are "
            "not on disk; pass them again: sparsecode.fit(..., out=FOLDER), or use its model with load_model"
        )


def splits_from(x: Any, target: Any = None, labels: Any = None, valid: Any = 0.1, test: Any = None) -> Splits:
    """Splits of samples x [N, *F], with targets [N, *G] and class labels [N] where these are given.

    `valid` and `test` are shares of x, split off at random as `Arrays` does it, or samples of their own. Without `test` the
    validation samples are also those of the test. Memory maps are read batch by batch: of each of their splits no more than 10 000
    samples are in memory. Raises TypeError or ValueError naming the argument.
    """
    if isinstance(x, DataLoader):
        x, labels = _loaded(cast("DataLoader[Any]", x), labels)
    mapped = isinstance(x, np.memmap)
    samples: Any = _samples("x", x, check=not mapped)
    n = len(samples)
    targets = None if target is None else _samples("target", target, n)
    classes = None if labels is None else _labels(labels, n)
    shares = [_share(name, share) for name, share in (("valid", valid), ("test", test))]
    train, *others = _rows(n, *shares)
    parts: list[Split | None] = []
    for name, given, rows in zip(("valid", "test"), (valid, test), others, strict=True):
        if rows is not None:
            resident = rows[:HELD] if mapped else rows
            parts.append(_split(samples, targets, classes, resident))
        else:
            parts.append(None if given is None else _own_split(name, given, samples, targets, classes))
    first, last = parts
    assert first is not None
    resident = _split(samples, targets, classes, train[:HELD] if mapped else train)
    stream = _Mapped(samples, train, targets, classes) if mapped else None
    splits = Splits(resident, first, first if last is None else last, 0.0, 1.0, stream)
    span = splits.target_span() if stream is None else stream.range
    low, high = span if targets is None else splits.target_span()
    if low == high:
        raise ValueError(
            f"{'x' if target is None else 'target'}: all training values are {low:g}; expected data that vary"
        )
    return splits._replace(low=low, high=high)


def _samples(name: str, value: Any, n: int | None = None, check: bool = True) -> Any:
    """An array [N, *F], float32 unless it is not to be checked yet."""
    array = native(array_of(name, value))
    if array.ndim < 2 or 0 in array.shape:
        raise ValueError(f"{name} has shape {tuple(array.shape)}; expected [n_samples, ...features], none of them 0")
    if n is not None and len(array) != n:
        raise ValueError(f"{name} has {len(array)} rows, and x has {n}; expected one for each sample")
    if not check:
        return array
    if isinstance(array, Tensor):
        array = array.detach().cpu().float().numpy()
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float32)
    _check_finite(name, array, 0)
    return array


def _check_finite(name: str, array: NDArray[Any], first: int) -> None:
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{name}: {int((~finite).sum())} samples with NaN, infinity or values beyond float32, first in row "
            f"{first + int(np.argmin(finite))}; expected finite numbers"
        )


def _labels(value: Any, n: int) -> NDArray[np.int64]:
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    if array.dtype.kind not in "iu" or array.shape != (n,):
        raise ValueError(
            f"labels have shape {array.shape} and type {array.dtype}; expected ({n},) whole numbers, from 0"
        )
    return array.astype(np.int64)


def _share(name: str, value: Any) -> float:
    """The share of x for a split: 0 if its samples are given separately or there is no such split."""
    if value is None and name == "valid":
        raise ValueError("valid is None; expected a share of x, as 0.1, or samples: training is validated")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value:g}; expected a share of x between 0 and 1, or samples")
    return float(value)


def _rows(
    n: int, valid: float, test: float
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """The rows of x in train, valid and test; None for those that are not of x."""
    n_valid, n_test = int(valid * n), int(test * n)
    n_train = n - n_valid - n_test
    if n_train < 1 or (valid and not n_valid) or (test and not n_test):
        raise ValueError(
            f"x has {n} samples, of which valid={valid:g} and test={test:g} leave {n_train}, {n_valid} and {n_test} for train, "
            "valid and test; expected at least one in each: pass more samples, or other shares"
        )
    order = np.arange(n) if not valid and not test else np.random.RandomState(SPLIT_SEED).permutation(n)
    train, first, last = np.split(order, [n_train, n_train + n_valid])
    return train, first if valid else None, last if test else None


def _split(x: Any, target: Any, labels: Any, rows: NDArray[np.int64]) -> Split:
    others = (None if part is None else torch.from_numpy(np.ascontiguousarray(part[rows])) for part in (target, labels))
    floats = torch.from_numpy(np.ascontiguousarray(x[rows], np.float32))
    return Split(floats, *others, tokens=None)


def _own_split(name: str, given: Any, x: Any, target: Any, labels: Any) -> Split:
    split = given if isinstance(given, Split) else Split(torch.from_numpy(_samples(name, given)))
    if tuple(split.x.shape[1:]) != x.shape[1:]:
        raise ValueError(
            f"{name} has samples of shape {tuple(split.x.shape[1:])}, and x of shape {x.shape[1:]}; expected the same"
        )
    for what, ours, theirs in (("target", target, split.target), ("label", labels, split.label)):
        if (ours is None) != (theirs is None):
            raise ValueError(
                f"{name} has {'no' if theirs is None else 'a'} {what}, and x has {'none' if ours is None else 'one'}; expected the "
                f"same: a share of x, or sparsecode.data.Split(x, {what}=...)"
            )
    return split


def _loaded(loader: DataLoader[Any], labels: Any) -> tuple[Tensor, Any]:
    """All samples of a loader, in the order of its data set, where it has one; and the labels, if it gives some."""
    shuffled = isinstance(loader.sampler, RandomSampler) and type(loader.batch_sampler) is BatchSampler
    if shuffled or (isinstance(loader.sampler, SequentialSampler) and loader.drop_last):
        loader = DataLoader(
            loader.dataset, loader.batch_size, collate_fn=loader.collate_fn, num_workers=loader.num_workers
        )
    rows: list[Any] = []
    classes: list[Any] = []
    for batch in loader:
        several = isinstance(batch, tuple | list)
        rows.append(torch.as_tensor(batch[0] if several else batch))
        if several and len(batch) > 1:
            classes.append(torch.as_tensor(batch[1]))
    if not rows:
        raise ValueError("x is a DataLoader without batches; expected some")
    if classes and labels is not None:
        raise ValueError("labels are given, and x, a DataLoader, gives some too; expected one of the two")
    return torch.cat(rows), torch.cat(classes) if classes else labels


class _Mapped(NamedTuple):
    """Rows of a memory map that are read when they are needed."""

    x: Any
    rows: NDArray[np.int64]
    target: Any
    labels: Any
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32

    @property
    def n(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device, dtype: torch.dtype) -> Samples:
        return self._replace(device=device, dtype=dtype)

    def reader(self, seed: int) -> Reader:
        """The order of `Split.reader`."""
        order_of = epoch_orders(self.n, seed, torch.device("cpu"))

        def read(epoch: int, first: int, last: int) -> Batch:
            split = _split(self.x, self.target, self.labels, self.rows[order_of(epoch)[first:last].numpy()])
            return Batch(*split.to(self.device, self.dtype)[:3])

        return read

    def _chunks(self) -> Iterator[tuple[int, Any]]:
        """Successive rows of x, `CHUNK` numbers at a time, with the index of the first one."""
        step = max(1, CHUNK // max(1, self.x[0].size))
        return ((first, self.x[first : first + step]) for first in range(0, len(self.x), step))

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest training value. Raises ValueError for values that are not finite, anywhere in x."""
        low, high = np.inf, -np.inf
        training = np.zeros(len(self.x), bool)
        training[self.rows] = True
        for first, rows in self._chunks():
            with np.errstate(over="ignore"):
                part = np.asarray(rows, np.float32)
            _check_finite("x", part, first)
            part = part[training[first : first + len(part)]]
            if part.size:
                low, high = min(low, float(part.min())), max(high, float(part.max()))
        return low, high

    def fingerprint(self) -> str:
        hasher = hashlib.sha256()
        for _, rows in self._chunks():
            hasher.update(np.ascontiguousarray(rows).data)
        for part in (self.rows, self.target, self.labels):
            if part is not None:
                hasher.update(np.ascontiguousarray(part).data)
        return hasher.hexdigest()[:16]
