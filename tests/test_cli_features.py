"""`sparsecode features` on digits, on shards with tokens, on codes and on arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sparsecode.cli import main
from sparsecode.data import Digits, ShardWriter, Tokens
from sparsecode.data.shard_rows import ShardRows
from sparsecode.data.shards import Shards, ShardStream
from sparsecode.evaluate import FeatureSettings, read_features
from sparsecode.evaluate.units.feature_file import FEATURES, read_record
from sparsecode.models import Amortised, save_model
from sparsecode.nn import TopK
from sparsecode.reports.run_features import features_of_run
from sparsecode.runs import RunFolder

Capture = pytest.CaptureFixture[str]
D, TEXTS, LENGTH = 8, 30, 20
WORDS = [f"w{i}" for i in range(9)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("features") / "digits"
    assert main(["train", "digits-topk", "--out", str(out), "--train.epochs", "0.05", "--no-figures"]) == 0
    return out


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts whose token i is i mod 9, in more shards than one."""
    folder = tmp_path_factory.mktemp("features") / "shards"
    rng = torch.Generator().manual_seed(0)
    tokenizer = {"tokenizer": "words", "tokenizer_files": ""}
    with ShardWriter(folder, rows_per_shard=150, valid=0.1, test=0.1, provenance=tokenizer) as writer:
        for text in range(TEXTS):
            place = torch.arange(LENGTH)
            tokens = Tokens((place + text) % 9, place, torch.full((LENGTH,), text))
            writer.append(torch.randn(LENGTH, D, generator=rng), text, tokens=tokens)
    return folder


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder in another library's format."""
    folder = tmp_path_factory.mktemp("features")
    save_model(Amortised(n_code=24, activation=TopK(k=3)).build((D,), seed=0), folder / "ours", {})
    assert main(["convert", str(folder / "ours"), str(folder / "theirs"), "--to", "saelens"]) == 0
    return folder / "theirs"


def printed(capsys: Capture) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_run_gets_its_file_and_keeps_it(run: Path, capsys: Capture) -> None:
    words = ["features", str(run), "--top", "3", "--near", "0", "--show", "5"]
    assert main(words) == 0
    text, splits = printed(capsys), Digits().load()
    features = read_features(run)
    z = RunFolder(run).best_model().encode(splits.train.x)
    assert np.array_equal(features.n_active, (z != 0).sum(dim=0).numpy())
    assert splits.train.label is not None
    assert features.class_sizes.tolist() == torch.bincount(splits.train.label).tolist()
    assert f"features of digits, encode: {z.shape[1]} codes on {len(z)} rows of train split" in text
    assert f"code 5: active on {features.n_active[5]} of {len(z)} rows" in text
    assert all(f"row {example.row}" in text for example in features.code(5).examples)
    before = (run / FEATURES).read_bytes()
    assert main(words) == 0
    assert "(as they were stored)" in printed(capsys)
    assert main(["features", str(run), "--seed", "1"]) == 3
    error = " ".join(capsys.readouterr().err.split())
    assert "holds other features (there -> asked for: top: 3 -> 16; near: 0 -> 4; seed: 0 -> 1)" in error
    assert (run / FEATURES).read_bytes() == before
    assert main(["features", str(run), "--force"]) == 0
    assert (run / FEATURES).read_bytes() != before
    assert features_of_run(run).settings == FeatureSettings()
    other = features_of_run(run, "test", FeatureSettings(top=1))
    assert other.n == splits.test.n
    assert read_record(run / FEATURES).origin.data == "train split"


def test_tokens_come_with_their_words(sae: Path, shards: Path, tmp_path: Path, capsys: Capture) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="w0"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner).save_pretrained(tmp_path / "words")
    out = tmp_path / "f.safetensors"
    words = ["features", str(sae), str(shards), "--out", str(out), "--before", "2", "--after", "1", "--show", "3"]
    assert main([*words, "--tokenizer", str(tmp_path / "words")]) == 0
    text, features = printed(capsys), read_features(out)
    assert features.contexts is not None
    assert features.texts == dict(enumerate(WORDS))
    assert read_record(out).origin.tokenizer == "words"
    index = Shards(path=str(shards)).load().stream
    assert isinstance(index, ShardStream)
    rows = ShardRows(index, "train")
    assert len(rows.shards) > 1
    assert rows.tokens is not None
    example = features.code(3).examples[0]
    here, place = (int(column[example.row]) for column in (rows.tokens.ids, rows.tokens.place))
    assert features.words(example)[example.at] == f"w{here}"
    if 2 <= place < LENGTH - 1:
        assert features.words(example) == [f"w{(here + step) % 9}" for step in (-2, -1, 0, 1)]
    assert f"[w{here}]" in text
    assert main([*words, "--force"]) == 0
    assert f"[{here}]" in printed(capsys)
    assert main([*words, "--tokenizer", str(tmp_path / "words")]) == 0  # texts are added to what is there
    assert f"[w{here}]" in printed(capsys)
    assert (read_features(out).texts, read_record(out).origin.tokenizer) == (features.texts, "words")


def test_codes_and_arrays_are_rows_too(run: Path, tmp_path: Path) -> None:
    x = Digits().load().test.x.numpy()
    np.save(tmp_path / "x.npy", x)
    assert main(["encode", str(run), str(tmp_path / "x.npy"), "--out", str(tmp_path / "codes")]) == 0
    outs = [tmp_path / f"{name}.safetensors" for name in ("x", "codes")]
    for data, out in zip((tmp_path / "x.npy", tmp_path / "codes"), outs, strict=True):
        assert main(["features", str(run), str(data), "--out", str(out)]) == 0
    one, two = map(read_features, outs)
    assert np.array_equal(one.examples.row, two.examples.row)
    assert np.array_equal(one.histogram, two.histogram)


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["RUN", "--show", "64000"], 2, "--show 64000: expected 0 to"),
        (["RUN", "--coder", "mean"], 2, "--coder is 'mean'; this model has encode"),
        (["RUN", "--bands", "0"], 2, "--bands: got 0"),
        (["RUN", "--seed", "9", "--export", "delphi", "x"], 2, "--export delphi: the rows have no tokens; expected shards of a text"),
        (["nothing"], 1, "nothing: no such file or folder; expected a run"),
        (["RUN", "nothing"], 1, "nothing: no such file or folder; expected shards, sparse codes, or an array"),
        (["RUN", "SHARDS", "--out", "x.safetensors"], 1, "samples of shape (8,); the model takes (8, 8)"),
        (["RUN", "--out", "x"], 2, "--out x: expected a name that ends in .safetensors"),
        (["SAE"], 2, "is no run, so that its data are not known: expected DATA"),
        (["SAE", "SHARDS"], 2, "is no run with a folder to write to: expected --out FILE"),
        (["SAE", "SHARDS", "--out", "x.safetensors", "--tokenizer", "nowhere"], 1, "nowhere: no such folder; expected that of a tokenizer"),
    ],
)  # fmt: skip
def test_errors_say_what_was_expected(
    run: Path, sae: Path, shards: Path, words: list[str], code: int, problem: str, capsys: Capture
) -> None:
    places = {"RUN": str(run), "SAE": str(sae), "SHARDS": str(shards)}
    assert main(["features", *(places.get(word, word) for word in words)]) == code
    assert problem in " ".join(capsys.readouterr().err.split())
    assert not Path("x").exists()
    assert not Path("x.safetensors").exists()
