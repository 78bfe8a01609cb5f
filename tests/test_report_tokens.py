"""Tokens in context in a report: the texts of a tokenizer, around the right token, as data."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

import sparsecode as sc
from sparsecode.cli.main import main
from sparsecode.data import ShardWriter, Tokens
from sparsecode.data.language_models import tokenizer_files
from sparsecode.data.recorded_host import HOST, RecordedHost
from sparsecode.data.shards import Shards
from sparsecode.evaluate import read_features
from sparsecode.models import Amortised, save_model
from sparsecode.nn import TopK
from sparsecode.reports.builders.foreign import source_of_file
from sparsecode.reports.builders.source import source_of_run
from sparsecode.reports.builders.whole import build_document
from sparsecode.reports.document import read_document
from sparsecode.runs import RunFolder
from sparsecode.specs import to_json

WORDS = ["<b>zero", *(f"w{i}" for i in range(1, 9))]
D, TEXTS, LENGTH = 8, 40, 20


def saved_words(folder: Path) -> None:
    """A tokenizer with these words."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="w1"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner).save_pretrained(folder)


def write_shards(folder: Path, provenance: dict[str, str]) -> None:
    """Texts whose token i is (i + the text's number) mod 9."""
    rng = torch.Generator().manual_seed(0)
    with ShardWriter(folder, rows_per_shard=200, valid=0.1, test=0.2, provenance=provenance) as writer:
        for text in range(TEXTS):
            place = torch.arange(LENGTH)
            tokens = Tokens((place + text) % 9, place, torch.full((LENGTH,), text))
            writer.append(torch.randn(LENGTH, D, generator=rng), text, tokens=tokens)


def test_tokens_stand_in_their_context(tmp_path: Path) -> None:
    """Token i of text t is (i + t) mod 9, so that the words of a context follow each other."""
    saved_words(tmp_path / "words")
    write_shards(tmp_path / "shards", {})
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
    assert "the data do not say which tokenizer made them" in plain.head.warnings[-1].text


@pytest.mark.filterwarnings("ignore:loss recovered is left out")
def test_the_data_name_their_tokenizer(tmp_path: Path) -> None:
    """No --tokenizer is needed where shards say which made them; one whose files have changed is not read."""
    saved_words(tmp_path / "words")
    host = RecordedHost(str(tmp_path / "words"), str(tmp_path / "no text"), ("h",), LENGTH)
    provenance = {HOST: to_json(host).decode(), "tokenizer_files": tokenizer_files(tmp_path / "words")}
    write_shards(tmp_path / "shards", provenance)
    save_model(Amortised(n_code=16, activation=TopK(k=3)).build((D,), seed=0), tmp_path / "model", {})
    source = source_of_file(tmp_path / "model", tmp_path / "shards", "a model")
    (report,) = build_document([source], n_codes=4).runs
    assert report.pool is not None
    assert {*report.pool.tokens} <= {*WORDS}
    assert not any("token" in warned.text for warned in report.head.warnings)
    with (tmp_path / "words" / "tokenizer_config.json").open("a") as file:
        file.write(" ")
    (report,) = build_document([source], n_codes=4).runs
    assert report.pool is not None
    assert {*report.pool.tokens} <= {f"[{i}]" for i in range(9)}
    assert "its files are not those that made the tokens" in report.head.warnings[-1].text
    assert "--tokenizer" in report.head.warnings[-1].remedy


def test_stored_features_are_read(tmp_path: Path) -> None:
    """Those of the same rows with their contexts, of other rows the texts alone."""
    saved_words(tmp_path / "words")
    write_shards(tmp_path / "shards", {})
    config = sc.Run(
        data=Shards(path=str(tmp_path / "shards")),
        model=Amortised(n_code=16, activation=TopK(k=3)),
        optim=sc.train.Optim({"*": sc.train.Adam(lr=1e-3)}),
        train=sc.train.Train(epochs=1, batch_size=64, select="last"),
    )
    run = tmp_path / "run"
    sc.run(config, run, accelerator="cpu", figures=False)
    words = ["features", str(run), "--tokenizer", str(tmp_path / "words"), "--before", "1", "--after", "0"]
    longest: list[int] = []
    for split in ("train", "test"):
        assert main([*words, "--split", split, "--force"]) == 0
        folder = RunFolder(run)
        (report,) = build_document([source_of_run(folder, "run", folder.splits())]).runs
        assert report.pool is not None
        assert report.codes is not None
        assert {*report.pool.tokens} <= {*WORDS}
        bands = [band for detail in report.codes.details for band in detail.bands]
        longest.append(max(len(e.context.tokens) for band in bands for e in band.examples if e.context is not None))
        assert {band.label for band in bands if len(band.examples) > (8 if band.kind == "top" else 2)} == set()
        stored, z = read_features(run), folder.best_model().encode(source_of_run(folder, "", folder.splits()).samples.x)
        if split == "test":
            rows = report.pool.rows.values()
            for detail in report.codes.details:
                top = [rows[example.sample] for example in detail.bands[0].examples]
                assert top == [e.row for e in stored.code(detail.code).examples[: len(top)]]
                assert top[0] == int(z[:, detail.code].abs().argmax())
    assert longest[0] > 10
    assert longest[1] == 2
