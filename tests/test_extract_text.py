"""What `extract` keeps of a language model on a text: tokens, positions, norms; decoders, modules of one's own, tables of documents."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparsecode.cli import main
from sparsecode.data import Shards, Split, context, extract
from sparsecode.data.hook_points import hook_path, lens_name
from sparsecode.data.hooks import longest
from sparsecode.data.shard_index import read_index
from sparsecode.data.text import token_batches

transformers = pytest.importorskip("transformers")

WORDS = [f"w{i}" for i in range(40)]
TEXT = " ".join(WORDS[(i * i + i // 7) % 40] for i in range(600))
IDS = [WORDS.index(word) + 3 for word in TEXT.split()]


def save_tokenizer(folder: Path, suffix: bool = False) -> None:
    """Of words; with a beginning-of-sequence token, which it does not put anywhere, and an end, if it is asked for."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: i for i, word in enumerate(["[PAD]", "[BOS]", "[EOS]", *WORDS])}
    inner = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    if suffix:
        inner.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
            single="$A [EOS]", special_tokens=[("[EOS]", 2)]
        )
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="[BOS]", pad_token="[PAD]").save_pretrained(
        folder
    )


SINK = pytest.mark.filterwarnings("ignore:.*position 0 holds")
GPT2: dict[str, Any] = {
    "vocab_size": 43,
    "n_embd": 8,
    "n_layer": 3,
    "n_head": 2,
    "n_positions": 16,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
T5: dict[str, Any] = {
    "vocab_size": 43,
    "d_model": 8,
    "d_kv": 4,
    "d_ff": 8,
    "num_layers": 2,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
BART: dict[str, Any] = {
    "vocab_size": 43, "d_model": 8, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 16,
    "decoder_start_token_id": 2,
}  # fmt: skip


def saved(folder: Path, name: str, suffix: bool = False, **config: Any) -> Any:
    """A model of random weights; its files are in the folder."""
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**config)).eval()
    model.save_pretrained(folder)
    save_tokenizer(folder, suffix)
    return model


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 whose first position has large rows, as those of trained ones."""
    folder = tmp_path_factory.mktemp("gpt") / "gpt"
    model = saved(folder, "GPT2", **GPT2)
    with torch.no_grad():
        model.wpe.weight[0] += 100
    model.save_pretrained(folder)
    return folder


def run(model: Path | str, text: Path, out: Path, *options: str, hook: str = "h.1") -> int:
    hooks = [] if "--hook-point" in options else ["--hook-point", hook]
    return main(
        [
            "extract", str(model), str(text), *hooks, "--out", str(out), "--length", "12", "--batch-size", "8", "--valid", "0.2",
            "--test", "0.2", "--dtype", "float32", "--rows-per-shard", "200", *options,
        ]
    )  # fmt: skip


def splits_of(folder: Path) -> list[Split]:
    splits = Shards(path=str(folder)).load()
    return [splits.train, splits.valid, splits.test]


def said(capsys: pytest.CaptureFixture[str], stream: str = "err") -> str:
    return " ".join(getattr(capsys.readouterr(), stream).split())


@SINK
def test_rows_know_their_tokens(gpt: Path, text: Path, tmp_path: Path) -> None:
    assert run(gpt, text, tmp_path / "a") == 0
    network = transformers.GPT2Model.from_pretrained(gpt).eval()
    for split in splits_of(tmp_path / "a"):
        tokens = split.tokens
        assert tokens is not None
        assert tokens.ids.tolist() == [IDS[place] for place in tokens.place]
        assert torch.equal(tokens.place, 12 * tokens.group + tokens.position)  # each span is a group
        row = int((tokens.position == 4).nonzero()[0])
        around = context(tokens, row, 4, 7)
        assert tokens.position[around].tolist() == list(range(12))
        with torch.no_grad():
            expected = network(input_ids=tokens.ids[around][None], output_hidden_states=True).hidden_states[2][0]
        torch.testing.assert_close(split.x[around], expected, rtol=1e-3, atol=1e-3)
    provenance = read_index(tmp_path / "a").provenance
    assert provenance["tokenizer"] == "gpt"
    for key, files in (("tokenizer_files", ("tokenizer.json", "tokenizer_config.json")), ("config", ("config.json",))):
        for file in files:
            assert f"{file} sha256 {hashlib.sha256((gpt / file).read_bytes()).hexdigest()}" in provenance[key]


def test_a_position_with_most_of_the_energy_is_named_and_left_out(
    gpt: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(
        UserWarning, match=r"h\.1: position 0 holds 99\.\d\d % of the energy .* --skip-first 1 or --max-n"
    ):
        assert run(gpt, text, tmp_path / "all") == 0
    assert "left out" not in said(capsys, "out")
    assert run(gpt, text, tmp_path / "skip", "--skip-first", "1") == 0
    assert "rows left out: 50 of the first position" in said(capsys, "out")
    assert run(gpt, text, tmp_path / "norm", "--max-norm", "5") == 0
    out = said(capsys, "out")
    assert "up to 5 medians of the norms in the first batch: " in out
    assert "rows left out: 50 of norms above 5 medians" in out
    for name in ("skip", "norm"):
        for split in splits_of(tmp_path / name):
            assert split.tokens is not None
            assert 0 not in split.tokens.position
    assert read_index(tmp_path / "norm").left_out == {"special tokens": 0, "norms above 5 medians": 50}


def test_interrupted_with_a_largest_norm_it_ends_in_the_same_bytes(
    gpt: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparsecode.data import ShardWriter

    options = ("--max-norm", "5", "--skip-first", "2", "--bos")
    assert run(gpt, text, tmp_path / "whole", *options) == 0
    monkeypatch.setattr("sparsecode.data.shard_writer.BLOCK", 5000)
    real, calls = ShardWriter.append, 0

    def stop(self: ShardWriter, *given: Any, **others: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        real(self, *given, **others)

    monkeypatch.setattr(ShardWriter, "append", stop)
    assert run(gpt, text, tmp_path / "cut", *options) == 130
    assert run(gpt, text, tmp_path / "cut", *options) == 0
    assert 6 < calls < 13
    whole, cut = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("whole", "cut"))
    assert whole == cut


@SINK
def test_a_beginning_of_sequence_token_stands_before_each_span_on_request(
    gpt: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(gpt, text, tmp_path / "a", "--bos", "--keep-special") == 0
    tokens = splits_of(tmp_path / "a")[0].tokens
    assert tokens is not None
    first = tokens.position == 0
    assert bool((tokens.ids[first] == 1).all())
    assert bool((tokens.ids[~first] > 2).all())
    assert torch.equal(tokens.place[~first] % 11, tokens.position[~first] - 1)
    row = int((tokens.position == 1).nonzero()[0])
    assert tokens.position[context(tokens, row, 1, 2)].tolist() == [0, 1, 2, 3]
    tokeniser = transformers.AutoTokenizer.from_pretrained(gpt)
    (batch, *_) = token_batches(text, tokeniser, length=12, bos=1)
    assert batch.is_text[0].tolist() == [False] + 11 * [True]
    (gpt / "special_tokens_map.json").unlink(missing_ok=True)
    other = tmp_path / "other"
    saved(other, "GPT2", **GPT2)
    settings = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if k != "bos_token"}))
    assert run(other, text, tmp_path / "b", "--bos") != 0
    assert "bos: the tokenizer of other has no beginning-of-sequence token; leave it out" in said(capsys)
    for options, message in (
        ("--skip-first 12", "--skip-first 12: expected 0 to 11"),
        ("--max-norm 0", "--max-norm 0: expected a number of medians above 0"),
        ("--weights random", "--weights is of an image model: leave it out"),
    ):
        assert run(gpt, text, tmp_path / "b", *options.split()) != 0
        assert message in said(capsys)


@pytest.mark.parametrize(
    ("name", "config", "hook", "start"), [("T5", T5, "decoder.block.1", 0), ("Bart", BART, "decoder.layers.1", 2)]
)
def test_decoders_get_the_text_after_their_start(
    name: str,
    config: dict[str, Any],
    hook: str,
    start: int,
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    network = saved(tmp_path / "model", name, suffix=True, **config)
    assert run(tmp_path / "model", text, tmp_path / "a", hook=hook) == 0
    split = splits_of(tmp_path / "a")[0]
    tokens = split.tokens
    assert tokens is not None
    assert tokens.ids.tolist() == [IDS[place] for place in tokens.place]
    row = int((tokens.position == 4).nonzero()[0])
    around = context(tokens, row, 3, 7)  # eleven words in a span, and its end
    ids = tokens.ids[around]
    states: list[Tensor] = []
    part = network.get_submodule(hook)
    handle = part.register_forward_hook(
        lambda *call: states.append(call[2] if isinstance(call[2], Tensor) else call[2][0])
    )
    with torch.no_grad():
        network(input_ids=torch.tensor([[*ids, 2]]), decoder_input_ids=torch.tensor([[start, *ids]]))
    handle.remove()
    torch.testing.assert_close(split.x[around], states[0][0, 1:], rtol=1e-3, atol=1e-3)

    encoder = hook.replace("decoder", "encoder")
    assert run(tmp_path / "model", text, tmp_path / "b", hook=encoder) == 0
    assert run(tmp_path / "model", text, tmp_path / "c", "--hook-point", encoder, hook) != 0
    assert "in encoder and decoder, whose rows are of different tokens" in said(capsys)


def test_a_beginning_that_the_tokenizer_puts_itself_is_not_put_twice(text: Path, tmp_path: Path) -> None:
    from tokenizers import processors

    save_tokenizer(tmp_path)
    tokeniser = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokeniser.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A", special_tokens=[("[BOS]", 1)]
    )
    batches = [next(token_batches(text, tokeniser, length=12, bos=bos)).ids for bos in (None, 1)]
    assert torch.equal(*batches)
    assert batches[0][0, :3].tolist() == [1, *IDS[:2]]


class Wrong(nn.Module):
    """Takes something else than tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(43, 6)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.embed(x + y)


