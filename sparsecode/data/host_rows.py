"""Rows of a language model's activations for any spans of a text."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.data.chosen_sites import Chosen
from sparsecode.data.span_store import SpanStore
from sparsecode.data.text_host import TextHost
from sparsecode.data.token_rows import TokenRows, token_rows
from sparsecode.data.tokens import TokenColumns, Tokens

__all__ = ["HostRows"]


class HostRows:
    """A text in `store` and the `host` that is run over it, `batch_size` spans in a pass; rows of `sites` are kept up to the norm `most`."""

    def __init__(
        self, host: TextHost, store: SpanStore, sites: Chosen, most: dict[str, float] | None, batch_size: int
    ) -> None:
        self.host, self.store, self.sites, self.most, self.batch_size = host, store, sites, most, batch_size

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Rows of each span [n], those above `most` among them: a function of the number of its tokens."""
        lengths, first, inverse = np.unique(self.store.lengths, return_index=True, return_inverse=True)
        rows = np.zeros(len(lengths), np.int64)
        for i, number in enumerate(first.tolist()):
            batch = self.host.seen(self.store.batch([number]))
            rows[i] = int(self.host.choice.chosen(batch)[0].sum())
        return rows[inverse]

    def passes(self, spans: NDArray[np.int64]) -> Iterator[TokenRows]:
        """The rows of these spans, in order, a forward pass at a time."""
        starts = range(0, len(spans), self.batch_size)
        batches = (self.store.batch(spans[start : start + self.batch_size].tolist()) for start in starts)
        for batch, x in self.host.outputs(batches):
            yield token_rows(x, batch, self.host.choice, self.most)

    def of(self, spans: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tokens]:
        """All rows of these spans, by site, and their tokens."""
        there = list(self.passes(spans))
        rows = {name: torch.cat([each.sites[name] for each in there]) for name in there[0].sites}
        columns = [torch.cat(parts) for parts in zip(*(each.tokens.columns for each in there), strict=True)]
        return rows, Tokens(*TokenColumns(*columns))
