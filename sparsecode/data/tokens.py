"""Tokens that activations belong to."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["TokenColumns", "Tokens", "context", "contexts", "tokens_of_arrays"]


class TokenColumns(NamedTuple):
    """For each of n rows: the token's id, its position in the sequence that the model was given, the number of its text (the group
    that stays in one split), and its place in that text, counted in tokens. All [n], int64."""

    ids: Tensor
    position: Tensor
    group: Tensor
    place: Tensor


@final
class Tokens:
    """The token of each row of a split: `ids`, `position`, `group`, `place` [n], int64, on the CPU, as `TokenColumns` says.

    `place` is `position` where it is not given. A text longer than the model's sequence is cut into several, so that positions repeat
    in a group, and places do not. `tokenizer` names the folder of the tokenizer, if it is known. Columns made by `lazy` are read when
    they are first asked for. Rows that were left out (special tokens, those skipped) are gaps in `place`.

    A split of shards has the tokens of all rows on disk, `Split.x` the first of them: row i of both is the same, and neighbours
    may be rows that `x` does not hold.
    """

    def __init__(
        self,
        ids: Tensor,
        position: Tensor,
        group: Tensor,
        place: Tensor | None = None,
        tokenizer: str | None = None,
    ) -> None:
        ids, position, group, place = (
            each.long().cpu() for each in (ids, position, group, position if place is None else place)
        )
        if len({len(ids), len(position), len(group), len(place)}) > 1:
            raise ValueError(
                f"tokens have {len(ids)} ids, {len(position)} positions, {len(group)} groups and {len(place)} places; expected as many "
                "of each"
            )
        columns = TokenColumns(ids, position, group, place)
        self._read: Callable[[], TokenColumns] = partial(TokenColumns, *columns)
        self.tokenizer = tokenizer

    @classmethod
    def lazy(cls, read: Callable[[], TokenColumns], tokenizer: str | None = None) -> Tokens:
        """Tokens whose columns `read` gives when one of them is first asked for."""
        result = cls.__new__(cls)
        result._read, result.tokenizer = read, tokenizer
        return result

    @cached_property
    def columns(self) -> TokenColumns:
        return self._read()

    @property
    def ids(self) -> Tensor:
        """The tokens' ids [n]."""
        return self.columns.ids

    @property
    def position(self) -> Tensor:
        """Positions in the sequences that the model was given [n], from 0."""
        return self.columns.position

    @property
    def group(self) -> Tensor:
        """The numbers of the texts [n]."""
        return self.columns.group

    @property
    def place(self) -> Tensor:
        """Places in the texts, in tokens [n]."""
        return self.columns.place

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Tensor | slice, n: int | None = None) -> Tokens:
        """The tokens of these rows, of the first n; read when they are first asked for."""
        return Tokens.lazy(partial(_taken, self, rows, n), self.tokenizer)

    @cached_property
    def text_order(self) -> tuple[Tensor, Tensor]:
        """The rows [n] by group, place and position (special tokens have the place of a neighbour), and the rank [n] of each row among them."""
        order = torch.from_numpy(np.lexsort([each.numpy() for each in (self.position, self.place, self.group)]))
        return order, torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))

    def neighbours(self, rows: Tensor, before: int, after: int) -> Tensor:
        """Row numbers [m, before + 1 + after] around rows [m], as `contexts` gives them."""
        order, rank = self.text_order
        if rows.numel() and bool(((rows < 0) | (rows >= len(order))).any()):
            raise IndexError(f"rows {int(rows.min())} to {int(rows.max())}; expected 0 to {len(order) - 1}")
        if not len(order):
            return rows.new_empty(0, before + 1 + after)
        at = rank[rows][:, None] + torch.arange(-before, after + 1)
        result = order[at.clamp(0, len(order) - 1)]
        inside = (at >= 0) & (at < len(order)) & (self.group[result] == self.group[rows][:, None])
        return torch.where(inside, result, -1)


def _taken(tokens: Tokens, rows: Tensor | slice, n: int | None) -> TokenColumns:
    there = rows if isinstance(rows, slice) else rows.cpu()
    return TokenColumns(*(column[:n][there] for column in tokens.columns))


def context(tokens: Tokens, row: int, before: int, after: int) -> Tensor:
    """The row numbers [at most before + 1 + after] of the neighbours of `row` in its text, in order of place; itself among them.

    Where rows were left out, the nearest that are there. Raises IndexError for a row that is not there.
    """
    result = contexts(tokens, torch.tensor([row]), before, after)[0]
    return result[result >= 0]


def contexts(tokens: Tokens, rows: Tensor, before: int, after: int) -> Tensor:
    """`context` of rows [m] together: [m, before + 1 + after], column `before` the rows themselves, -1 where the text ends."""
    return tokens.neighbours(rows.long().cpu(), before, after)


def tokens_of_arrays(ids: NDArray[Any] | None, position: NDArray[Any] | None, n: int) -> Tokens | None:
    """Tokens of n successive rows, from arrays of their ids and positions [n]; a text ends where the position does not grow.

    None if there are no such arrays, or they are no whole numbers [n].
    """
    if ids is None or position is None:
        return None
    if any(each.shape != (n,) or each.dtype.kind not in "iu" for each in (ids, position)):
        return None
    at = position.astype(np.int64)
    group = np.cumsum(np.diff(at, prepend=at[:1] - 1) <= 0)
    return Tokens(torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(at), torch.from_numpy(group))
