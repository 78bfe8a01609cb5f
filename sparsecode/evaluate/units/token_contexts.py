"""The text around examples of codes: tokens before and after, and how active the code is on each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsecode.data.tokens import Tokens
from sparsecode.evaluate.units.examples import NONE, Entries

__all__ = ["ContextCollector", "TokenContexts"]

TOGETHER = 2**16  # entries compared with all places of their codes at once

Integers = NDArray[np.int64]


class TokenContexts(NamedTuple):
    """Tokens around the examples of `Examples`, with the code's values on them.

    `token_id`, `row`, `group`, `place` [m] are of the rows that are in some context, in the order of the texts; row is the row's number,
    group that of its text, place that in its text. `at` [n_code, slots] is where an example's row is in these, -1 for empty slots: its context
    are the neighbours of it with the same group, at most `before` and `after` away. The code's values that are not 0 there
    are `value[p]`, at `at + step[p]`, for p from `offsets[i]` to `offsets[i + 1]`, i = code * slots + slot.
    """

    token_id: NDArray[np.int32]
    row: Integers
    group: Integers
    place: Integers
    at: NDArray[np.int32]
    offsets: Integers
    step: NDArray[np.int16]
    value: NDArray[np.float32]


class ContextCollector:
    """Collects `TokenContexts` of rows [n_code, slots] of examples (-1: none) from the entries of all rows, in one pass."""

    def __init__(self, tokens: Tokens, row: Integers, before: int, after: int) -> None:
        order, rank = (part.numpy() for part in tokens.text_order)
        self.order, self.rank, self.tokens = order, rank, tokens
        group = tokens.group.numpy()[order]
        starts = np.flatnonzero(np.diff(group, prepend=group[:1] - 1))
        lengths = np.diff(starts, append=len(group))
        first, last = np.repeat(starts, lengths), np.repeat(starts + lengths - 1, lengths)
        there = row != NONE
        self.at = np.where(there, rank[row], NONE)
        self.low = np.where(there, np.maximum(self.at - before, first[self.at]), 1)
        self.high = np.where(there, np.minimum(self.at + after, last[self.at]), 0)
        marks = np.zeros(len(order) + 1, dtype=np.int64)
        np.add.at(marks, self.low[there], 1)
        np.add.at(marks, self.high[there] + 1, -1)
        self.inside = np.cumsum(marks[:-1]) > 0
        self._parts: list[tuple[Integers, Integers, NDArray[np.float32]]] = []

    def update(self, entries: Entries) -> None:
        """Take the entries of some rows."""
        ranks = self.rank[entries.row]
        some = np.flatnonzero(self.inside[ranks])
        slots = self.at.shape[1]
        for start in range(0, len(some), TOGETHER):
            part = some[start : start + TOGETHER]
            code, rank = entries.code[part].astype(np.int64), ranks[part]
            entry, slot = np.nonzero((self.low[code] <= rank[:, None]) & (rank[:, None] <= self.high[code]))
            step = rank[entry] - self.at[code[entry], slot]
            self._parts.append((code[entry] * slots + slot, step, entries.value[part][entry]))

    def result(self) -> TokenContexts:
        """The contexts, after all rows."""
        empty = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        slot, step, value = (np.concatenate(part) for part in zip(empty, *self._parts, strict=True))
        order = np.lexsort((step, slot))
        counts = np.bincount(slot, minlength=self.at.size)
        rows = self.order[self.inside]
        index = np.cumsum(self.inside) - 1
        ids, group, place = (column.numpy()[rows] for column in (self.tokens.ids, self.tokens.group, self.tokens.place))
        return TokenContexts(
            token_id=ids.astype(np.int32),
            row=rows,
            group=group,
            place=place,
            at=np.where(self.at == NONE, NONE, index[self.at]).astype(np.int32),
            offsets=np.concatenate([[0], np.cumsum(counts)]),
            step=step[order].astype(np.int16),
            value=value[order],
        )
