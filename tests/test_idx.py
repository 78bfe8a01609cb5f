"""The IDX format, finding its files, and the MNIST split."""

import gzip
import hashlib
import os
import struct
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sparsecode.data import MNIST, FashionMNIST
from sparsecode.data.downloads import Remote, contents
from sparsecode.data.mnist import parse_idx
from sparsecode.data.published import FASHION

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx(array: NDArray[Any]) -> bytes:
    """An array as IDX bytes."""
    kind = array.dtype.newbyteorder(">").str.replace("|", "")
    return (
        struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[kind], array.ndim, *array.shape) + array.astype(kind).tobytes()
    )


@pytest.mark.parametrize("kind", list(CODES))
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 1, 3), (0, 4)])
def test_arrays_come_back_from_idx(kind: str, shape: tuple[int, ...]) -> None:
    array = (np.arange(np.prod(shape)) * 7 - 3).astype(kind).reshape(shape)
    result = parse_idx(idx(array), "file")
    assert result.dtype == np.dtype(kind)
    np.testing.assert_array_equal(result, array)


GOOD = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"^f: not an IDX file \(it starts with nothing\)"),
        (b"\0\0\x08", r"^f: not an IDX file \(it starts with 00 00 08\)"),
        (b"\x89PNG", r"^f: not an IDX file \(it starts with 89 50 4e 47\)"),
        (b"\0\0\x0a" + GOOD[3:], "^f: not an IDX file"),  # 0x0A is no type
        (GOOD[:11], "^f: not an IDX file"),  # the header itself cut
        (GOOD[:-1], r"^f: 17 bytes, but its header announces 18 \(shape \(2, 3\)\)"),
        (GOOD + b"\0", "^f: 19 bytes, but its header announces 18"),
    ],
)
def test_what_is_no_idx_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_idx(data, "f")


