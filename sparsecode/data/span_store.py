"""The tokens of a text, cut into spans once: ids in a file without a name, so that memory does not grow with the text."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsecode.data.text import Spans, TextSpan, TokenBatch

__all__ = ["SpanStore", "stored_spans"]

BLOCK = 2**18  # tokens written at a time
HASHED = 2**24  # tokens hashed at a time


class SpanStore(NamedTuple):
    """n spans: where the `ids` of each begin and end (`ends`), its `group`, and the place of its first token, `start` [n] each.

    `spans` has the special tokens around them, and is used up.
    """

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    group: NDArray[np.int64]
    start: NDArray[np.int64]
    spans: Spans

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of the text in each span [n]."""
        return np.diff(self.ends, prepend=0)

    def batch(self, numbers: Sequence[int]) -> TokenBatch:
        """The spans of these numbers, padded on the right."""
        some = [
            TextSpan(
                self.ids[self.ends[i - 1] if i else 0 : self.ends[i]].tolist(), int(self.group[i]), int(self.start[i])
            )
            for i in numbers
        ]
        return self.spans.batch(some)

    def digest(self) -> bytes:
        """A hash of all tokens, and of the spans and groups that they are in."""
        hasher = hashlib.sha256(repr((self.spans.prefix, self.spans.suffix)).encode())
        for array in (self.ends, self.group, self.start):
            hasher.update(array.data)
        for begin in range(0, len(self.ids), HASHED):
            hasher.update(np.ascontiguousarray(self.ids[begin : begin + HASHED]).data)
        return hasher.digest()


def stored_spans(spans: Spans, most: int | None = None) -> SpanStore:
    """The spans in a file of 4 bytes per token in the folder of temporary files, which the system removes with the process; and 24 bytes
    per span in memory. The first spans with `most` tokens of the text, if it is given, at least one.
    """
    waiting: list[int] = []
    lengths: list[int] = []
    places: list[tuple[int, int]] = []
    total = 0
    with tempfile.TemporaryFile() as file:  # the mapping lives on when it is closed
        for span in spans.spans:
            if most is not None and total + len(span.ids) > most and lengths:
                break
            waiting += span.ids
            total += len(span.ids)
            lengths.append(len(span.ids))
            places.append((span.group, span.start))
            if len(waiting) >= BLOCK:
                file.write(np.asarray(waiting, np.int32).data)
                waiting.clear()
        file.write(np.asarray(waiting, np.int32).data)
        file.flush()
        ids: Any = np.memmap(file, np.int32, "r", shape=(total,))
    group, start = np.asarray(places, np.int64).T.copy()
    return SpanStore(ids, np.cumsum(np.asarray(lengths, np.int64)), group, start, spans)
