"""Activations of any module by hook, of a language model's folder as shards, and the loss recovered through them."""

from __future__ import annotations

import gzip
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sparsecode.cli import main
from sparsecode.data import Shards, extract
from sparsecode.data.hooks import longest
from sparsecode.data.shard_index import read_index
from sparsecode.data.text import token_batches
from sparsecode.data.token_rows import successive
from sparsecode.evaluate.reconstruction.loss_recovered import loss_recovered

transformers = pytest.importorskip("transformers")

WORDS = [f"w{i}" for i in range(40)]


class Counted(nn.Module):
    """Twice its input; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return 2 * x


class Pair(nn.Module):
    """A tuple, as transformer blocks give it."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, str]:
        return x if y is None else x + y, "state"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.pair, self.last = nn.Linear(3, 4), nn.Dropout(0.5), Pair(), Counted()
        self.unused = nn.Identity()

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.last(self.pair(self.drop(self.first(x)), y)[0])


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def test_activations_are_those_of_the_submodule(net: Net, rng: torch.Generator) -> None:
    batches = [torch.randn(5, 3, generator=rng), torch.randn(2, 7, 3, generator=rng)]
    result = list(extract(net, "first", batches))
    assert all(torch.equal(a, net.first(x)) and not a.requires_grad for a, x in zip(result, batches, strict=True))


def test_batches_are_tensors_tuples_or_named_arguments(net: Net, rng: torch.Generator) -> None:
    x, y = torch.randn(5, 3, generator=rng), torch.randn(5, 4, generator=rng)
    assert all(torch.equal(a, net.first(x) + y) for a in extract(net, "pair", [(x, y), {"x": x, "y": y}]))


def test_what_comes_after_the_hook_point_is_not_computed(net: Net) -> None:
    assert len(list(extract(net, "pair", [torch.ones(1, 3)] * 3))) == 3
    assert net.last.calls == 0


def test_several_hook_points_are_of_one_forward_pass(net: Net, rng: torch.Generator) -> None:
    batches = [torch.randn(5, 3, generator=rng), torch.randn(2, 3, generator=rng)]
    result = list(extract(net, ("pair", "first"), batches))
    for outputs, x in zip(result, batches, strict=True):
        assert list(outputs) == ["pair", "first"]
        assert torch.equal(outputs["first"], net.first(x))
        assert torch.equal(outputs["pair"], outputs["first"])  # no dropout in evaluation mode
    assert net.last.calls == 0
    with pytest.raises(ValueError, match=r"hook_point 'unused': the forward pass of Net never calls it"):
        next(extract(net, ("first", "unused"), batches))
    with pytest.raises(ValueError, match=r"hook_point \['first', 'first'\]: expected at least one, and each once"):
        next(extract(net, ["first", "first"], batches))


def test_what_is_kept_does_not_change_in_place() -> None:
    module = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    (result,) = extract(module, ("0", "1"), [torch.tensor([[-1.0, 2.0]])])
    assert result["0"].tolist() == [[-1, 2]]
    assert result["1"].tolist() == [[0, 2]]


def test_the_module_is_left_as_it_was(net: Net) -> None:
    net.last.eval()
    for _ in extract(net, "drop", [torch.ones(1, 3)]):
        assert not net.drop.training
    assert [part.training for part in (net, net.first, net.drop, net.last)] == [True, True, True, False]
    assert not net.drop._forward_hooks
    net(torch.ones(1, 3))
    assert net.last.calls == 1


@pytest.mark.parametrize(
    ("hook_point", "message"),
    [
        ("third", r"hook_point 'third': no such submodule of Net; choose from first, drop, pair, last, unused"),
        (
            "first.deeper",
            r"hook_point 'first\.deeper': no such submodule of Net; choose from first, drop, pair, last, unused",
        ),
        ("unused", r"hook_point 'unused': the forward pass of Net never calls it"),
    ],
)
def test_hook_points_that_cannot_be_are_named(hook_point: str, message: str, net: Net) -> None:
    with pytest.raises(ValueError, match=message):
        next(extract(net, hook_point, [torch.ones(1, 3)]))


