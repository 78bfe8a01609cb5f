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
import numpy as np
import torch
from msgspec import defstruct, field
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sparsecode.data.tables import table_of
from sparsecode.files import absent

__all__ = ["Spans", "TextSpan", "TokenBatch", "Tokeniser", "bytes_of", "text_spans", "token_batches"]

PIECE = 2**16  # characters tokenised at a time

Tokeniser = Callable[..., Any]  # a Hugging Face tokenizer: (text, add_special_tokens=, verbose=) -> {"input_ids": ...}


class TokenBatch(NamedTuple):
    """Spans of text [B, T]: a model's named arguments; the tokens `ids`; which of them are no padding (`real`), and which are the text's (`is_text`);
    the `place` of each in its text, that of the nearest token of the text for special ones; and whose `group` [B] they are."""

    inputs: dict[str, Tensor]
    ids: Tensor
    real: Tensor
    is_text: Tensor
    place: Tensor
    group: Tensor

    def for_decoder(self, start: int) -> TokenBatch:
        """The same for an encoder-decoder model, whose decoder gets the tokens after `start` and without the last one."""

        def later(x: Tensor, first: Tensor) -> Tensor:
            return torch.cat([first, x[:, :-1]], dim=1)

        ids = later(self.ids, torch.full_like(self.ids[:, :1], start))
        real = later(self.real, self.real[:, :1])
        is_text, place = (
            later(self.is_text, torch.zeros_like(self.is_text[:, :1])),
            later(self.place, self.place[:, :1]),
        )
        inputs = self.inputs | {"decoder_input_ids": ids, "decoder_attention_mask": real.long()}
        return TokenBatch(inputs, ids, real, is_text, place, self.group)


def bytes_of(path: Path) -> int:
    """The size of a text's file, or of all files of a table. Raises FileNotFoundError naming it."""
    table = table_of(path)
    if table is not None:
        return sum(file.stat().st_size for file in table.files)
    if not path.is_file():
        raise FileNotFoundError(
            absent(path, "a text, documents in a .jsonl or .parquet file, or the folder of a Hugging Face data set")
        )
    return path.stat().st_size


class TextSpan(NamedTuple):
    """Successive tokens of a text: their ids, the group that the span belongs to, and the place of the first."""

    ids: Sequence[int] | NDArray[np.integer[Any]]
    group: int
    start: int


class Spans(NamedTuple):
    """The spans of a text in order, and the special tokens `prefix` and `suffix` around each."""

    spans: Iterator[TextSpan]
    prefix: list[int]
    suffix: list[int]

    def batch(self, spans: Sequence[TextSpan]) -> TokenBatch:
        """Some spans with the special tokens around them, padded on the right."""
        return _batch(spans, self.prefix, self.suffix)


def token_batches(
    path: Path,
    tokeniser: Tokeniser,
    *,
    length: int = 128,
    batch_size: int = 32,
    bos: int | None = None,
    column: str = "text",
    report: Callable[[int], None] = lambda _: None,
) -> Generator[TokenBatch]:
    """`text_spans` of a text, `batch_size` at a time, padded on the right. Errors as there."""
    with text_spans(path, tokeniser, length=length, bos=bos, column=column, report=report) as there:
        while some := list(islice(there.spans, batch_size)):
            yield there.batch(some)


