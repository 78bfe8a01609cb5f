"""CIFAR-10 from small files of the published layouts, which the tests write."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pictures import tiles

from sparsecode.data import CIFAR10
from sparsecode.data.cifar import parse_records
from sparsecode.data.downloads import Remote

BATCHES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
PER_BATCH = 8
IMAGES = np.stack([tile[:32, :32].transpose(2, 0, 1) for tile in tiles()])  # [48, 3, 32, 32]: six batches of 8
LABELS = (np.arange(48) * 7 % 10).astype(np.uint8)


def batch(i: int) -> bytes:
    """The i-th file: a label byte, then red, green and blue planes, row by row."""
    mine = range(i * PER_BATCH, (i + 1) * PER_BATCH)
    return b"".join(
        bytes([LABELS[k]]) + IMAGES[k, 0].tobytes() + IMAGES[k, 1].tobytes() + IMAGES[k, 2].tobytes() for k in mine
    )


def write_batches(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(BATCHES):
        (folder / name).write_bytes(batch(i))
    return folder


def write_archive(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive, and its sum in place of the published one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in [(name, batch(i)) for i, name in enumerate(BATCHES)]:
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    remote = Remote(
        path.name, "cifar10", "https://example.invalid/c", f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
    )
    monkeypatch.setattr("sparsecode.data.cifar.CIFAR10_ARCHIVE", remote)
    return path


def write_excerpt(path: Path, **changed: NDArray[Any]) -> Path:
    arrays = {"x_train": IMAGES[:40], "y_train": LABELS[:40], "x_test": IMAGES[40:], "y_test": LABELS[40:]}
    np.savez(path, allow_pickle=False, **(arrays | changed))
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARSECODE_DATA", str(tmp_path))
    return tmp_path


SMALL = CIFAR10(n_train=30, n_valid=5, n_test=8)


@pytest.mark.parametrize("layout", ["archive", "unpacked", "unpacked in its folder", "excerpt", "downloaded"])
def test_every_layout_gives_the_same_images(layout: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    match layout:
        case "archive":
            write_archive(root / "cifar10" / "cifar-10-binary.tar.gz", monkeypatch)
        case "unpacked":
            write_batches(root / "cifar10")
        case "unpacked in its folder":
            write_batches(root / "cifar10" / "cifar-10-batches-bin")
        case "excerpt":
            write_excerpt(root / "cifar10_train10k_test1k.npz")
        case _:
            write_archive(root / "cifar10" / "cifar-10-binary.tar.gz", monkeypatch)
            monkeypatch.delenv("SPARSECODE_DATA")
            monkeypatch.setenv("SPARSECODE_CACHE", str(root))
    splits = SMALL.load()
    assert (splits.shape, splits.low, splits.high) == ((3, 32, 32), 0, 1)
    for split, rows in zip(splits[:3], (slice(0, 30), slice(35, 40), slice(40, 48)), strict=True):
        torch.testing.assert_close(split.x, torch.from_numpy(IMAGES[rows]).float() / 255)
        assert split.x.dtype == torch.float32
        assert split.label is not None
        assert split.label.dtype == torch.int64
        assert split.label.tolist() == LABELS[rows].tolist()


def test_grey_is_luma(root: Path) -> None:
    write_batches(root / "cifar10")
    splits = CIFAR10(n_train=30, n_valid=5, n_test=8, grey=True).load()
    assert splits.shape == (1, 32, 32)
    expected = np.tensordot([0.299, 0.587, 0.114], IMAGES[:30], axes=(0, 1))[:, None] / 255
    np.testing.assert_allclose(splits.train.x.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            CIFAR10(n_train=36, n_valid=5, n_test=8),
            r"n_train \+ n_valid is 41, and .*cifar10 holds 40; expected at most",
        ),
        (CIFAR10(n_train=30, n_valid=5, n_test=9), r"n_test is 9, and .*cifar10 holds 8; expected at most"),
        (CIFAR10(), r"n_train \+ n_valid is 50000, and .* holds 40"),
    ],
)
def test_more_than_there_is_is_refused(spec: CIFAR10, message: str, root: Path) -> None:
    write_batches(root / "cifar10")
    with pytest.raises(ValueError, match=message):
        spec.load()


def test_a_missing_archive_is_named_with_its_places_and_remedy(root: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        SMALL.load()
    assert str(caught.value) == (
        f"cifar-10-binary.tar.gz: not in {root / 'cifar10'}, nor are its files (data_batch_1.bin, ...), nor is there "
        f"{root / 'cifar10_train10k_test1k.npz'}. Put the first there from "
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz, or unset SPARSECODE_DATA to download it"
    )


def test_another_archive_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_archive(root / "cifar10" / "cifar-10-binary.tar.gz", monkeypatch)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        ValueError, match=r"not the published file \(MD5 .*\); replace it with the file from https"
    ) as caught:
        SMALL.load()
    assert str(caught.value).startswith(f"{path}: ")


def test_the_published_sum_is_expected(root: Path) -> None:
    (root / "cifar10").mkdir()
    (root / "cifar10" / "cifar-10-binary.tar.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected c32a1d4ab5d0\.\.\."):
        SMALL.load()


def test_a_missing_part_is_named(root: Path) -> None:
    folder = write_batches(root / "cifar10")
    (folder / BATCHES[2]).unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_3\.bin: no such file, beside others of CIFAR-10"):
        SMALL.load()


def test_a_part_cut_short_is_named(root: Path) -> None:
    file = write_batches(root / "cifar10") / BATCHES[3]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(
        ValueError, match=r"data_batch_4\.bin: 24484 bytes; expected records of 3073 bytes\. Get it again"
    ):
        SMALL.load()


def test_what_are_no_records_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^f: 0 bytes; expected records"):
        parse_records(b"", "f")
    with pytest.raises(ValueError, match=r"^f: labels from 0 to 10; expected 0 to 9"):
        parse_records(b"\0" * 3073 + b"\x0a" + b"\0" * 3072, "f")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"x_train": IMAGES[:40].astype(np.float32)},
            r"images float32 \(40, 3, 32, 32\) with 40 labels; expected uint8",
        ),
        ({"x_train": IMAGES[:40, :, :31]}, r"images uint8 \(40, 3, 31, 32\)"),
        ({"y_test": LABELS[:3]}, r"images uint8 \(8, 3, 32, 32\) with 3 labels"),
        ({"y_test": LABELS[40:] + 10}, r"labels from 1\d to 1\d; expected 0 to 9"),
    ],
)
def test_an_excerpt_of_something_else_is_refused(changed: dict[str, Any], message: str, root: Path) -> None:
    write_excerpt(root / "cifar10_train10k_test1k.npz", **changed)
    with pytest.raises(ValueError, match=rf"cifar10_train10k_test1k\.npz: {message}"):
        SMALL.load()


def test_a_damaged_excerpt_is_named(root: Path) -> None:
    path = root / "cifar10_train10k_test1k.npz"
    np.savez(path, x_train=IMAGES)
    with pytest.raises(
        ValueError, match=r"npz: damaged, or without x_train, y_train, .*y_train.*; replace it, or put cifar"
    ):
        SMALL.load()
    write_excerpt(path).write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"npz: damaged"):
        SMALL.load()
