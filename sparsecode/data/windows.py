"""Parts of an epoch in memory, and successive rows across them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Window", "rows_between"]


class Window(NamedTuple):
    """The k-th part of an epoch, at `place` (epoch, k): its rows as they lie there, by site, and the order to give them in."""

    place: tuple[int, int]
    rows: dict[str, Tensor]
    order: Tensor


def rows_between(ends: Sequence[int], opened: Callable[[int], Window], first: int, last: int) -> dict[str, Tensor]:
    """Rows `first` to `last` - 1 of an epoch, by site, from its parts, of which number k ends before row `ends[k]` and is `opened(k)`."""
    pieces: list[dict[str, Tensor]] = []
    while first < last:
        k = bisect_right(ends, first)
        window = opened(k)
        begin, end = ends[k] - len(window.order), min(last, ends[k])
        order = window.order[first - begin : end - begin]
        pieces.append({name: rows.index_select(0, order) for name, rows in window.rows.items()})
        first = end
    return pieces[0] if len(pieces) == 1 else {n: torch.cat([piece[n] for piece in pieces]) for n in pieces[0]}