def test_a_hook_point_without_a_tensor_is_named() -> None:
    class Wordy(nn.Module):
        def forward(self, x: Tensor) -> str:
            return "no tensor"

    with pytest.raises(ValueError, match="hook_point '0': gives str; expected a tensor"):
        next(extract(nn.Sequential(Wordy()), "0", [torch.ones(1)]))


# A Hugging Face model folder, made here


def tokenizer(special: bool) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    if special:
        inner.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT of random weights and its tokenizer."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=44, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer(special=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1000 words in lines of ten; every 13th is unknown."""
    words = [WORDS[(i * i + i // 7) % 40] if i % 13 else "stranger" for i in range(1000)]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(" ".join(words[i : i + 10]) for i in range(0, 1000, 10)))
    return path


def ids_of(text: Path) -> list[int]:
    return [WORDS.index(w) + 4 if w in WORDS else 1 for w in text.read_text().split()]


def command(model: Path, text: Path, out: Path, *options: str) -> list[str]:
    return [
        "extract", str(model), str(text), "--hook-point", "encoder.layer.1", "--out", str(out), "--length", "12",
        "--batch-size", "8", "--valid", "0.1", "--test", "0.2", "--dtype", "float32", "--rows-per-shard", "300",
        *options,
    ]  # fmt: skip


def rows_of(folder: Path) -> dict[int, Tensor]:
    """All rows by group, sorted by their first value."""
    index = read_index(folder)
    files = [load_file(folder / shard.file) for part in (index.train, index.valid, index.test) for shard in part]
    x, group = torch.cat([file["x"] for file in files]), torch.cat([file["group"] for file in files])
    return {int(g): in_order(x[group == g]) for g in group.unique()}


def in_order(rows: Tensor) -> Tensor:
    return rows[rows[:, 0].argsort()]


def expected_rows(model: Path, ids: list[int], special: bool = False) -> Tensor:
    """The layer's rows for one span, by the model's own means."""
    network = transformers.BertModel.from_pretrained(model)
    with torch.no_grad():
        result = network(torch.tensor([[2, *ids, 3]]), output_hidden_states=True).hidden_states[2][0]
    return in_order(result if special else result[1:-1])


def test_a_text_becomes_shards_to_train_on(
    bert: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(bert, text, tmp_path / "acts")) == 0
    assert "rows of shape (16,) in float32" in capsys.readouterr().out.replace("\n", " ")
    result, ids = rows_of(tmp_path / "acts"), ids_of(text)
    assert sum(map(len, result.values())) == 1000  # no padding, no special tokens
    assert sorted(result) == list(range(100))  # spans of ten
    for span in (0, 57, 99):
        expected = expected_rows(bert, ids[10 * span : 10 * span + 10])
        torch.testing.assert_close(result[span], expected, rtol=1e-4, atol=1e-5)
    provenance = read_index(tmp_path / "acts").provenance
    assert provenance["hook_point"] == "encoder.layer.1"
    assert provenance["text"] == f"text.txt, {text.stat().st_size} bytes"
    assert Shards(path=str(tmp_path / "acts")).load().shape == (16,)
    assert main(command(bert, text, tmp_path / "acts")) == 3
    assert "holds shards already" in capsys.readouterr().err


def test_documents_stay_whole_and_special_tokens_may_stay(bert: Path, text: Path, tmp_path: Path) -> None:
    ids, words = ids_of(text), text.read_text().split()
    lengths = [1, 9, 10, 11, 25] * 8
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    documents = [" ".join(words[s : s + n]) for s, n in zip(starts, lengths, strict=True)]
    path = tmp_path / "documents.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps({"text": d, "more": 1}) for d in documents).encode()))
    assert main(command(bert, path, tmp_path / "acts", "--keep-special")) == 0
    result = rows_of(tmp_path / "acts")
    assert sorted(result) == list(range(40))
    for number, (start, n) in enumerate(zip(starts[:5], lengths[:5], strict=True)):
        spans = [ids[i : min(i + 10, start + n)] for i in range(start, start + n, 10)]
        expected = in_order(torch.cat([expected_rows(bert, span, special=True) for span in spans]))
        torch.testing.assert_close(result[number], expected, rtol=1e-4, atol=1e-5)


def test_two_layers_and_neighbouring_tokens_are_sites(
    bert: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = ("encoder.layer.0", "encoder.layer.1")
    assert main(command(bert, text, tmp_path / "one")) == 0
    assert main(command(bert, text, tmp_path / "two", "--hook-point", *layers)) == 0
    assert "(16,) of encoder.layer.0, (16,) of encoder.layer.1 in float32" in " ".join(capsys.readouterr().out.split())
    one = Shards(path=str(tmp_path / "one")).load()
    two = Shards(path=str(tmp_path / "two"), sites=layers[:1], target=layers[1]).load()
    assert two.train.target is not None
    assert torch.equal(two.train.target, one.train.x)  # the same rows in the same order
    assert not torch.equal(two.train.x, one.train.x)
    assert Shards(path=str(tmp_path / "two")).load().shape == (2, 16)

    assert main(command(bert, text, tmp_path / "pairs", "--window", "2")) == 0
    pairs = Shards(path=str(tmp_path / "pairs")).load()
    firsts = {tuple(row) for part in (one.train, one.valid, one.test) for row in part.x.tolist()}
    n = sum(part.n for part in (one.train, one.valid, one.test))
    for part in (pairs.train, pairs.valid, pairs.test):
        assert {tuple(row) for row in part.x.flatten(0, 1).tolist()} <= firsts
    spans = -(-n // 10)  # each gives a pair less than it has tokens
    assert sum(part.n for part in (pairs.train, pairs.valid, pairs.test)) == n - spans
    for options, message in (
        ("--window 13", "--window 13: expected 1 to --length, 12"),
        ("--hook-point a a", "each once"),
    ):
        assert main(command(bert, text, tmp_path / "no", *options.split())) != 0
        assert message in " ".join(capsys.readouterr().err.split())


def test_successive_tokens_are_rows_together() -> None:
    x = torch.arange(8.0).reshape(2, 4, 1)
    chosen = torch.tensor([[0, 1, 1, 1], [0, 1, 0, 0]], dtype=torch.bool)
    sites, whole = successive({"a": x}, chosen, 2)
    assert {name: value.flatten().tolist() for name, value in sites.items()} == {"a": [1, 2], "a+1": [2, 3]}
    assert whole.nonzero().tolist() == [[0, 1], [0, 2]]
    assert successive({"a": x}, chosen, 5)[0]["a"].shape == (0, 1)


def test_interrupted_it_goes_on_to_the_same_shards(
    bert: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sparsecode.data import ShardWriter

    assert main(command(bert, text, tmp_path / "whole")) == 0
    monkeypatch.setattr("sparsecode.data.shard_writer.BLOCK", 10_000)  # two batches
    real, calls = ShardWriter.append, 0

    def stop(self: ShardWriter, rows: Tensor, group: Tensor | int, **others: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        real(self, rows, group, **others)

    monkeypatch.setattr(ShardWriter, "append", stop)
    assert main(command(bert, text, tmp_path / "cut")) == 130
    assert main(command(bert, text, tmp_path / "cut")) == 0
    assert "after 6 batches" in capsys.readouterr().out.replace("\n", " ")
    assert calls == 8 + 13 - 6
    whole, cut = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("whole", "cut"))
    assert whole == cut


def test_tokenizers_without_special_tokens_fill_the_span(text: Path) -> None:
    batches = list(token_batches(text, tokenizer(special=False), length=12, batch_size=8))
    assert torch.cat([b.inputs["input_ids"][b.is_text] for b in batches]).tolist() == ids_of(text)
    assert [len(b.is_text) for b in batches] == [8] * 10 + [4]
    assert batches[-1].is_text.sum(dim=1).tolist() == [12, 12, 12, 4]
    assert batches[-1].inputs["attention_mask"].sum(dim=1).tolist() == [12, 12, 12, 4]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("none.txt", None, r"none\.txt: no such file; expected a text, documents in a \.jsonl or \.parquet file"),
        ("a.txt", b"  \n ", r"a\.txt: no text in it"),
        ("a.txt", b"w1 \xff\xfe", r"a\.txt: not a text in UTF-8"),
        ("a.txt.gz", b"w1", r"a\.txt\.gz: damaged or cut short"),
        ("a.jsonl", b'{"text": "w1"}\n{"words": 1}', r"a\.jsonl: line 2: .* expected \{\"text\": \"\.\.\.\"\}"),
    ],
)
def test_texts_that_cannot_be_read_are_named(name: str, data: bytes | None, message: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        list(token_batches(tmp_path / name, tokenizer(special=True), length=12, batch_size=1))


def test_a_span_has_room_for_text(text: Path) -> None:
    with pytest.raises(ValueError, match="length is 2; expected more than the 2 special tokens"):
        next(token_batches(text, tokenizer(special=True), length=2))


def test_a_wrong_folder_and_a_missing_package_are_named(
    bert: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*options: str, model: Path = bert) -> str:
        assert main(command(model, text, tmp_path / "acts", *options)) != 0
        return " ".join(capsys.readouterr().err.split())

    assert f"{tmp_path}: not a Hugging Face model folder (no config.json in it)" in said(model=tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert f"{tmp_path}: cannot be loaded" in said(model=tmp_path)
    assert "length 64: expected at most 32" in said("--length", "64")
    assert "the nearest of its 65 are encoder.layer.1, " in said("--hook-point", "encoder.layers.1")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install 'sparsecode[lm]'" in said()


SMALL = {"vocab_size": 44, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TABLES = {
    "Bert": {**SMALL, "intermediate_size": 16, "max_position_embeddings": 34},
    "Roberta": {**SMALL, "intermediate_size": 16, "max_position_embeddings": 34},
    "Esm": {**SMALL, "intermediate_size": 16, "max_position_embeddings": 34, "pad_token_id": 1},
    "OPT": {**SMALL, "ffn_dim": 16, "max_position_embeddings": 34, "word_embed_proj_dim": 16},
    "GPT2": {"vocab_size": 44, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 34},
}


@pytest.mark.parametrize(("name", "most"), [("Bert", 34), ("Roberta", 32), ("Esm", 32), ("OPT", 34), ("GPT2", 34)])
def test_the_longest_sequence_is_what_the_model_really_takes(name: str, most: int) -> None:
    config = getattr(transformers, f"{name}Config")(**TABLES[name])
    network = getattr(transformers, f"{name}Model")(config).eval()
    assert longest(network) == most
    with torch.no_grad():
        network(input_ids=torch.full((1, most), 5))
        with pytest.raises((IndexError, RuntimeError)):
            network(input_ids=torch.full((1, most + 1), 5))


class Relative(nn.Module):
    """A model without tables of positions."""

    def __init__(self, limit: int | None) -> None:
        super().__init__()
        self.config = SimpleNamespace(max_position_embeddings=limit)


@pytest.mark.parametrize("limit", [None, -1, 0])
def test_models_with_relative_positions_have_no_longest_sequence(limit: int | None, net: Net) -> None:
    """T5's config has no such number, XLNet's says -1."""
    assert longest(net) is None
    assert longest(Relative(limit)) is None


def test_lengths_between_the_table_and_what_it_serves_are_refused(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "roberta"
    transformers.RobertaModel(transformers.RobertaConfig(**TABLES["Roberta"])).save_pretrained(folder)
    tokenizer(special=True).save_pretrained(folder)
    run = command(folder, text, tmp_path / "acts", "--hook-point", "encoder.layer.0", "--length")
    for length in ("33", "34"):
        assert main([*run, length]) != 0
        assert f"length {length}: expected at most 32, the most that roberta takes" in " ".join(
            capsys.readouterr().err.split()
        )
    assert not (tmp_path / "acts").exists()
    assert main([*run, "32"]) == 0


# Loss recovered


@pytest.fixture(scope="module")
def gpt() -> Any:
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=44, n_embd=16, n_layer=2, n_head=2, n_positions=16)
    return transformers.GPT2LMHeadModel(config)


@pytest.fixture(scope="module")
def tokens() -> list[dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(44, (30, 12), generator=rng)
    return [{"input_ids": part} for part in ids.split([8, 8, 14])]


def next_token_loss(output: Any, batch: dict[str, Tensor]) -> Tensor:
    logits, ids = output.logits[:, :-1], batch["input_ids"][:, 1:]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none")


def test_a_perfect_reconstruction_recovers_all_and_zeros_nothing(gpt: Any, tokens: list[dict[str, Tensor]]) -> None:
    perfect = loss_recovered(gpt, "transformer.h.0", tokens, next_token_loss, lambda x: x)
    assert perfect.replaced == perfect.clean
    assert perfect.recovered == perfect.recovered_from_mean == 1
    nothing = loss_recovered(gpt, "transformer.h.0", tokens, next_token_loss, torch.zeros_like)
    assert nothing.recovered == 0
    assert nothing.zero == nothing.replaced != nothing.clean
    with torch.no_grad():
        gpt.eval()
        losses = torch.cat([next_token_loss(gpt(**batch), batch) for batch in tokens])
    assert perfect.clean == pytest.approx(float(losses.double().mean()), rel=1e-9)


def test_the_mean_row_recovers_nothing_from_the_mean(gpt: Any, tokens: list[dict[str, Tensor]]) -> None:
    rows = torch.cat([x.flatten(0, 1) for x in extract(gpt, "transformer.h.0", tokens)])
    mean = rows.mean(dim=0)
    result = loss_recovered(gpt, "transformer.h.0", tokens, next_token_loss, lambda x: mean.expand_as(x))
    assert result.mean == pytest.approx(result.replaced, rel=1e-6)
    assert abs(result.recovered_from_mean) < 1e-3


@pytest.mark.filterwarnings("ignore:recovered is NaN")  # an untrained network may do as well without the layer
def test_rows_that_are_not_kept_stay_as_they_are(gpt: Any, tokens: list[dict[str, Tensor]]) -> None:
    def without_first(batch: dict[str, Tensor]) -> Tensor:
        return (torch.arange(12) > 0).expand(batch["input_ids"].shape)

    seen: list[Tensor] = []

    def watch(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    result = loss_recovered(gpt, "transformer.h.0", tokens, next_token_loss, watch, keep=without_first)
    assert torch.cat(seen).shape == (30 * 11, 16)
    everything = loss_recovered(gpt, "transformer.h.0", tokens, next_token_loss, watch)
    assert result.clean == everything.clean
    assert result.zero != everything.zero


def test_no_share_where_the_baseline_is_no_worse_than_the_output_as_it_is() -> None:
    module, batches = torch.nn.Sequential(torch.nn.Linear(4, 4)), [torch.eye(4)]
    wanted = module(torch.eye(4)).detach()

    def size(output: Tensor, _: Tensor) -> Tensor:
        return output.detach().square().sum(dim=1)

    with pytest.warns(UserWarning, match=r"recovered(_from_mean)? is NaN: .* choose a hook point") as said:
        result = loss_recovered(module, "0", batches, size, lambda x: 0.5 * x)
    assert "replaced by zeros the loss is 0, and " in str(said[0].message)
    assert result.zero < result.replaced < result.clean
    assert math.isnan(result.recovered)

    def towards(output: Tensor, _: Tensor) -> Tensor:
        return (output.detach() - wanted).square().sum(dim=1)

    # the clean loss is 0, and zeros are worse: no warning
    result = loss_recovered(module, "0", batches, towards, lambda x: 0.5 * x)
    assert result.recovered == pytest.approx(0.75)


def test_batches_and_hook_points_that_give_nothing_are_refused(gpt: Any, tokens: list[dict[str, Tensor]]) -> None:
    with pytest.raises(ValueError, match="no losses in them; expected at least one prediction"):
        loss_recovered(gpt, "transformer.h.0", [], next_token_loss, lambda x: x)
    with pytest.raises(ValueError, match=r"hook_point 'transformer\.h\.5': no such submodule"):
        loss_recovered(gpt, "transformer.h.5", tokens, next_token_loss, lambda x: x)
