"""Training rows of a language model that runs meanwhile, in an order that is a function of (seed, step)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.data.host_pass import HostPass
from sparsecode.data.host_rows import HostRows
from sparsecode.data.splits import Reader
from sparsecode.data.windows import Window, rows_between
from sparsecode.ops.rng import generator
from sparsecode.records import Batch

__all__ = ["HostStream"]


class HostStream(NamedTuple):
    """The rows of the training `spans`, given in `dtype` on `device`; batches of whole spans, with a pass of the host, if `in_spans`.

    `order_seed` is that of the order, whatever the seed of a run.
    """

    rows: HostRows
    spans: NDArray[np.int64]
    order_seed: int
    buffer: int
    in_spans: bool
    mark: str
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32

    @property
    def n(self) -> int:
        """The number of rows in an epoch."""
        return int(self.rows.counts[self.spans].sum())

    @property
    def one_order(self) -> bool:
        """The order is the same for runs of all seeds, so that these can share one pass."""
        return True

    @property
    def gives_host(self) -> bool:
        """Whether batches have the pass of the host that their rows are from."""
        return self.in_spans

    def fingerprint(self) -> str:
        return self.mark

    def to(self, device: torch.device, dtype: torch.dtype) -> HostStream:
        return self._replace(device=device, dtype=dtype)

    def reader(self, seed: int) -> Reader:  # noqa: ARG002 - the order has a seed of its own
        """Epoch e visits the spans in an order drawn from (`order_seed`, e), and the rows of buffer k in one from (`order_seed`, e, k)."""
        return _SpanReader(self) if self.in_spans else _BufferedReader(self)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The training spans in the order of an epoch."""
        rng = generator(self.order_seed, "order of spans", epoch)
        return self.spans[torch.randperm(len(self.spans), generator=rng).numpy()]

    def batch(self, rows: dict[str, Tensor], host: HostPass | None = None) -> Batch:
        moved = {name: value.to(self.device, self.dtype) for name, value in rows.items()}
        return self.rows.sites.batch(moved)._replace(host=host)


class _BufferedReader:
    """One buffer of whole passes, filled when the first of its rows is asked for."""

    def __init__(self, stream: HostStream) -> None:
        self._stream = stream
        counts = stream.rows.counts
        most = int(counts[stream.spans].max()) * stream.rows.batch_size
        self._passes = max(1, stream.buffer // most)
        self._room = min(self._passes * most, int(counts[stream.spans].sum()))
        self._memory: dict[str, Tensor] = {}
        self._buffer: Window | None = None
        self._layout = lru_cache(maxsize=1)(self._layout_of)

    def _layout_of(self, epoch: int) -> tuple[list[NDArray[np.int64]], list[int]]:
        """The spans of each buffer of an epoch, and the number of rows up to the end of each."""
        order = self._stream.order(epoch)
        size = self._passes * self._stream.rows.batch_size
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        return parts, np.cumsum([self._stream.rows.counts[part].sum() for part in parts]).tolist()

    def __call__(self, epoch: int, first: int, last: int) -> Batch:
        """Rows `first` to `last` - 1 of this epoch's order; quick if calls go forward."""
        _, ends = self._layout(epoch)
        return self._stream.batch(rows_between(ends, lambda k: self._open(epoch, k), first, last))

    def _open(self, epoch: int, k: int) -> Window:
        if self._buffer is None or self._buffer.place != (epoch, k):
            self._buffer = None
            self._buffer = self._filled(epoch, k)
        return self._buffer

    def _filled(self, epoch: int, k: int) -> Window:
        parts, ends = self._layout(epoch)
        n, done = ends[k] - (ends[k - 1] if k else 0), 0
        for there in self._stream.rows.passes(parts[k]):
            for name, rows in there.sites.items():
                if name not in self._memory:
                    self._memory[name] = rows.new_empty(self._room, *rows.shape[1:])
                self._memory[name][done : done + len(rows)] = rows
            done += len(there.group)
        if not done:
            raise ValueError("no rows of a whole buffer are kept by max_norm; expected a larger max_norm, or buffer")
        rng = generator(self._stream.order_seed, "order in buffer", epoch, k)
        order = torch.randperm(done, generator=rng)[torch.arange(n) % done]  # again, in the place of rows left out
        rows = {name: memory[:done] for name, memory in self._memory.items()}
        return Window((epoch, k), rows, order.to(next(iter(rows.values())).device))


class _SpanReader:
    """The rows of spans in order; the host runs on all spans that a batch has rows of, those that it shares with its neighbours too."""

    def __init__(self, stream: HostStream) -> None:
        self._stream = stream
        self._layout = lru_cache(maxsize=1)(self._layout_of)

    def _layout_of(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The spans of an epoch in order, and the number of rows up to the end of each."""
        order = self._stream.order(epoch)
        return order, np.cumsum(self._stream.rows.counts[order])

    def __call__(self, epoch: int, first: int, last: int) -> Batch:
        """Rows `first` to `last` - 1 of this epoch's order, and the pass of the host that they are from."""
        order, ends = self._layout(epoch)
        begin, end = (int(np.searchsorted(ends, row, side="right")) for row in (first, last - 1))
        start = int(ends[begin - 1]) if begin else 0
        host, sites = self._stream.rows.host, self._stream.rows.sites
        with host.lock:
            ((batch, x),) = host.outputs([self._stream.rows.store.batch(order[begin : end + 1].tolist())])
        span, column = host.choice.chosen(batch)[0].nonzero()[first - start : last - start].unbind(1)
        replaced = sites.x if sites.target is None else (sites.target,)
        there = HostPass(host, batch, span, column, tuple(site.name for site in replaced))
        return self._stream.batch({site.name: there.rows(x[site.name]) for site in sites.all}, there)
