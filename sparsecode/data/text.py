"""Text as batches of tokens for a language model."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

__all__ = ["TokenBatch", "Tokeniser", "bytes_of", "token_batches"]

PIECE = 2**16  # characters tokenised at a time

Tokeniser = Callable[..., Any]  # a Hugging Face tokenizer: (text, add_special_tokens=, verbose=) -> {"input_ids": ...}


class TokenBatch(NamedTuple):
    """Spans of text [B, T]: a model's named arguments, which tokens are the text's own, and whose `group` [B] they are."""

    inputs: dict[str, Tensor]
    own: Tensor
    group: Tensor


def _batch(spans: list[_Span], prefix: list[int], suffix: list[int]) -> TokenBatch:
    ids = [torch.tensor([*prefix, *span.ids, *suffix]) for span in spans]
    own = [torch.tensor([False] * len(prefix) + [True] * len(span.ids) + [False] * len(suffix)) for span in spans]
    inputs = {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
    }
    return TokenBatch(inputs, pad_sequence(own, batch_first=True), torch.tensor([span.group for span in spans]))


def bytes_of(path: Path) -> int:
    """The size of a text's file. Raises FileNotFoundError naming it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a text, or documents in a .jsonl file")
    return path.stat().st_size


class _Span(NamedTuple):
    ids: Sequence[int]
    group: int


def token_batches(
    path: Path,
    tokeniser: Tokeniser,
    *,
    length: int = 128,
    batch_size: int = 32,
    report: Callable[[int], None] = lambda _: None,
) -> Generator[TokenBatch]:
    """A text cut into spans of `length` tokens, the tokeniser's special tokens around each among them, padded on the right.

    A file whose name ends in `.jsonl` holds documents, a line each, with the text under "text": a span stays within one
    and belongs to it as its group. Any other file is one text, and every span a group of its own. Both may be gzipped.
    `report` is called with the number of bytes of the file read so far.

    Raises FileNotFoundError or ValueError naming the file if it cannot be read or holds no text, ValueError if `length`
    leaves no room for text.
    """
    full, bare = (tokeniser("a", add_special_tokens=special, verbose=False)["input_ids"] for special in (True, False))
    before = next(i for i in range(len(full)) if full[i : i + len(bare)] == bare)
    prefix, suffix = list(full[:before]), list(full[before + len(bare) :])
    room = length - len(prefix) - len(suffix)
    if room < 1:
        raise ValueError(f"length is {length}; expected more than the {length - room} special tokens of each span")
    empty = True
    with _opened(path, report) as lines:
        spans = _spans(path, lines, tokeniser, room)
        while some := list(islice(spans, batch_size)):
            empty = False
            yield _batch(some, prefix, suffix)
    if empty:
        raise ValueError(f"{path}: no text in it")


def _spans(path: Path, lines: Iterator[str], tokeniser: Tokeniser, room: int) -> Iterator[_Span]:
    numbers = count()
    documents = path.name.removesuffix(".gz").endswith(".jsonl")
    for pieces in ([text] for text in _texts(path, lines)) if documents else [_pieces(lines)]:
        document = next(numbers) if documents else None
        ids: list[int] = []
        for piece in pieces:
            ids += tokeniser(piece, add_special_tokens=False, verbose=False)["input_ids"]
            whole = len(ids) - len(ids) % room
            for start in range(0, whole, room):
                yield _Span(ids[start : start + room], next(numbers) if document is None else document)
            ids = ids[whole:]
        if ids:
            yield _Span(ids, next(numbers) if document is None else document)


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """The same text, a few lines at a time."""
    waiting: list[str] = []
    size = 0
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size >= PIECE:
            yield "".join(waiting)
            waiting.clear()
            size = 0
    yield "".join(waiting)


def _texts(path: Path, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield msgspec.json.decode(line.removeprefix("\ufeff"), type=_Document).text
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ValueError(f'{path}: line {number}: {error}; expected {{"text": "..."}} in each line') from None


class _Document(msgspec.Struct):
    text: str


@contextmanager
def _opened(path: Path, report: Callable[[int], None]) -> Generator[Iterator[str]]:
    """The lines of a text file, for as long as this holds."""

    def lines() -> Iterator[str]:
        for line in text:
            report(raw.tell())
            yield line

    bytes_of(path)
    with (
        path.open("rb") as raw,
        gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else nullcontext(raw) as packed,
        io.TextIOWrapper(packed, "utf-8", newline="") as text,
    ):
        try:
            yield lines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not a text in UTF-8 ({error})") from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: damaged or cut short ({error})") from None
