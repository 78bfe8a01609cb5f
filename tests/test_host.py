"""Training while a language model runs: the same rows as extracted ones, resumed to the same bits, split by text."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from killing import call
from test_extract_text import GPT2, SINK, TEXT, saved
from test_kill import assert_same_run
from torch import Tensor

import sparsecode as sc
from sparsecode.cli import main
from sparsecode.data import Host, Shards
from sparsecode.data.batches import batches
from sparsecode.evaluate import read_features
from sparsecode.evaluate.units.feature_file import FEATURES, read_record
from sparsecode.models import Amortised, save_model
from sparsecode.nn import TopK
from sparsecode.runs import RunFolder
from sparsecode.specs import from_json, to_json

pytestmark = SINK


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of random weights with its tokenizer, and a text."""
    home = tmp_path_factory.mktemp("host")
    saved(home / "gpt", "GPT2", **GPT2)
    (home / "text.txt").write_text(TEXT)
    return home


def source(home: Path, **options: Any) -> Host:
    usual: dict[str, Any] = {
        "model": str(home / "gpt"), "text": str(home / "text.txt"), "hook_point": ("h.1",), "length": 12, "batch_size": 8, "valid": 0.2,
        "test": 0.2, "buffer": 200, "held": 500,
    }  # fmt: skip
    return Host(**{**usual, **options})


def epoch(host: Host, batch_size: int = 20, number: int = 0) -> Tensor:
    """The rows of an epoch in order."""
    splits = host.load()
    steps = splits.training.n // batch_size
    start = number * steps
    there = batches(splits.training, batch_size, 3, start, start + steps)
    return torch.cat([batch.x for _, batch in there])


def as_set(rows: Tensor) -> Counter[tuple[float, ...]]:
    """The rows without order, to the digits that do not depend on which spans run together."""
    return Counter(tuple(round(v, 3) + 0.0 for v in row.tolist()) for row in rows)


