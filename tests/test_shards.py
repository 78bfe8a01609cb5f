"""Shards: written whole or not at all, shuffled as a whole, split by document, streamed as a function of (seed, step)."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file
from torch import Tensor
from waiting import PATIENCE, wait_until

from sparsecode.cli import main
from sparsecode.data import Data, Shards, ShardWriter
from sparsecode.data.batches import batches
from sparsecode.data.shard_index import DTYPES, INDEX, DType, Index
from sparsecode.data.shard_journal import JOURNAL, UNFINISHED
from sparsecode.data.shuffle import Shuffle
from sparsecode.runs import RunFolder
from sparsecode.specs import from_json

DOCUMENTS, TOKENS = 200, 15  # of each document


def document(number: int) -> Tensor:
    """Rows that say where they come from: (document, token, sine of both)."""
    token = torch.arange(TOKENS).float()
    return torch.stack([torch.full((TOKENS,), float(number)), token, torch.sin(number + 7 * token)], dim=1)


def write(folder: Path, *, rows_per_shard: int = 300, dtype: DType = "float16", seed: int = 0) -> Path:
    with ShardWriter(folder, rows_per_shard, seed, valid=0.1, test=0.1, dtype=dtype) as writer:
        for number in range(writer.appended, DOCUMENTS):
            writer.append(document(number), number)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("shards") / "data")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def index_of(folder: Path) -> Index:
    return from_json((folder / INDEX).read_bytes(), Index)


def everything(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """x and group of all shards of a split, in the order on disk."""
    files = [load_file(folder / shard.file) for shard in getattr(index_of(folder), part)]
    return torch.cat([file["x"] for file in files]), torch.cat([file["group"] for file in files])


def drawn(
    folder: Path, start: int, stop: int, *, batch_size: int = 64, seed: int = 0, rank: int = 0, world: int = 1
) -> list[Tensor]:
    stream = Shards(path=str(folder)).load().training
    return [batch.x for _, batch in batches(stream, batch_size, seed, start, stop, rank, world)]


def epoch_of(folder: Path, number: int = 0, seed: int = 0) -> Tensor:
    """All rows of an epoch, in order."""
    stream = Shards(path=str(folder)).load().training
    return stream.reader(seed)(number, 0, stream.n).x


def keys(x: Tensor) -> list[int]:
    return (x[:, 0] * TOKENS + x[:, 1]).long().tolist()


# Writing


def test_every_row_is_there_once_and_documents_are_whole(folder: Path) -> None:
    parts = {part: everything(folder, part) for part in ("train", "valid", "test")}
    assert sorted(chain(*(keys(x.float()) for x, _ in parts.values()))) == list(range(DOCUMENTS * TOKENS))
    groups = [set(group.tolist()) for _, group in parts.values()]
    assert set.union(*groups) == set(range(DOCUMENTS))
    assert sum(map(len, groups)) == DOCUMENTS  # none is in two splits
    for x, group in parts.values():
        assert torch.equal(x[:, 0].long(), group)
        expected = torch.sin(x[:, 0].float() + 7 * x[:, 1].float())
        torch.testing.assert_close(x[:, 2].float(), expected, rtol=1e-3, atol=1e-3)


def test_shards_are_of_one_size_and_none_too_large(folder: Path) -> None:
    for part in ("train", "valid", "test"):
        sizes = [shard.rows for shard in getattr(index_of(folder), part)]
        assert max(sizes) <= 300
        assert max(sizes) - min(sizes) <= 1
        assert len(sizes) == -(-sum(sizes) // 300)


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_values_are_kept_in_the_type_asked_for(dtype: DType, tmp_path: Path) -> None:
    x, _ = everything(write(tmp_path / "data", dtype=dtype), "train")
    expected = torch.sin(x[:, 0].float() + 7 * x[:, 1].float()).to(DTYPES[dtype])
    assert x.dtype == DTYPES[dtype]
    assert torch.equal(x[:, 2], expected)


def test_split_and_order_are_functions_of_the_seed(folder: Path, tmp_path: Path) -> None:
    again, other = write(tmp_path / "again"), write(tmp_path / "other", seed=1)
    assert index_of(again) == index_of(folder)
    assert set(everything(other, "test")[1].tolist()) != set(everything(folder, "test")[1].tolist())


def test_samples_keep_their_shape_and_batches_of_rows_their_documents(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "data", 50, valid=0.2, test=0.2, dtype="float32") as writer:
        for start in range(0, 240, 24):
            number = torch.arange(start, start + 24)
            writer.append(number.float()[:, None, None].expand(24, 2, 3), number // 4)
    assert Shards(path=str(tmp_path / "data")).load().shape == (2, 3)
    x, group = everything(tmp_path / "data", "train")
    assert torch.equal(x[:, 1, 2].long() // 4, group)


# Sites


def write_sites(folder: Path, rows_per_shard: int = 300) -> Path:
    """The same documents at three sites: as they are, doubled, and one column of them."""
    with ShardWriter(folder, rows_per_shard, valid=0.1, test=0.1) as writer:
        for number in range(writer.appended, DOCUMENTS):
            x = document(number)
            writer.append({"h.1": x, "h.2": 2 * x, "narrow": x[:, :1]}, number)
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sites(tmp_path_factory.mktemp("sites") / "data")


def test_sites_are_samples_and_targets_of_the_same_rows(three: Path, folder: Path) -> None:
    plain = Shards(path=str(folder)).load()
    source = Shards(path=str(three), sites=("h.1",), target="h.2")
    splits = source.load()
    for part, alone in ((splits.train, plain.train), (splits.valid, plain.valid), (splits.test, plain.test)):
        assert torch.equal(part.x, alone.x)
        assert part.target is not None
        assert torch.equal(part.target, 2 * part.x)
    assert (splits.low, splits.high) == (2 * plain.low, 2 * plain.high)  # the targets'
    assert splits.span() == pytest.approx((plain.low, plain.high))
    ahead = batches(splits.training, 64, 0, 0, 40)
    for (_, batch), x in zip(ahead, drawn(folder, 0, 40), strict=True):  # over two epochs, in the same order
        assert torch.equal(batch.x, x)
        assert batch.target is not None
        assert torch.equal(batch.target, 2 * x)
    assert splits.fingerprint() != replace(source, sites=("h.2",), target="h.1").load().fingerprint()


def test_several_sites_make_a_sample(three: Path, folder: Path) -> None:
    splits = Shards(path=str(three), sites=("h.2", "h.1")).load()
    assert splits.shape == (2, 3)
    assert splits.train.target is None
    assert torch.equal(splits.train.x[:, 0], 2 * splits.train.x[:, 1])
    stream = splits.training.to(torch.device("cpu"), torch.float64)
    batch = stream.reader(0)(0, 290, 620)  # of three shards
    assert batch.x.dtype == torch.float64
    assert torch.equal(batch.x[:, 1], epoch_of(folder)[290:620].double())
    both = Shards(path=str(three), target="narrow").load()  # all but the target
    assert both.shape == (2, 3)
    assert both.train.target is not None
    assert torch.equal(both.train.target, both.train.x[:, 0, :1])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"sites": ("h.3",)}, r"sites: .* has no site 'h\.3'; choose from h\.1, h\.2, narrow"),
        ({"target": "y"}, "target: .* has no site 'y'; choose from"),
        ({"sites": ("h.1",), "target": "h.1"}, r"name 'h\.1' more than once"),
        ({}, r"sites of different shapes make no sample: h\.1 \[3\], h\.2 \[3\], narrow \[1\]"),
    ],
)
def test_sites_that_cannot_be_are_named(choice: dict[str, Any], message: str, three: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Shards(path=str(three), **choice).load()


def test_the_only_site_is_no_target(folder: Path) -> None:
    with pytest.raises(ValueError, match="target is 'x', the only site in"):
        Shards(path=str(folder), target="x").load()


def test_sites_stay_the_same_from_one_call_to_the_next(tmp_path: Path) -> None:
    x = document(0)
    with (
        pytest.raises(ValueError, match=r"sites are named \['group'\]; expected"),
        ShardWriter(tmp_path / "a") as writer,
    ):
        writer.append({"group": x}, 0)
    with (
        pytest.raises(ValueError, match=r"sites have \{'a': 15, 'b': 14\} rows"),
        ShardWriter(tmp_path / "b") as writer,
    ):
        writer.append({"a": x, "b": x[:-1]}, 0)
    with ShardWriter(tmp_path / "c", valid=0.3, test=0.3) as writer:
        writer.append({"a": x, "b": x}, 0)
        for other in (x, {"a": x}, {"b": x, "c": x}, {"a": x, "b": x[:, :2]}):
            with pytest.raises(ValueError, match=r"rows of shape .*; expected \{'a': \(3,\), 'b': \(3,\)\} as in"):
                writer.append(other, 1)
        with pytest.raises(ValueError, match="after 1 appended at b: NaN or infinity"):
            writer.append({"a": x, "b": x / 0}, 1)
        for number in range(1, 20):
            writer.append({"a": x, "b": x}, number)


@pytest.mark.parametrize("shape", [(1, 1), (1,)])
def test_a_single_expanded_number_is_a_row(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Its strides are 0, and torch takes it for contiguous."""
    with ShardWriter(tmp_path / "data", valid=0.3, test=0.3, dtype="float32") as writer:
        for number in range(30):
            writer.append(torch.tensor(float(number)).expand(shape), number)
    x, group = everything(tmp_path / "data", "train")
    assert torch.equal(x.flatten().long(), group)