FIRST = "train-images-idx3-ubyte.gz"
PUBLISHED = "https://ossci-datasets.s3.amazonaws.com/mnist/"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that MNIST is looked for in, empty."""
    monkeypatch.setenv("SPARSECODE_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    return tmp_path / "mnist"


def test_a_missing_file_is_named_with_its_place_and_remedy(folder: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        MNIST().load()
    message = str(caught.value)
    assert message.startswith(f"{FIRST}: not in {folder} (neither gzipped nor unpacked). ")
    assert (
        f"Put it there from {PUBLISHED}{FIRST}, as `sparsecode data get` does, or unset SPARSECODE_DATA to" in message
    )


@pytest.mark.parametrize("damage", [lambda d: d[:-20], lambda d: d[:5], lambda d: b"not gzip", lambda _: b""])
def test_a_damaged_file_is_named_with_its_remedy(damage: Any, folder: Path) -> None:
    (folder / FIRST).write_bytes(damage(gzip.compress(np.random.default_rng(0).bytes(1000))))
    with pytest.raises(ValueError, match=r"damaged or cut short|not the published file") as caught:
        MNIST().load()
    assert str(caught.value).startswith(f"{folder / FIRST}: ")
    assert str(caught.value).endswith(f"; replace it with the file from {PUBLISHED}{FIRST}")


def test_a_file_damaged_inside_is_named_with_its_remedy(folder: Path) -> None:
    packed = bytearray(gzip.compress(b"0123456789" * 100))
    packed[12] ^= 0xFF
    (folder / FIRST).write_bytes(packed)
    with pytest.raises(ValueError, match="damaged or cut short") as caught:
        MNIST().load()
    assert str(caught.value).startswith(f"{folder / FIRST}: ")


@pytest.mark.parametrize("name", [FIRST, FIRST.removesuffix(".gz")])
def test_another_file_of_that_name_is_refused(name: str, folder: Path) -> None:
    content = idx(np.zeros((2, 28, 28), np.uint8))
    (folder / name).write_bytes(gzip.compress(content) if name == FIRST else content)
    result = hashlib.sha256(content).hexdigest()[:12]
    with pytest.raises(ValueError, match=rf"not the published file \(SHA-256 of its contents {result}\.\.\.") as caught:
        MNIST().load()
    assert str(caught.value).startswith(f"{folder / name}: ")
    assert str(caught.value).endswith(f"; replace it with the file from {PUBLISHED}{FIRST}")


CONTENT = b"what is inside"
REMOTE = Remote("f.gz", "mnist", "https://example.invalid/f.gz", "0" * 64, hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize("level", [1, 9])
def test_a_file_is_taken_however_it_was_packed(level: int, folder: Path) -> None:
    (folder / "f.gz").write_bytes(gzip.compress(CONTENT, level))
    assert contents(REMOTE) == CONTENT


def test_a_file_is_taken_unpacked(folder: Path) -> None:
    (folder / "f").write_bytes(CONTENT)
    assert contents(REMOTE) == CONTENT


def test_a_failed_download_says_what_was_tried_and_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: Any, **__: Any) -> str:
        raise URLError(ConnectionError("no network"))

    monkeypatch.delenv("SPARSECODE_DATA", raising=False)
    monkeypatch.setenv("SPARSECODE_CACHE", str(tmp_path))
    monkeypatch.setattr("sparsecode.data.fetch.urlopen", offline)
    monkeypatch.setattr("sparsecode.data.fetch.PAUSE", 0.0)
    with pytest.raises(FileNotFoundError) as caught:
        contents(REMOTE)
    assert str(caught.value) == (
        f"f.gz: not in {tmp_path / 'mnist'}, and the download from {REMOTE.url} failed (no network). "
        "Check the network, or set SPARSECODE_DATA to a folder that holds mnist/f.gz"
    )


def test_a_damaged_download_says_what_to_delete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "mnist" / "f.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(b"something else"))
    monkeypatch.delenv("SPARSECODE_DATA", raising=False)
    monkeypatch.setenv("SPARSECODE_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"not the published file .*; delete it to download it again from") as caught:
        contents(REMOTE)
    assert str(caught.value).startswith(f"{path}: ")


def numbered(remote: Remote) -> bytes:
    """Stand-ins for MNIST's files: image i is two pixels that spell i, and its label is i modulo 10."""
    n = 60_000 if remote.name.startswith("train") else 10_000
    i = np.arange(n)
    return idx((i % 10 if "labels" in remote.name else np.stack([i // 256, i % 256], 1)[:, None]).astype(np.uint8))


def numbers(x: torch.Tensor) -> list[int]:
    high, low = (x.flatten(1) * 255).round().long().T
    return (256 * high + low).tolist()


def test_split_is_the_fixed_permutation_cut_at_55_000(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsecode.data.mnist.contents", numbered)
    splits = MNIST().load()
    order = np.random.RandomState(31).permutation(60_000)
    assert numbers(splits.train.x) == order[:55_000].tolist()
    assert numbers(splits.valid.x) == order[55_000:].tolist()
    assert numbers(splits.train.x)[:3] == [20948, 56127, 40804]
    assert numbers(splits.valid.x)[:3] == [10658, 20558, 59484]
    assert numbers(splits.test.x) == list(range(10_000))
    for split in splits[:3]:
        assert split.label is not None
        assert split.label.dtype == torch.int64
        assert split.label.tolist() == [i % 10 for i in numbers(split.x)]


def test_smaller_splits_are_beginnings_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsecode.data.mnist.contents", numbered)
    splits = MNIST(n_train=3, n_valid=2, n_test=1).load()
    assert [numbers(split.x) for split in splits[:3]] == [[20948, 56127, 40804], [10658, 20558], [0]]


NAMES = (FIRST, "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


@pytest.fixture
def fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files in the layout of Fashion-MNIST, of tiny images, and their sums in place of the published ones."""
    monkeypatch.setenv("SPARSECODE_DATA", str(tmp_path))
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    sums: list[tuple[str, str]] = []
    for name in NAMES:
        content = numbered(Remote(name, "", "", ""))
        (folder / name).write_bytes(gzip.compress(content, 1))
        sums.append(("md5:of the published file", hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr("sparsecode.data.mnist.FASHION", FASHION._replace(sums=tuple(sums)))
    return folder


def test_fashion_mnist_is_read_from_its_files_and_split_as_mnist(fashion: Path) -> None:
    splits = FashionMNIST(n_train=4, n_valid=3, n_test=2).load()
    assert (splits.shape, splits.low, splits.high) == ((1, 1, 2), 0, 1)
    assert [numbers(split.x) for split in splits[:3]] == [[20948, 56127, 40804, 31712], [10658, 20558, 59484], [0, 1]]
    assert splits.valid.label is not None
    assert splits.valid.label.tolist() == [8, 8, 4]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_fashion_mnist_is_verified(name: str, fashion: Path) -> None:
    content = bytearray(gzip.decompress((fashion / name).read_bytes()))
    content[-1] ^= 1
    (fashion / name).write_bytes(gzip.compress(content, 1))
    with pytest.raises(ValueError, match=r"not the published file .*; replace it with the file from http") as caught:
        FashionMNIST().load()
    assert str(caught.value).startswith(f"{fashion / name}: ")


def test_files_of_mnist_do_not_pass_for_fashion_mnist(fashion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsecode.data.mnist.FASHION", FASHION)
    with pytest.raises(ValueError, match=r"expected c59f468a2f67\.\.\."):
        FashionMNIST().load()
    (fashion / FIRST).unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"^{FIRST}: not in {fashion} \(neither gzipped nor unpacked\)\. Put it there"
    ):
        FashionMNIST().load()


HERE = Path(os.environ.get("SPARSECODE_DATA", "nowhere")) / "mnist"


@pytest.mark.slow
@pytest.mark.skipif(not (HERE / FIRST).is_file(), reason="SPARSECODE_DATA names no folder with MNIST in it")
def test_mnist_is_the_published_one() -> None:
    splits = MNIST().load()
    assert [tuple(split.x.shape) for split in splits[:3]] == [(n, 1, 28, 28) for n in (55_000, 5_000, 10_000)]
    assert {split.x.dtype for split in splits[:3]} == {torch.float32}
    assert (splits.low, splits.high, splits.shape) == (0.0, 1.0, (1, 28, 28))
    assert (float(splits.train.x.min()), float(splits.train.x.max())) == (0.0, 1.0)
    everything = torch.cat([splits.train.x, splits.valid.x]).double()
    assert float(everything.mean()) == pytest.approx(0.1307, abs=5e-5)
    assert float(everything.std()) == pytest.approx(0.3081, abs=5e-5)
    images = parse_idx(gzip.decompress((HERE / FIRST).read_bytes()), FIRST)
    for split, first in ((splits.train, [20948, 56127, 40804]), (splits.valid, [10658, 20558, 59484])):
        np.testing.assert_allclose(split.x[:3, 0].numpy() * 255, images[first], atol=1e-4)
    assert splits.test.label is not None
    assert splits.test.label[:5].tolist() == [7, 2, 1, 0, 4]
