"""The tokens of rows: where they come from, what is taken of them, and their neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sparsecode.data import Arrays, Shards, ShardWriter, TokenColumns, Tokens, context, contexts
from sparsecode.data.shard_index import read_index
from sparsecode.data.splits import Split


def shuffled() -> Tokens:
    """Two texts of five and three tokens, in sequences of three; the row of place 1 of the first one was left out."""
    place = torch.tensor([0, 2, 3, 4, 0, 1, 2])
    group = torch.tensor([7, 7, 7, 7, 9, 9, 9])
    order = torch.tensor([3, 5, 0, 6, 2, 4, 1])
    return Tokens((10 * group + place)[order], place[order] % 3, group[order], place[order])


def test_neighbours_are_of_the_same_text_in_order() -> None:
    tokens = shuffled()
    row = int((tokens.ids == 72).nonzero())
    assert tokens.ids[context(tokens, row, 1, 1)].tolist() == [70, 72, 73]
    assert tokens.ids[context(tokens, row, 5, 5)].tolist() == [70, 72, 73, 74]
    together = contexts(tokens, torch.tensor([row, int((tokens.ids == 90).nonzero())]), 1, 2)
    assert torch.where(together < 0, -1, tokens.ids[together]).tolist() == [[70, 72, 73, 74], [-1, 90, 91, 92]]
    with pytest.raises(IndexError, match="rows 7 to 7; expected 0 to 6"):
        context(tokens, 7, 1, 1)


def test_tokens_follow_their_rows_and_are_read_when_asked_for() -> None:
    calls = 0

    def read() -> TokenColumns:
        nonlocal calls
        calls += 1
        return shuffled().columns

    split = Split(torch.arange(7.0)[:, None], tokens=Tokens.lazy(read, "folder"))
    some = split.take(torch.tensor([4, 1])).to(torch.device("cpu"), torch.float64)
    assert calls == 0
    assert some.tokens is not None
    assert some.tokens.ids.tolist() == shuffled().ids[[4, 1]].tolist()
    assert (some.tokens.tokenizer, len(some.tokens), calls) == ("folder", 2, 1)
    with pytest.raises(ValueError, match="2 ids, 3 positions"):
        Tokens(torch.ones(2), torch.ones(3), torch.ones(3))


@pytest.mark.parametrize("block", [1, 5])
def test_an_archive_with_tokens_gives_them_to_the_splits(block: int, tmp_path: Path) -> None:
    n = 100
    x = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    ids, position = np.arange(n, dtype=np.uint16), (np.arange(n) % 5 + 1).astype(np.uint8)
    np.savez(tmp_path / "a.npz", acts=x, token_ids=ids, position=position)
    splits = Arrays(str(tmp_path / "a.npz"), key="acts", block=block).load()
    for split in (splits.train, splits.valid, splits.test):
        assert split.tokens is not None
        assert torch.equal(split.x, torch.from_numpy(x)[split.tokens.ids])
        assert torch.equal(split.tokens.group, split.tokens.ids // 5)
        assert torch.equal(split.tokens.position, split.tokens.ids % 5 + 1)
    np.savez(tmp_path / "a.npz", acts=x, token_ids=ids.astype(float), position=position)
    assert Arrays(str(tmp_path / "a.npz"), key="acts").load().train.tokens is None


def append_texts(writer: ShardWriter, *, start: int = 0, stop: int | None = None) -> None:
    """Sixty texts of ten tokens each, in sequences of six; the row of each token says which it is."""
    for number in range(start, 60 if stop is None else stop):
        place = torch.arange(10)
        tokens = Tokens(100 * number + place, place % 6, torch.full((10,), number), place)
        writer.append(tokens.ids[:, None].float(), number, tokens=tokens, left_out={"special": 2})


@pytest.mark.parametrize("stop", [None, 31])
def test_shards_keep_tokens(stop: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when they are interrupted and go on."""
    monkeypatch.setattr("sparsecode.data.shard_writer.BLOCK", 1000)
    settings: dict[str, Any] = {
        "rows_per_shard": 90,
        "valid": 0.2,
        "test": 0.2,
        "dtype": "float32",
        "provenance": {"tokenizer": "t"},
    }
    whole = tmp_path / "whole"
    with ShardWriter(whole, **settings) as writer:
        append_texts(writer)
    if stop is not None:
        cut = ShardWriter(tmp_path / "cut", **settings).__enter__()
        append_texts(cut, stop=stop)
        cut.__exit__(KeyboardInterrupt)
        with ShardWriter(tmp_path / "cut", **settings) as writer:
            assert 20 < writer.appended <= stop
            append_texts(writer, start=writer.appended)
        assert {p.name: p.read_bytes() for p in whole.iterdir()} == {
            p.name: p.read_bytes() for p in (tmp_path / "cut").iterdir()
        }
    assert read_index(whole).left_out == {"special": 120}
    splits = Shards(path=str(whole), held=7).load()
    for split, least in ((splits.train, 200), (splits.valid, 30), (splits.test, 30)):
        tokens = split.tokens
        assert tokens is not None
        assert tokens.tokenizer == "t"
        assert split.n == 7
        assert len(tokens) > least  # the neighbours of the rows held are there
        assert torch.equal(split.x[:, 0].long(), tokens.ids[:7])
        for rows in (slice(-3, None), slice(2, 100), split.x[:, 0] > split.x[0, 0], torch.tensor([-1, 0])):
            some = split.take(rows)
            assert some.tokens is not None
            assert torch.equal(some.x[:, 0].long(), some.tokens.ids)
        row = int(((tokens.place == 6) & (tokens.group == tokens.group[0])).nonzero())
        assert tokens.place[context(tokens, row, 2, 9)].tolist() == [4, 5, 6, 7, 8, 9]
        assert torch.equal(tokens.group, tokens.ids // 100)
        assert torch.equal(tokens.position, tokens.place % 6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.ones(3, 3), r"sites have .*'tokens': 2"),
        ({"place": torch.ones(2, 3)}, r"none 'group' or .*'place'"),
    ],
)
def test_tokens_are_of_all_rows(rows: Tensor | dict[str, Tensor], message: str, tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "data").__enter__()
    tokens = Tokens(torch.ones(2), torch.ones(2), torch.ones(2))
    with pytest.raises(ValueError, match=message):
        writer.append(rows, 0, tokens=tokens)
    writer.__exit__(KeyboardInterrupt)
    writer = ShardWriter(tmp_path / "data").__enter__()
    writer.append(torch.ones(2, 3), 0)
    with pytest.raises(ValueError, match="some rows have tokens and some have none"):
        writer.append(torch.ones(2, 3), 1, tokens=tokens)
    writer.__exit__(KeyboardInterrupt)