def test_a_writing_that_the_version_before_left_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsecode.data.shard_writer.BLOCK", 4000)
    cut = tmp_path / "data"
    writer = ShardWriter(cut, 300, valid=0.1, test=0.1).__enter__()
    for number in range(150):
        writer.append(document(number), number)
    writer.__exit__(KeyboardInterrupt)
    path = cut / UNFINISHED / JOURNAL
    journal = json.loads(path.read_text())
    shape, span = journal["spec"].pop("shapes")["x"], journal["spec"].pop("spans")["x"]
    path.write_text(json.dumps({"format": 1, "spec": journal["spec"] | {"shape": shape, "span": span}}))
    assert index_of(write(cut)) == index_of(folder)


def test_the_shuffle_is_global(folder: Path) -> None:
    """Neighbours in an epoch are of one document no more often than chance, and early rows come anywhere."""
    for rows in (everything(folder, "train")[0].float(), epoch_of(folder), epoch_of(folder, 3)):
        same = (rows[1:, 0] == rows[:-1, 0]).double().mean().item()
        chance, n = (TOKENS - 1) / (len(rows) - 1), len(rows)
        assert abs(same - chance) < 4 * (chance / n) ** 0.5
        ranks = rows[:, 0].argsort(stable=True).argsort().double()
        correlation = torch.corrcoef(torch.stack([ranks, torch.arange(n).double()]))[0, 1].item()
        assert abs(correlation) < 4 / n**0.5