def few() -> nn.Module:
    """Knows fewer tokens than the tokenizer."""
    return nn.Sequential(nn.Embedding(9, 6), nn.Identity())


def flat() -> nn.Module:
    return nn.Sequential(nn.Embedding(43, 6), nn.Flatten(0, 1), nn.Identity())


@pytest.mark.parametrize(
    ("name", "hook", "message"),
    [
        (
            "Wrong",
            "embed",
            "Wrong: its forward pass fails (Wrong.forward() missing 1 required positional argument: 'y')",
        ),
        ("few", "1", "few: its forward pass fails (index out of range in self); expected a model that takes tokens"),
        (
            "flat",
            "2",
            "hook_point '2': gives shape [96, 6] for [8, 12] spans and tokens; expected a row for each token",
        ),
    ],
)
def test_modules_that_do_not_fit_are_named(
    name: str,
    hook: str,
    message: str,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_tokenizer(tmp_path / "tokenizer")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    options = ("--tokenizer", str(tmp_path / "tokenizer"))
    assert run(f"test_extract_text:{name}", text, tmp_path / "a", *options, hook=hook) != 0
    assert message in said(capsys)


class Own(nn.Module):
    """A language model that knows nothing of transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.config = {"block_size": 14}
        self.embed, self.mix = nn.Embedding(43, 6), nn.Linear(6, 6)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.mix(self.embed(tokens).cumsum(dim=1))


def own() -> nn.Module:
    torch.manual_seed(0)
    return Own()


def test_any_module_by_its_import_path(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tokenizer(tmp_path / "tokenizer")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    options = ("--tokenizer", str(tmp_path / "tokenizer"))
    assert run("test_extract_text:own", text, tmp_path / "a", *options, hook="mix") == 0
    split = splits_of(tmp_path / "a")[0]
    assert split.tokens is not None
    around = context(split.tokens, int((split.tokens.position == 0).nonzero()[0]), 0, 11)
    torch.testing.assert_close(split.x[around], own()(split.tokens.ids[around][None])[0])
    assert run("test_extract_text:own", text, tmp_path / "b", *options, "--length", "15", hook="mix") != 0
    assert "length 15: expected at most 14" in said(capsys)
    assert run("timm:resnet18", text, tmp_path / "b", *options) != 0
    assert "--tokenizer is of language models, and timm:resnet18 is an image model" in said(capsys)
    assert run("test_extract_text:own", text, tmp_path / "b", *options, hook="embed.weight") != 0
    assert "no such submodule of Own; choose from embed, mix" in said(capsys)


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({"n_positions": 7}, 7),
        ({"n_ctx": 9, "max_seq_len": 8}, 8),
        ({"seq_length": 6}, 6),
        ({"context_length": None}, None),
        ({"n_positions": 512, "relative_attention_num_buckets": 32}, None),
    ],
)
def test_lengths_are_limited_whatever_their_name(config: dict[str, Any], most: int | None) -> None:
    module = nn.Linear(1, 1)
    module.config = cast("Any", config)
    assert longest(module) == most


def test_hook_points_have_one_spelling() -> None:
    config = transformers.GPT2Config(**GPT2)
    bare, head = transformers.GPT2Model(config), transformers.GPT2LMHeadModel(config)
    for name in ("h.1", "transformer.h.1", "blocks.1.hook_resid_post", "blocks.2.hook_resid_pre"):
        assert (hook_path(bare, name), hook_path(head, name)) == ("h.1", "transformer.h.1")
        assert lens_name(name, "gpt2") == (name if name.startswith("blocks") else "blocks.1.hook_resid_post")
    for name, architecture in (("h.1", "bert"), ("h.1", None), ("h.1.mlp", "gpt2"), ("layers.1.experts.0", "mixtral")):
        assert lens_name(name, architecture) is None
    ids = {"input_ids": torch.tensor([[3, 4, 5]])}
    with torch.no_grad():
        states = bare.eval()(**ids, output_hidden_states=True).hidden_states
    (result,) = extract(bare, "blocks.1.hook_resid_post", [ids])
    torch.testing.assert_close(result, states[2])
    bert = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=9, hidden_size=4, num_hidden_layers=2, num_attention_heads=2, intermediate_size=4
        )
    )
    for module, name, message in (
        (bare, "blocks.0.hook_resid_pre", r"block 0 is h\.0, its parts are h\.0\.ln_1, h\.0\.attn"),
        (bare, "blocks.1.hook_mlp_out", r"no submodule of gpt2 gives the same values for certain; block 1 is h\.1"),
        (bare, "blocks.3.hook_resid_post", r"gpt2 has blocks 0 to 2, the first h\.0"),
        (bert, "blocks.1.hook_resid_post", r"no submodule of bert gives .* block 1 is encoder\.layer\.1"),
        (bare, "h.2.mlp.proj", r"the nearest of its \d+ are h\.2\.mlp\.c_proj, "),
        (bare, "zzzz", r"the nearest of its \d+ are wte, wpe, drop, h, ln_f"),
    ):
        with pytest.raises(ValueError, match=message):
            hook_path(module, name)


DOCUMENTS = [" ".join(WORDS[(i * 7 + j) % 40] for j in range(1 + i % 25)) for i in range(60)]


def write_tables(folder: Path) -> dict[str, Path]:
    """The same documents as lines, in a parquet file, in a folder of two, and as `datasets` saves them."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"number": list(range(60)), "body": DOCUMENTS})
    paths = {name: folder / name for name in ("lines.jsonl", "one.parquet", "several", "saved")}
    paths["lines.jsonl"].write_text("\n".join(json.dumps({"body": document}) for document in DOCUMENTS))
    parquet.write_table(table, paths["one.parquet"], row_group_size=7)
    for name in ("several", "saved"):
        paths[name].mkdir()
    for i, part in enumerate((table.slice(0, 25), table.slice(25))):
        parquet.write_table(part, paths["several"] / f"part-{i}.parquet")
        with arrow.ipc.new_stream(paths["saved"] / f"data-0000{i}-of-00002.arrow", table.schema) as stream:
            stream.write_table(part, max_chunksize=10)
    files = [{"filename": f"data-0000{i}-of-00002.arrow"} for i in range(2)]
    (paths["saved"] / "state.json").write_text(json.dumps({"_data_files": files}))
    return paths


@SINK
def test_documents_come_from_tables(
    gpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_tables(tmp_path)
    contents: list[dict[str, bytes]] = []
    for name, path in paths.items():
        out = tmp_path / f"out-{name}"
        assert run(gpt, path, out, "--column", "body", "--skip-first", "1") == 0
        contents.append({p.name: p.read_bytes() for p in out.iterdir() if p.suffix == ".safetensors"})
    assert all(each == contents[0] for each in contents)
    tokens = splits_of(tmp_path / "out-saved")[0].tokens
    assert tokens is not None
    for group in tokens.group.unique().tolist():
        rows = (tokens.group == group).nonzero()[:, 0]
        words = DOCUMENTS[group].split()
        for row in rows.tolist():
            assert WORDS[int(tokens.ids[row]) - 3] == words[int(tokens.place[row])]

    def refused(path: Path, column: str = "body") -> str:
        assert run(gpt, path, tmp_path / "no", "--column", column) != 0
        return said(capsys)

    assert "no column 'text'; choose from number, body" in refused(paths["several"], "text")
    assert "column 'number' holds int64; expected text: choose its column with --column" in refused(
        paths["saved"], "number"
    )
    assert 'expected {"text": "..."} in each line' in refused(paths["lines.jsonl"], "text")
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "dataset_dict.json").write_text("{}")
    paths["saved"].rename(tmp_path / "both" / "train")
    assert f"holds the splits train; choose one: {tmp_path / 'both' / 'train'}" in refused(tmp_path / "both")
    saved = tmp_path / "both" / "train" / "data-00001-of-00002.arrow"
    saved.write_bytes(saved.read_bytes()[:200])
    assert "not a file of a table, or damaged" in refused(saved.parent)
    saved.unlink()
    assert "missing, and state.json names it" in refused(saved.parent)
    paths["one.parquet"].write_bytes(np.arange(100).tobytes())
    assert "one.parquet: not a file of a table, or damaged" in refused(paths["one.parquet"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'sparsecode[parquet]'" in refused(paths["several"])