def nearest(rows: Tensor, others: Tensor) -> Tensor:
    """How far each row is from the nearest of others."""
    return torch.cdist(rows.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist").min(dim=1).values


def test_rows_and_splits_are_those_of_extract(home: Path, tmp_path: Path) -> None:
    assert main(
        [
            "extract", str(home / "gpt"), str(home / "text.txt"), "--hook-point", "h.1", "--out", str(tmp_path / "acts"), "--length",
            "12", "--valid", "0.2", "--test", "0.2", "--dtype", "float32", "--bos", "--skip-first", "2",
        ]
    ) == 0  # fmt: skip
    shards, host = Shards(path=str(tmp_path / "acts")).load(), source(home, bos=True, skip_first=2).load()
    assert host.training.n == shards.training.n
    for one, other in zip(host[:3], shards[:3], strict=True):
        assert len(one.x) == len(other.x)
        assert nearest(one.x, other.x).max() < 1e-5
        assert nearest(other.x, one.x).max() < 1e-5
        assert one.tokens is not None
        assert other.tokens is not None
        assert sorted(one.tokens.group.tolist()) == sorted(other.tokens.group.tolist())
    groups = [set(each.tokens.group.tolist()) for each in host[:3] if each.tokens is not None]
    assert not (groups[0] & groups[1]) | (groups[0] & groups[2]) | (groups[1] & groups[2])


def test_an_epoch_has_every_row_once_in_a_random_order(home: Path) -> None:
    host = source(home)
    splits = host.load()
    first, second = epoch(host, splits.training.n), epoch(host, splits.training.n, number=1)
    assert nearest(splits.train.x, first).max() < 1e-5
    assert nearest(first, splits.train.x).max() < 1e-5
    assert not torch.equal(first, second)
    distance = torch.cdist(first.double(), first.double())
    neighbours = sum(bool(nearest(a[None], b[None]).item() < 1e-5) for a, b in pairwise(first))
    assert neighbours < len(first) / 4
    assert (distance < 1e-6).sum() < 1.2 * (
        torch.cdist(splits.train.x.double(), splits.train.x.double()) < 1e-6
    ).sum() + 50


@pytest.mark.parametrize("options", [{}, {"shuffle": "spans"}, {"max_norm": 1.0}])
def test_the_order_is_a_function_of_the_step(home: Path, options: dict[str, Any]) -> None:
    host = source(home, **options)
    splits, again = host.load(), from_json(to_json(host), Host).load()
    assert splits.fingerprint() == again.fingerprint()
    whole = dict(batches(splits.training, 25, 0, 0, 30))
    for step, batch in batches(again.training, 25, 0, 17, 30):
        assert torch.equal(batch.x, whole[step].x)
    reader = again.training.reader(0)
    assert torch.equal(reader(0, 0, 25).x, whole[0].x)  # back again


def test_rows_above_the_largest_norm_are_replaced(home: Path) -> None:
    plain, limited = source(home), source(home, max_norm=1.0, buffer=100)
    rows = epoch(limited)
    limit = float(torch.cat([each.x for each in plain.load()[:3]]).norm(dim=1).median())
    assert rows.norm(dim=1).max() < 1.2 * limit
    assert epoch(plain).norm(dim=1).max() > rows.norm(dim=1).max()
    assert plain.load().training.n == limited.load().training.n


def test_the_buffer_bounds_memory(home: Path) -> None:
    reader: Any = source(home, buffer=150, skip_first=2).load().training.reader(0)
    reader(0, 0, 10)
    (memory,) = reader._memory.values()
    assert len(memory) == 80  # a pass of 8 spans with 10 rows each
    assert reader(1, 100, 110).x.shape == (10, 8)
    assert reader._memory["h.1"].data_ptr() == memory.data_ptr()


def test_several_sites_and_a_target(home: Path) -> None:
    splits = source(home, hook_point=("transformer.h.0", "h.2", "h.1"), target="h.1").load()
    batch = next(batches(splits.training, 10, 0, 0, 1))[1]
    assert splits.shape == (2, 8)
    assert splits.target_shape == (8,)
    assert batch.x.shape == (10, 2, 8)
    assert batch.target is not None
    single = {name: source(home, hook_point=(name,)).load() for name in ("h.0", "h.2", "h.1")}
    rows = [next(batches(each.training, 10, 0, 0, 1))[1].x for each in single.values()]
    torch.testing.assert_close(batch.x, torch.stack(rows[:2], dim=1), rtol=0, atol=1e-5)
    torch.testing.assert_close(batch.target, rows[2], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 20}, "length 20: expected at most 16"),
        ({"hook_point": ("h.7",)}, "hook_point 'h.7'"),
        ({"hook_point": ("h.1", "transformer.h.1")}, "expected each once"),
        ({"target": "h.2"}, "target is 'h.2'; expected one of hook_point, h.1"),
        ({"max_norm": 1e-3}, "max_norm is 0.001: no rows of train are kept"),
        ({"device": "nowhere"}, "device is 'nowhere'; expected"),
        ({"skip_first": 12}, "skip_first is 12; expected 0 to 11"),
        ({"valid": 0.001}, "groups with rows are in valid"),
        ({"text": "nowhere.txt"}, "nowhere.txt: no such file"),
        ({"shuffle": "spans", "max_norm": 2.0}, "max_norm goes with shuffle 'rows'"),
        ({"hook_point": ("h.1",), "target": "h.1"}, "the only site"),
    ],
)
def test_what_does_not_fit_is_refused(home: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        source(home, **options).load()


def test_other_text_weights_or_rows_are_other_data(home: Path, tmp_path: Path) -> None:
    heads: dict[str, Any] = GPT2 | {"n_head": 1}
    saved(tmp_path / "gpt", "GPT2", **heads)
    (tmp_path / "text.txt").write_text(TEXT + " w1")
    (tmp_path / "same.txt").write_text(TEXT)
    mark = source(home).load().fingerprint()
    assert source(home, text=str(tmp_path / "same.txt"), buffer=77, device="cpu").load().fingerprint() == mark
    others = [
        source(home, text=str(tmp_path / "text.txt")), source(home, skip_first=1), source(home, seed=1),
        source(home, hook_point=("h.2",)), source(home, tokens=400), source(home, model=str(tmp_path / "gpt")),
    ]  # fmt: skip
    marks = [other.load().fingerprint() for other in others]
    assert len({mark, *marks}) == len(others) + 1


COMMAND = (
    "train", "acts-topk", "--data.type", "host", "--data.model", "gpt", "--data.text", "text.txt", "--data.hook-point", "h.1",
    "--data.length", "12", "--data.batch-size", "8", "--data.buffer", "200", "--data.valid", "0.2", "--data.test", "0.2",
    "--model.n-code", "24", "--model.activation.k", "4", "--train.epochs", "3", "--train.batch-size", "32", "--train.log-every", "1",
    "--train.evaluate-every", "1", "--train.checkpoint-every", "0.3", "--accelerator", "cpu", "--no-figures", "--out", "run",
)  # fmt: skip


def place(home: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in ("gpt", "text.txt"):
        (folder / name).symlink_to(home / name)
    return folder


def test_a_run_killed_at_a_write_ends_in_the_same_bits(home: Path, tmp_path: Path) -> None:
    """One of its writes; tests/test_kills.py kills at every write."""
    one = place(home, tmp_path / "one")
    whole = call(COMMAND, one)
    assert whole.code == 0, whole.said
    at = [number for number, write in enumerate(whole.writes, 1) if "state.safetensors" in write]
    other = place(home, tmp_path / "other")
    killed = call(COMMAND, other, kill_at=at[len(at) // 4])
    assert killed.code == -signal.SIGKILL, killed.said
    assert call(COMMAND, other).code == 0
    config = (one / "run" / "config.json").read_text()
    assert '"host"' in config
    assert_same_run(one / "run", other / "run")


def test_features_of_a_run_use_the_tokenizer_of_its_host(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place(home, tmp_path / "there"))
    assert main([*COMMAND, "--train.epochs", "0.5"]) == 0
    assert main(["features", "run"]) == 0
    record, texts = read_record(Path("run") / FEATURES), read_features(Path("run")).texts
    assert record.origin.tokenizer == "gpt"
    assert texts
    assert set(texts.values()) <= set(TEXT.split())
    assert main(["features", "run"]) == 0  # nothing else is wanted by the same call
    assert "(as they were stored)" in " ".join(capsys.readouterr().out.split())
    tokens = RunFolder("run").splits().valid.tokens
    assert tokens is not None
    assert tokens.tokenizer == str(Path("gpt").absolute())
    # and other libraries find the network and the place in it
    assert main(["convert", "run", "saelens", "--to", "saelens"]) == 0
    metadata = json.loads(Path("saelens", "cfg.json").read_text())["metadata"]
    names = {
        "model_name": "gpt",
        "hook_name": "blocks.1.hook_resid_post",
        "hf_hook_name": "h.1",
        "dataset_path": "text.txt",
    }
    assert names.items() <= metadata.items()


def test_features_of_shards_use_the_tokenizer_that_made_them_while_it_is_there(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(home / "gpt", "gpt")
    words = ("gpt", str(home / "text.txt"), "--hook-point", "h.1", "--length", "12")
    assert main(["extract", *words, "--out", "acts"]) == 0
    save_model(Amortised(n_code=24, activation=TopK(k=4)).build((8,), seed=0), Path("sae"), {})
    assert main(["features", "sae", "acts", "--out", "words.safetensors"]) == 0
    texts = read_features(Path("words.safetensors")).texts
    assert texts
    assert set(texts.values()) <= set(TEXT.split())
    (Path("gpt") / "tokenizer_config.json").write_text("{}")
    assert main(["features", "sae", "acts", "--out", "other.safetensors"]) == 0
    assert not read_features(Path("other.safetensors")).texts


def test_arguments_of_a_source_may_come_one_by_one(
    home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*COMMAND[:4], "--out", str(tmp_path / "a")]) == 2
    assert "needs model, text, hook_point" in " ".join(capsys.readouterr().err.split())


def test_from_python(home: Path) -> None:
    fitted = sc.fit(
        Amortised(n_code=16, activation=TopK(k=2)),
        source(home),
        epochs=2,
        batch_size=32,
        progress=False,
        figures=False,
        device="cpu",
    )
    assert fitted.scores is not None
    assert fitted.model.shape == (8,)
    assert msgspec.structs.replace(source(home), held=5).load().valid.n == 5
