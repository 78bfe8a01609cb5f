"""Tokens in context in a report: the texts of a tokenizer, around the right token, as data."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from sparsecode.cli.main import main
from sparsecode.data import ShardWriter, Tokens
from sparsecode.data.shards import Shards
from sparsecode.models import Amortised, save_model
from sparsecode.nn import TopK
from sparsecode.reports.document import read_document

WORDS = ["<b>zero", *(f"w{i}" for i in range(1, 9))]
D, TEXTS, LENGTH = 8, 40, 20


def test_tokens_stand_in_their_context(tmp_path: Path) -> None:
    """Token i of text t is (i + t) mod 9, so that the words of a context follow each other."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="w1"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner).save_pretrained(tmp_path / "words")
    rng = torch.Generator().manual_seed(0)
    with ShardWriter(tmp_path / "shards", rows_per_shard=200, valid=0.1, test=0.2) as writer:
        for text in range(TEXTS):
            place = torch.arange(LENGTH)
            tokens = Tokens((place + text) % 9, place, torch.full((LENGTH,), text))
            writer.append(torch.randn(LENGTH, D, generator=rng), text, tokens=tokens)
    model = Amortised(n_code=16, activation=TopK(k=3)).build((D,), seed=0)
    save_model(model, tmp_path / "model", {})
    page, data = tmp_path / "r.html", tmp_path / "r.json"
    words = [
        "report",
        str(tmp_path / "model"),
        "--data",
        str(tmp_path / "shards"),
        "--out",
        str(page),
        "--json",
        str(data),
    ]
    assert main([*words, "--tokenizer", str(tmp_path / "words")]) == 0
    (report,) = read_document(data).runs
    test = Shards(path=str(tmp_path / "shards")).load().test
    assert test.tokens is not None
    assert report.pool is not None
    assert report.codes is not None
    assert report.pool.kind == "token"
    z = model.eval().encode(test.x).detach()
    rows = report.pool.rows.values()
    examples = 0
    for detail in report.codes.details:
        for example in (example for band in detail.bands for example in band.examples):
            context, row = example.context, int(rows[example.sample])
            assert context is not None
            assert (
                context.tokens[context.centre] == WORDS[int(test.tokens.ids[row])] == report.pool.tokens[example.sample]
            )
            numbers = [WORDS.index(token) for token in context.tokens]
            assert all((b - a) % 9 == 1 for a, b in pairwise(numbers))
            assert context.activations[context.centre] == pytest.approx(float(z[row, detail.code]), rel=1e-3)
            examples += 1
    assert examples > 100
    assert "<b>zero" not in page.read_text()
    assert main([*words, "--force"]) == 0
    (plain,) = read_document(data).runs
    assert plain.pool is not None
    assert {*plain.pool.tokens} <= {f"[{i}]" for i in range(9)}