@contextmanager
def text_spans(
    path: Path,
    tokeniser: Tokeniser,
    *,
    length: int = 128,
    bos: int | None = None,
    column: str = "text",
    report: Callable[[int], None] = lambda _: None,
) -> Generator[Spans]:
    """A text cut into spans of `length` tokens, the tokeniser's special tokens around each among them, for as long as this holds.

    A file whose name ends in `.jsonl` holds documents, a line each, with the text under `column`: a span stays within one
    and belongs to it as its group. So do the rows of a table (`tables.table_of`). Any other file is one text, and every span a group
    of its own. Files of text may be gzipped. The token `bos` is put before each span, unless the tokeniser puts it there. `report` is called with the number of bytes of the file read so far.

    Raises FileNotFoundError or ValueError naming the file if it cannot be read or holds no text, ValueError if `length`
    leaves no room for text.
    """
    full, bare = (tokeniser("a", add_special_tokens=special, verbose=False)["input_ids"] for special in (True, False))
    before = next(i for i in range(len(full)) if full[i : i + len(bare)] == bare)
    prefix, suffix = list(full[:before]), list(full[before + len(bare) :])
    if bos is not None and prefix[:1] != [bos]:
        prefix.insert(0, bos)
    room = length - len(prefix) - len(suffix)
    if room < 1:
        raise ValueError(f"length is {length}; expected more than the {length - room} special tokens of each span")
    with _documents(path, column, report) as (texts, whole):
        yield Spans(_some(_spans(texts, tokeniser, room, whole), path), prefix, suffix)


def _some(spans: Iterator[TextSpan], path: Path) -> Iterator[TextSpan]:
    """The same spans. Raises ValueError if there are none."""
    first = next(spans, None)
    if first is None:
        raise ValueError(f"{path}: no text in it")
    yield first
    yield from spans


def _batch(spans: Sequence[TextSpan], prefix: list[int], suffix: list[int]) -> TokenBatch:
    ids = [torch.tensor([*prefix, *span.ids, *suffix]) for span in spans]
    is_text = [torch.tensor([False] * len(prefix) + [True] * len(span.ids) + [False] * len(suffix)) for span in spans]
    padded = pad_sequence(ids, batch_first=True)
    mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
    column = torch.arange(padded.shape[1])[None] - len(prefix)
    last = torch.tensor([len(span.ids) - 1 for span in spans])[:, None]
    return TokenBatch(
        {"input_ids": padded, "attention_mask": mask},
        padded,
        mask.bool(),
        pad_sequence(is_text, batch_first=True),
        torch.tensor([span.start for span in spans])[:, None] + column.clamp(min=0).minimum(last),
        torch.tensor([span.group for span in spans]),
    )


def _spans(
    texts: Iterable[Iterable[str]], tokeniser: Tokeniser, room: int, whole_documents: bool
) -> Iterator[TextSpan]:
    numbers = count()
    for pieces in texts:
        document = next(numbers) if whole_documents else None
        ids: list[int] = []
        done = 0
        for piece in pieces:
            ids += tokeniser(piece, add_special_tokens=False, verbose=False)["input_ids"]
            whole = len(ids) - len(ids) % room
            for start in range(0, whole, room):
                group = next(numbers) if document is None else document
                yield TextSpan(ids[start : start + room], group, done + start)
            ids, done = ids[whole:], done + whole
        if ids:
            yield TextSpan(ids, next(numbers) if document is None else document, done)


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


def _texts(path: Path, lines: Iterator[str], column: str) -> Iterator[str]:
    kind: Any = defstruct("_Document", [("text", str, field(name=column))])
    for number, line in enumerate(lines, 1):
        try:
            yield msgspec.json.decode(line.removeprefix("\ufeff"), type=kind).text
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ValueError(
                f'{path}: line {number}: {error}; expected {{"{column}": "..."}} in each line (--column chooses the name)'
            ) from None


@contextmanager
def _documents(
    path: Path, column: str, report: Callable[[int], None]
) -> Generator[tuple[Iterator[Iterable[str]], bool]]:
    """The texts in a file, each in pieces, and whether they are documents, for as long as this holds."""
    table = table_of(path)
    if table is not None:
        yield ([text] for text in table.texts(column, report)), True
        return
    with _opened(path, report) as lines:
        if path.name.removesuffix(".gz").endswith(".jsonl"):
            yield ([text] for text in _texts(path, lines, column)), True
        else:
            yield iter([_pieces(lines)]), False


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
