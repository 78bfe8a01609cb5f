"""The tokens of rows: where they come from, what is taken of them, and their neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sparsecode.data import Arrays, TokenColumns, Tokens, context, contexts
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
