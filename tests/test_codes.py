"""Sparse codes on disk: files, folders that are resumed to the same bytes, lazy reading."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, load_npz
from sklearn.linear_model import SGDClassifier
from toys import SHORT
from waiting import wait_until

from sparsecode import sparse_encode
from sparsecode.cli import main
from sparsecode.data import CodeWriter, Digits, ShardWriter, read_codes
from sparsecode.runs import RunFolder

Capture = pytest.CaptureFixture[str]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6))
D = RNG.normal(size=(10, 6))


def write(folder: Path, size: int = 20, stop: int | None = None, **rest: Any) -> Path:
    """Codes of X with row numbers beside them; after `stop` calls the writer breaks off."""
    with CodeWriter(folder, provenance={"alpha": "0.5"}) as writer:
        for start in range(writer.appended * size, len(X), size):
            if writer.appended == stop:
                raise KeyboardInterrupt
            codes: Any = sparse_encode(X[start : start + size], D, 0.5, out="csr")
            writer.append(codes, columns={"row": np.arange(len(X))[start : start + size]}, **rest)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_codes_come_back_a_chunk_at_a_time(tmp_path: Path) -> None:
    codes, dense = read_codes(write(tmp_path / "codes")), sparse_encode(X, D, 0.5)
    assert codes.shape == (50, 10)
    assert codes.nnz == np.count_nonzero(dense)
    chunks = list(codes.chunks())
    assert [len(chunk.columns["row"]) for chunk in chunks] == [20, 20, 10]
    assert all(isinstance(chunk.codes, csr_array) and chunk.codes.has_canonical_format for chunk in chunks)
    np.testing.assert_array_equal(np.concatenate([chunk.codes.toarray() for chunk in chunks]), dense)
    np.testing.assert_array_equal(np.concatenate([chunk.columns["row"] for chunk in chunks]), np.arange(50))
    np.testing.assert_array_equal(codes.column("row"), np.arange(50))
    np.testing.assert_array_equal(codes.rows(15, 45).toarray(), dense[15:45])
    np.testing.assert_array_equal(codes.rows(49, 50).toarray(), dense[49:])
    one = read_codes(tmp_path / "codes/codes-00001.safetensors")
    np.testing.assert_array_equal(one.rows(0, 20).toarray(), dense[20:40])


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_an_interrupted_writing_resumes_to_the_same_bytes(tmp_path: Path, stop: int) -> None:
    whole, folder = contents(write(tmp_path / "whole")), tmp_path / "codes"
    with pytest.raises(KeyboardInterrupt):
        write(folder, stop=stop)
    with pytest.raises(FileNotFoundError, match=r"expected a (finished )?folder of codes"):
        read_codes(folder)
    assert folder.exists() == bool(stop)
    if stop:
        with pytest.raises(FileExistsError, match="holds an unfinished writing of other codes"), CodeWriter(folder):
            pass
    assert contents(write(folder)) == whole
    with pytest.raises(FileExistsError, match="holds codes or shards already"):
        write(folder)
    assert contents(folder) == whole


@pytest.mark.parametrize(
    "convert",
    [
        lambda z: z,
        lambda z: z.astype(np.float16),
        torch.tensor,
        lambda z: torch.tensor(z).to_sparse_csr(),
        lambda z: csr_array(z).tocsc(),
    ],
    ids=["array", "half", "tensor", "sparse tensor", "csc"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Sparse")
def test_codes_of_any_kind_are_written(tmp_path: Path, convert: Callable[[Any], Any]) -> None:
    z = np.where(RNG.random((9, 5)) < 0.5, 0, RNG.normal(size=(9, 5)))
    with CodeWriter(tmp_path / "codes") as writer:
        writer.append(convert(z))
    back = read_codes(tmp_path / "codes").rows(0, 9)
    assert back.nnz == np.count_nonzero(z)
    np.testing.assert_allclose(back.toarray(), z, rtol=1e-3)


@pytest.mark.parametrize(
    ("codes", "rest", "error", "message"),
    [
        (np.zeros((2, 7)), {}, ValueError, r"codes of 7 float64 numbers, with no columns; expected 10 float64 numbers"),
        (np.zeros((2, 10), np.float32), {}, ValueError, "codes of 10 float32 numbers"),
        (np.zeros((2, 10)), {"columns": {"row": np.zeros(3)}}, ValueError, r"column 'row' is float64 of shape \(3,\)"),
        (np.zeros((2, 10)), {"columns": {"row": np.array(["a", "b"])}}, ValueError, "column 'row' is <U1"),
        (np.zeros((2, 10)), {"columns": {"values": np.zeros(2)}}, ValueError, "a name that is none of values, indices"),
        (np.full((2, 10), np.inf), {}, ValueError, "codes of 2 rows after 1 appended are not finite"),
        (np.zeros((0, 10)), {}, ValueError, "codes of 0 rows after 1 appended; expected at least one row"),
        ([[1.0]], {}, TypeError, "codes is a list; expected a NumPy array or a torch tensor"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, codes: Any, rest: Any, error: type[Exception], message: str
) -> None:
    with CodeWriter(tmp_path / "codes") as writer:
        writer.append(np.eye(3, 10))
        with pytest.raises(error, match=message):
            writer.append(codes, **rest)


def test_damage_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "codes")
    file = folder / "codes-00001.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    codes = read_codes(folder)
    with pytest.raises(ValueError, match=r"codes-00001.safetensors: damaged, or changed since it was written"):
        list(codes.chunks())
    file.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"codes-00001.safetensors: \d+ bytes, and index.json says"):
        read_codes(folder)
    with pytest.raises(ValueError, match=r"codes-00001.safetensors: no file of sparse codes, or damaged"):
        read_codes(file)
    with pytest.raises(ValueError, match=r"no column 'label' in .*; it has row"):
        codes.column("label")
    with pytest.raises(ValueError, match=r"split is 'test'; .* has codes of None"):
        codes.of("test")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"not empty \(it holds thesis.txt\)"), CodeWriter(tmp_path / "mine"):
        pass


# The command


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", Digits().load().train.x[:350].numpy())
    return tmp_path / "x.npy"


@pytest.mark.parametrize("coder", ["encode", "amortised"])
def test_encode_writes_the_dense_codes_sparse(trained: Path, samples: Path, coder: str) -> None:
    def encoded(out: str, *rest: str) -> Path:
        assert (
            main(["encode", str(trained), str(samples), "--out", str(samples.parent / out), "--coder", coder, *rest])
            == 0
        )
        return samples.parent / out

    dense = np.load(encoded("dense.npz"))["z"]
    sparse: Any = load_npz(encoded("codes.npz", "--csr"))
    assert isinstance(sparse, csr_array)
    np.testing.assert_array_equal(sparse.toarray(), dense)
    file = read_codes(encoded("codes.safetensors", "--csr"))
    np.testing.assert_array_equal(file.rows(0, 350).toarray(), dense)
    folder = read_codes(encoded("codes", "--rows-per-shard", "100"))
    assert [shard.rows for shard in folder.index.shards] == [100, 100, 100, 50]
    np.testing.assert_allclose(folder.rows(0, 350).toarray(), dense, atol=2e-6)
    assert folder.index.provenance["coder"] == coder
    assert (folder.column("gap") < 1e-3).mean() > 0.9 if coder == "encode" else True


def test_encode_resumes_a_folder_and_refuses_another_input(
    trained: Path, samples: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    command = ["encode", str(trained), str(samples), "--rows-per-shard", "100", "--out"]
    whole, out = samples.parent / "whole", samples.parent / "codes"
    assert main([*command, str(whole)]) == 0
    append = CodeWriter.append

    def fails(self: CodeWriter, *args: Any, **rest: Any) -> None:
        if self.appended == 2:
            raise OSError("no space left")
        append(self, *args, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(CodeWriter, "append", fails)
        assert main([*command, str(out)]) == 1
    other = samples.parent / "other.npy"
    np.save(other, np.load(samples)[::-1])
    assert main([*(str(other) if word == str(samples) else word for word in command), str(out)]) == 3
    assert "holds an unfinished writing of other codes" in capsys.readouterr().err
    assert main([*("50" if word == "100" else word for word in command), str(out)]) == 3
    assert "(there -> asked for: provenance.rows_per_file: 100 -> 50)" in capsys.readouterr().err
    assert main([*command, str(out)]) == 0
    assert f"resuming {out} after 2 of 4 files" in capsys.readouterr().out.replace("\n", "")
    assert contents(out) == contents(whole)
    assert main([*command, str(out)]) == 3
    assert "holds codes or shards already" in capsys.readouterr().err


def test_a_folder_of_shards_becomes_one_of_codes(tmp_path: Path, capsys: Capture) -> None:
    """With splits, labels and documents; a linear classifier learns from them chunk by chunk."""
    splits = Digits().load()
    with ShardWriter(tmp_path / "acts", 300, dtype="float32") as writer:
        for part in ("train", "valid", "test"):
            split = getattr(splits, part)
            writer.append(split.x, torch.arange(len(split.x)), split.label, part)
    data = f'data={{"type":"shards","path":"{tmp_path / "acts"}"}}'
    run = tmp_path / "run"
    assert main(["train", "digits-topk", "--out", str(run), *SHORT, "--set", data]) == 0
    assert main(["encode", str(run), str(tmp_path / "acts"), "--out", str(tmp_path / "codes")]) == 0
    codes = read_codes(tmp_path / "codes")
    names = sorted(path.name for path in (tmp_path / "acts").glob("*.safetensors"))
    assert sorted(shard.file for shard in codes.index.shards) == names
    model, classifier = RunFolder(run).best_model(), SGDClassifier(random_state=0)
    for chunk in codes.of("train").chunks():
        group, label = chunk.columns["group"], chunk.columns["label"]
        assert splits.train.label is not None
        np.testing.assert_array_equal(splits.train.label[group], label)
        np.testing.assert_allclose(chunk.codes.toarray(), model.encode(splits.train.x[group].numpy()), atol=1e-5)
        classifier.partial_fit(chunk.codes, label, classes=np.arange(10))
    test = codes.of("test")
    assert classifier.score(test.rows(0, test.shape[0]), test.column("label")) > 0.5
    assert "active per sample" in capsys.readouterr().out


def test_a_split_keeps_its_labels_beside_sparse_codes(trained: Path, tmp_path: Path) -> None:
    for out in ("codes", "codes.npz", "codes.safetensors"):
        assert main(["encode", str(trained), "--split", "valid", "--csr", "--out", str(tmp_path / out)]) == 0
    label = Digits().load().valid.label
    np.testing.assert_array_equal(read_codes(tmp_path / "codes").column("label"), label)
    np.testing.assert_array_equal(read_codes(tmp_path / "codes.safetensors").column("label"), label)
    np.testing.assert_array_equal(np.load(tmp_path / "codes.npz")["label"], label)


MEASURED = """
import resource, sys
from sparsecode.cli import main
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
assert main(["encode", "run", "few.npy", "--out", "few"]) == 0
before = peak()
code = main(["encode", "run", "x.npy", "--out", sys.argv[1], "--rows-per-shard", "5000"])
print("grown by", peak() - before)
sys.exit(code)
"""


@pytest.mark.slow
def test_many_codes_are_written_in_bounded_memory_and_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 000 x 4096 codes, 983 MB if they were dense."""
    monkeypatch.chdir(tmp_path)
    digits = Digits().load().train.x.numpy()
    x = np.lib.format.open_memmap("x.npy", mode="w+", dtype=np.float32, shape=(60_000, 8, 8))
    for start in range(0, len(x), 1000):
        x[start : start + 1000] = digits[RNG.integers(0, len(digits), 1000)]
    np.save("few.npy", digits[:1000])
    wide = ["--set", "model.n_code=4096"]
    assert main(["train", "digits-topk", "--out", "run", *SHORT, *wide]) == 0
    command = [sys.executable, "-c", MEASURED]
    done = subprocess.run([*command, "whole"], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 100
    shutil.rmtree("few")
    killed = subprocess.Popen([*command, "codes"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(Path("codes/codes-00002.safetensors").exists, killed)
    killed.kill()
    killed.wait()
    assert not Path("codes/index.json").exists()
    assert main(["encode", "run", "x.npy", "--out", "codes", "--rows-per-shard", "5000"]) == 0
    assert contents(Path("codes")) == contents(Path("whole"))