@pytest.mark.parametrize("most", [3, 7, 100])
def test_files_larger_than_memory_are_permuted_uniformly(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buckets of buckets (4 at a time): where a record ends does not depend on where it was."""
    monkeypatch.setattr("sparsecode.data.shuffle.BUCKETS", 4)
    monkeypatch.setattr("sparsecode.data.shuffle.BLOCK", 5)
    n, rounds = 20, 150
    np.arange(n, dtype=np.uint8).tofile(tmp_path / "records")
    counts = np.zeros((n, n))
    for seed in range(rounds):
        parts = list(Shuffle(tmp_path, most, 1, seed).slices(tmp_path / "records", n, ()))
        order = np.concatenate(parts)[:, 0]
        assert sorted(order) == list(range(n))
        counts[order, np.arange(n)] += 1
    chi2 = float(((counts - rounds / n) ** 2 / (rounds / n)).sum())
    assert abs(chi2 - (n - 1) ** 2) < 5 * (2 * (n - 1) ** 2) ** 0.5
    assert list(tmp_path.glob("bucket*")) == []


def test_long_documents_and_empty_ones_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fills the memory that rows wait in, so that what comes first need not be for training."""
    monkeypatch.setattr("sparsecode.data.shard_writer.BLOCK", 1)
    folder = tmp_path / "data"
    with ShardWriter(folder, 40, valid=0.5, test=0.3) as writer:
        for number in range(20):
            writer.append(document(number), number)
            writer.append(document(number)[:0], number)
    assert 0 not in everything(folder, "train")[1]  # the first one is not
    assert sum(len(everything(folder, part)[0]) for part in ("train", "valid", "test")) == 20 * TOKENS


@pytest.mark.parametrize("at", [1, 4, 9, 22, 29, 35, 38])
def test_interrupted_anywhere_it_goes_on_to_the_same_bytes(
    at: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The at-th flush to the disk fails: until the end there are some 40."""
    real, calls = os.fsync, 0

    def bomb(file: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise RuntimeError("interrupted")
        real(file)

    monkeypatch.setattr("sparsecode.data.shard_writer.BLOCK", 4000)  # some twenty documents
    monkeypatch.setattr("os.fsync", bomb)
    out = tmp_path / "data"
    with pytest.raises(RuntimeError, match="interrupted"):
        write(out)
    with pytest.raises(FileNotFoundError, match=r"index\.json: no such file; expected a finished folder of shards"):
        Shards(path=str(out)).load()
    write(out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}
    assert calls > at


def test_what_is_on_disk_need_not_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsecode.data.shard_writer.BLOCK", 4000)
    first = ShardWriter(tmp_path / "data", 300).__enter__()
    for number in range(95):
        first.append(document(number), number)
    first.__exit__(KeyboardInterrupt)
    second = ShardWriter(tmp_path / "data", 300).__enter__()
    assert 70 < second.appended < 95
    second.__exit__(KeyboardInterrupt)
    with pytest.raises(
        FileExistsError, match=r"unfinished writing with other settings \(there -> asked for: seed: 0 -> 1"
    ):
        ShardWriter(tmp_path / "data", 300, seed=1).__enter__()
    (tmp_path / "data" / UNFINISHED / "train.rows").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"train\.rows: missing or cut short; delete the folder"):
        ShardWriter(tmp_path / "data", 300).__enter__()
    journal = tmp_path / "data" / UNFINISHED / JOURNAL
    whole = json.loads(journal.read_text())
    journal.write_text(json.dumps(whole | {"spec": whole["spec"] | {"rows": [1, 2, -1]}}))
    with pytest.raises(ValueError, match=r"journal\.json: Expected `int` >= 0 - at `\$\.rows"):
        ShardWriter(tmp_path / "data", 300).__enter__()
    (tmp_path / "data" / UNFINISHED / JOURNAL).write_text("{")
    with pytest.raises(ValueError, match=r"journal\.json: not valid JSON"):
        ShardWriter(tmp_path / "data", 300).__enter__()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.full((2, 3), 7e4), "values up to 7e\\+04 are too large for float16; set dtype to bfloat16 or float32"),
        (torch.tensor([[1.0, float("nan"), 2.0]]), "rows after 1 appended: NaN or infinity in them"),
        (torch.ones(2, 4), r"rows of shape \(4,\); expected \(3,\)"),
    ],
)
def test_rows_that_cannot_be_kept_are_refused(rows: Tensor, message: str, tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "data").__enter__()
    writer.append(document(0), 0)
    with pytest.raises(ValueError, match=message):
        writer.append(rows, 1)
    writer.__exit__(ValueError)


def test_a_split_without_documents_is_refused(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "data").__enter__()
    writer.append(document(0), 0)
    with pytest.raises(ValueError, match=r"no document fell to valid and test; .* with more documents"):
        writer.__exit__(None)
    with pytest.raises(ValueError, match="no rows were appended"), ShardWriter(tmp_path / "none"):
        pass


def test_folders_that_hold_something_are_left_alone(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="holds shards already; choose another folder, or delete it"):
        ShardWriter(folder).__enter__()
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match=r"not empty \(it holds letter\.txt\)"):
        ShardWriter(tmp_path).__enter__()
    first = ShardWriter(tmp_path / "data").__enter__()
    with pytest.raises(BlockingIOError, match="another process is writing here"):
        ShardWriter(tmp_path / "data").__enter__()
    first.__exit__(KeyboardInterrupt)
    ShardWriter(tmp_path / "data").__enter__().__exit__(KeyboardInterrupt)


# Reading


def test_it_is_a_source_like_any_other(folder: Path) -> None:
    source = Shards(path=str(folder), held=100)
    assert msgspec.json.decode(msgspec.json.encode(source), type=Data) == source
    splits = source.load()
    assert splits.shape == (3,)
    assert [split.n for split in splits[:3]] == [100] * 3
    assert splits.training.n == len(everything(folder, "train")[0]) > 2000
    for split, part in zip(splits[:3], ("train", "valid", "test"), strict=True):
        assert split.x.dtype == torch.float32
        assert torch.equal(split.x, everything(folder, part)[0][:100].float())
    train = everything(folder, "train")[0]
    assert splits.span() == (float(train.min()), float(train.max()))
    assert [split.n for split in Shards(path=str(folder), held=10**6).load()[:3]] == [
        len(everything(folder, part)[0]) for part in ("train", "valid", "test")
    ]


def test_every_epoch_visits_every_row_once_in_an_order_of_its_own(folder: Path) -> None:
    train = sorted(keys(everything(folder, "train")[0].float()))
    epochs = [keys(epoch_of(folder, number, seed)) for number, seed in ((0, 0), (1, 0), (0, 1))]
    assert all(sorted(epoch) == train for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("start", [0, 1, 4, 5, 36, 37, 38, 60, 74])
def test_any_start_gives_the_same_suffix(start: int, folder: Path) -> None:
    """Whether a shard or an epoch begins in the middle of a batch or not."""
    whole, rest = drawn(folder, 0, 90), drawn(folder, start, 90)
    assert len(rest) == 90 - start
    assert all(torch.equal(a, b) for a, b in zip(whole[start:], rest, strict=True))


def test_batches_larger_than_a_shard_are_whole(folder: Path) -> None:
    large, small = drawn(folder, 0, 2, batch_size=1000), drawn(folder, 0, 4, batch_size=500)
    assert torch.equal(torch.cat(large), torch.cat(small))


def test_parts_of_all_ranks_are_the_batch_of_one(folder: Path) -> None:
    parts = [drawn(folder, 3, 50, rank=rank, world=4) for rank in range(4)]
    together = [torch.cat(step) for step in zip(*parts, strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(together, drawn(folder, 3, 50), strict=True))


def test_batches_come_in_the_precision_of_the_model(folder: Path) -> None:
    stream = Shards(path=str(folder)).load().training.to(torch.device("cpu"), torch.float64)
    _, batch = next(batches(stream, 64, 0, 0, 1))
    assert batch.x.dtype == torch.float64
    assert torch.equal(batch.x.float(), drawn(folder, 0, 1)[0])


@pytest.mark.usefixtures("global_rng_untouched")
def test_global_generators_are_left_alone(folder: Path) -> None:
    assert len(drawn(folder, 0, 9)) == 9


def test_the_fingerprint_is_that_of_the_contents(folder: Path, copy: Path, tmp_path: Path) -> None:
    known = Shards(path=str(folder)).load().fingerprint()
    assert Shards(path=str(copy)).load().fingerprint() == known
    assert Shards(path=str(write(tmp_path / "other", seed=1))).load().fingerprint() != known


def damage(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def test_damaged_shards_are_named_with_a_remedy(copy: Path) -> None:
    last = sorted(copy.glob("train-*"))[-1]
    damage(last, -1)
    splits = Shards(path=str(copy), held=50).load()  # which does not look at this one
    with pytest.raises(
        ValueError, match=r"its checksum does not fit.*restore it from a copy, or write the shards anew"
    ) as bad:
        list(batches(splits.training, 64, 0, 0, 60))
    assert str(bad.value).startswith(f"{last}: ")
    for at in (0, 9, -1):  # length and text of the header, values
        damage(copy / "valid-00000.safetensors", at)
        with pytest.raises(ValueError, match=r"valid-00000\.safetensors: damaged.*restore it"):
            Shards(path=str(copy), held=50).load()


def test_shards_that_are_cut_short_or_missing_are_named_at_once(copy: Path) -> None:
    file = copy / "train-00003.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"train-00003\.safetensors: \d+ bytes, and index\.json says \d+; restore it"):
        Shards(path=str(copy)).load()
    file.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"train-00003\.safetensors: missing, and index\.json names it; restore it"
    ):
        Shards(path=str(copy)).load()


def test_a_shard_that_goes_missing_while_streaming_is_named(copy: Path) -> None:
    stream = Shards(path=str(copy)).load().training
    for file in sorted(copy.glob("train-*"))[:2]:
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"train-0000[01]\.safetensors: missing, .*; restore it"):
        list(batches(stream, 64, 0, 0, 60))


def test_a_folder_without_shards_and_a_broken_index_are_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a finished folder of shards"):
        Shards(path=str(tmp_path / "none")).load()
    raw = json.loads((copy / INDEX).read_bytes())
    raw["spec"]["train"][0]["file"] = "../train-00000.safetensors"
    (copy / INDEX).write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=r"index\.json: Expected `str` matching regex"):
        Shards(path=str(copy)).load()


# Training


OPTIONS = [
    "--model.n-code", "16", "--train.epochs", "2", "--train.batch-size", "64", "--train.log-every", "1",
    "--train.evaluate-every", "1", "--train.checkpoint-every", "0.2", "--accelerator", "cpu", "--no-figures",
]  # fmt: skip


def arguments(folder: Path, out: Path) -> list[str]:
    data = json.dumps({"type": "shards", "path": str(folder)})
    changes = ["--set", f"data={data}", "--set", 'model.activation={"type":"topk","k":2}']
    return ["train", "acts-topk", "--out", str(out), *OPTIONS, *changes]


def test_killed_while_streaming_it_ends_in_the_same_bits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(arguments(folder, tmp_path / "whole")) == 0
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "sparsecode", *arguments(folder, out)]
    dice = random.Random(0)
    process = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    target = dice.randint(20, 60)
    wait_until(lambda: any(record["step"] >= target for record in RunFolder(out).metrics()), process)
    process.kill()
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL, text
    state = RunFolder(out).state()
    assert state is not None
    assert 0 < state.step < state.total_steps
    assert main(arguments(folder, out)) == 0
    for file in ("resume/state.safetensors", "model/sae_weights.safetensors"):
        a, b = load_file(tmp_path / "whole" / file), load_file(out / file)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a), file
    assert RunFolder(out).evaluation() == RunFolder(tmp_path / "whole").evaluation()


# Writes 200 MB of samples and trains on them; prints by how many MB memory rose above what was in use before.
HUNGRY = """
import ctypes, json, sys
from pathlib import Path
import msgspec, torch
from sparsecode.data import Shards, ShardWriter
from sparsecode.recipes import RECIPES
from sparsecode.schedules import resolve
from sparsecode.train.fit import fit, launch
from sparsecode.train.plan import clock

home, replace = Path(sys.argv[1]), msgspec.structs.replace

def memory(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1024

def most(work):
    ctypes.CDLL(None).malloc_trim(0)  # what was given back is given back
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from now on
    before = memory("VmRSS")
    work()
    return memory("VmHWM") - before

def write(folder, rows):
    with ShardWriter(folder, 4000, valid=0.1, test=0.1) as writer:
        for i in range(rows // 1000):
            writer.append(torch.randn(1000, 500, generator=torch.Generator().manual_seed(i)), i)

def train(folder, held):
    splits, run = Shards(path=str(folder), held=held).load(), RECIPES["acts-topk"]()
    run = replace(run, model=replace(run.model, n_code=64), train=replace(run.train, epochs=1, batch_size=500))
    run = resolve(run, clock(run.train, splits.training.n))
    fit(run.model.build(splits.shape, 0), splits, run.optim, run.train, 0, fabric=launch("32-true", "cpu"))

write(home / "little", 60_000)
train(home / "little", 100)  # what is imported on the way and kept
print(json.dumps({
    "written": most(lambda: write(home / "much", 240_000)),
    "streamed": most(lambda: train(home / "much", 1000)),
    "held": most(lambda: train(home / "much", 240_000)),
}))
"""


@pytest.mark.slow
def test_memory_is_bounded_with_data_five_times_larger(tmp_path: Path) -> None:
    """Shards of 4 MB, 240 MB in all. 44 MB hold two shards (8), 3000 rows in float32 (6), and the model at its work."""
    process = subprocess.run(
        [sys.executable, "-c", HUNGRY, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert sum(f.stat().st_size for f in (tmp_path / "much").glob("*.safetensors")) > 5 * 44 * 2**20
    most = json.loads(process.stdout)
    assert most["streamed"] < 44, most
    assert most["written"] < 80, most
    assert most["held"] > 200, most  # or this test could not tell
