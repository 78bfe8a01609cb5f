"""Splits: the samples that every data source provides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.data.tokens import Tokens
from sparsecode.ops.rng import generator
from sparsecode.records import Batch

if TYPE_CHECKING:
    from sparsecode.data.recorded_host import RecordedHost

__all__ = [
    "Factor",
    "Reader",
    "Samples",
    "Split",
    "Splits",
    "Streamed",
    "epoch_orders",
    "part_of",
    "permuted_splits",
    "sizes_of_shares",
]


class Reader(Protocol):
    """Samples `first` to `last` - 1 of the order in which an epoch visits them."""

    def __call__(self, epoch: int, first: int, last: int) -> Batch: ...


class Samples(Protocol):
    """The source of training batches: samples in memory (`Split`), or a stream of more than fit."""

    @property
    def n(self) -> int: ...

    def to(self, device: torch.device, dtype: torch.dtype) -> Samples: ...

    def reader(self, seed: int) -> Reader:
        """Every order is a function of (seed, epoch) alone."""
        ...


class Streamed(Samples, Protocol):
    """Samples that are read again and again from elsewhere."""

    def fingerprint(self) -> str:
        """A short hash of all samples of all splits."""
        ...


class Factor(NamedTuple):
    """A generative factor of the samples: its name, and whether its values have an order."""

    name: str
    ordered: bool = True


class Split(NamedTuple):
    """Samples x [N, *F] in data space and, where there are any, targets `target` [N, *G] to be predicted from them, and their
    class labels [N].

    Samples whose local mean and contrast were taken out keep both as `ctx` [N, 2, *F], in units of the data range: mean
    maps, then standard deviations. They may be gigabytes on disk, and only `pixels` needs them, so `to` leaves them
    where they are. Samples made of known factors keep their values as `factors` [N, n_factors], whole numbers from 0.
    Activations of a language model may know the token of each row, `tokens`, which stay on the CPU.
    """

    x: Tensor
    target: Tensor | None = None
    label: Tensor | None = None
    ctx: Tensor | None = None
    factors: Tensor | None = None
    tokens: Tokens | None = None

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.x)

    def take(self, rows: Tensor | slice) -> Split:
        target, label, factors = (None if t is None else t[rows] for t in (self.target, self.label, self.factors))
        tokens = None if self.tokens is None else self.tokens.take(rows, self.n)
        if self.ctx is None:
            return Split(self.x[rows], target, label, factors=factors, tokens=tokens)
        there = rows if isinstance(rows, slice) else rows.to(self.ctx.device)
        return Split(self.x[rows], target, label, self.ctx[there], factors, tokens)

    def chunks(self, size: int) -> Iterator[tuple[int, Split]]:
        """Successive parts of at most `size` samples, each with the index of its first sample."""
        return ((start, self.take(slice(start, start + size))) for start in range(0, self.n, size))

    def to(self, device: torch.device, dtype: torch.dtype) -> Split:
        label, factors = (None if t is None else t.to(device) for t in (self.label, self.factors))
        target = None if self.target is None else self.target.to(device, dtype)
        return Split(self.x.to(device, dtype), target, label, self.ctx, factors, self.tokens)

    def reader(self, seed: int) -> Reader:
        """Epoch e visits the samples in the order of a permutation drawn from (seed, e) on the CPU."""
        order_of = epoch_orders(self.n, seed, self.x.device)

        def read(epoch: int, first: int, last: int) -> Batch:
            rows = order_of(epoch)[first:last]
            target, label = (None if t is None else _rows(t, rows) for t in (self.target, self.label))
            return Batch(_rows(self.x, rows), target, label)

        return read

    def pixels(self, x: Tensor) -> Tensor:
        """x [N, *F] in data space, as what pictures and PSNR are about: x sd + mean with these samples' maps, or x itself."""
        if self.ctx is None:
            return x
        mean, sd = self.ctx.to(x).unbind(1)
        return x * sd + mean

    def from_pixels(self, change: Tensor) -> Tensor:
        """The change of x for a change of the pixels [N, *F]: change / sd, or the change itself without maps."""
        return change if self.ctx is None else change / self.ctx[:, 1].to(change)


FEW = 2**18  # numbers


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """x[rows], several times as fast. A little on the CPU is fetched by one thread: torch's others would go on turning for a
    while, and get in the way of threads that are not torch's."""
    if x.device.type == "cpu" and len(rows) * x[0].numel() <= FEW:
        return torch.from_numpy(x.numpy().take(rows.numpy(), axis=0))
    return x.index_select(0, rows)


def epoch_orders(n: int, seed: int, device: torch.device) -> Callable[[int], Tensor]:
    """The permutation [n] of each epoch e, drawn from (seed, e) on the CPU; that of the latest epoch is kept."""

    @lru_cache(maxsize=1)
    def order_of(epoch: int) -> Tensor:
        return torch.randperm(n, generator=generator(seed, "order", epoch)).to(device)

    return order_of


class Splits(NamedTuple):
    """Three disjoint parts of the data, and the range [low, high] that pictures and PSNR refer to (of `Split.pixels`; of the
    targets, where there are any).

    Where `stream` is given, training reads from it, and `train` is a small sample of it for all other purposes. `factors`
    says what the columns of `Split.factors` are; `host` from which language model, hook points and text activations are, where that is known.
    """

    train: Split
    valid: Split
    test: Split
    low: float
    high: float
    stream: Streamed | None = None
    factors: tuple[Factor, ...] = ()
    host: RecordedHost | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape *F of one sample."""
        return tuple(self.train.x.shape[1:])

    @property
    def target_shape(self) -> tuple[int, ...] | None:
        """The shape *G of one target; None without targets."""
        return None if self.train.target is None else tuple(self.train.target.shape[1:])

    @property
    def training(self) -> Samples:
        """All samples to train on."""
        return self.train if self.stream is None else self.stream

    def fingerprint(self) -> str:
        """A short hash of all samples in order; about a second per gigabyte in memory."""
        if self.stream is not None:
            return self.stream.fingerprint()
        hasher = hashlib.sha256()  # in hardware on most machines
        for split in (self.train, self.valid, self.test):
            for tensor in (split.x, split.target, split.ctx):
                if tensor is not None:
                    hasher.update(str(tuple(tensor.shape)).encode())
                    hasher.update(np.ascontiguousarray(tensor.numpy()).data)
        return hasher.hexdigest()[:16]

    def target_span(self) -> tuple[float, float]:
        """The range [low, high] of the training targets, or of the samples where there are none."""
        of = self.train.x if self.train.target is None else self.train.target
        return float(of.min()), float(of.max())

    def span(self) -> tuple[float, float]:
        """The range of the samples themselves: [low, high], unless that is of pixels or of targets."""
        if self.train.ctx is None and self.train.target is None:
            return self.low, self.high
        return float(self.train.x.min()), float(self.train.x.max())

    @property
    def data_range(self) -> float:
        return self.high - self.low


def permuted_splits(
    x: NDArray[np.float32],
    label: NDArray[np.int64] | None,
    sizes: tuple[int, int],
    seed: int,
    low: float,
    high: float,
    block: int = 1,
    target: NDArray[np.float32] | None = None,
    tokens: Tokens | None = None,
) -> Splits:
    """Disjoint random parts: `sizes` = (train, valid) blocks of `block` successive samples, the rest is test.

    `label` [N], `target` [N, *G] and `tokens` are of the samples x [N, *F]; [low, high] is the range of the result.
    """
    order = np.random.RandomState(seed).permutation(-(-len(x) // block))

    def split(rows: NDArray[np.int64]) -> Split:
        others = (None if part is None else torch.from_numpy(part[rows]) for part in (target, label))
        there = None if tokens is None else tokens.take(torch.from_numpy(rows))
        return Split(torch.from_numpy(x[rows]), *others, tokens=there)

    train, valid, test = (split(_rows_of(blocks, block, len(x))) for blocks in np.split(order, np.cumsum(sizes)))
    return Splits(train, valid, test, low, high)


def _rows_of(blocks: NDArray[np.int64], block: int, n: int) -> NDArray[np.int64]:
    """The samples of these blocks of n samples, of which the last may be shorter."""
    rows = (blocks[:, None] * block + np.arange(block)).reshape(-1)
    return rows[rows < n]


def part_of(group: int, seed: int, valid: float, test: float) -> int:
    """0, 1 or 2 for train, valid or test: by hash(seed, group), so that rows of one group are in one of them, whatever their order."""
    digest = hashlib.blake2b(f"{seed}:{group}".encode(), digest_size=8).digest()
    u = int.from_bytes(digest, "little") / 2**64
    return 1 if u < valid else 2 if u < valid + test else 0


def sizes_of_shares(n: int, valid: float, test: float, source: str, what: str = "samples") -> tuple[int, int, int]:
    """The numbers of train, valid and test samples among n; `what` names the samples in errors.

    Raises ValueError naming `source` unless each gets at least one.
    """
    n_valid, n_test = int(valid * n), int(test * n)
    n_train = n - n_valid - n_test
    if min(n_train, n_valid, n_test) < 1:
        raise ValueError(
            f"{source}: {n} {what} cannot be split into {1 - valid - test:.0%} train, {valid:.0%} valid, {test:.0%} "
            "test; expected at least one in each"
        )
    return n_train, n_valid, n_test
