"""The user's own arrays: read whatever NumPy wrote, refuse the rest by name."""

import io
import pickle
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sparsecode.data import Arrays
from sparsecode.data.arrays import read_array

Array = NDArray[Any]

A = np.random.default_rng(0).normal(size=(40, 2, 3))


def npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(compressed: bool = False, **arrays: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def to_file(data: bytes) -> Path:
        path = tmp_path / "samples"
        path.write_bytes(data)
        return path

    return to_file


@pytest.mark.parametrize(
    "array",
    [A, A.astype("f4"), A.astype("f2"), A.astype(">f8"), np.asfortranarray(A), (A * 9).astype("i2"), A > 0],
    ids=["f8", "f4", "f2", "big-endian", "fortran", "integers", "booleans"],
)
def test_real_numbers_become_float32(array: Array, write: Callable[[bytes], Path]) -> None:
    result = read_array(write(npy(array)))
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, array.astype(np.float32))


@pytest.mark.parametrize("compressed", [False, True])
def test_an_archive_of_one_needs_no_key(compressed: bool, write: Callable[[bytes], Path]) -> None:
    np.testing.assert_array_equal(read_array(write(npz(compressed, a=A))), A.astype(np.float32))


def test_the_key_chooses_in_an_archive_of_several(write: Callable[[bytes], Path]) -> None:
    path = write(npz(a=A, b=2 * A))
    np.testing.assert_array_equal(read_array(path, "b"), (2 * A).astype(np.float32))


NAN = np.where(np.arange(40)[:, None, None] % 20 == 7, np.nan, A)
OBJECTS = np.array([[{}], [[]]], dtype=object)


def swapped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("data", "key", "message"),
    [
        pytest.param(npy(NAN), None, "2 samples with NaN, infinity or values beyond float32, first in row 7", id="nan"),
        pytest.param(npy(np.full((2, 2), np.inf)), None, "2 samples with NaN", id="infinity"),
        pytest.param(npy(A[0, 0]), None, r"shape \(3,\); expected \[n_samples, \.\.\.features\]", id="one axis"),
        pytest.param(npy(A[0, 0, 0]), None, r"shape \(\); expected", id="no axis"),
        pytest.param(npy(A[:0]), None, r"shape \(0, 2, 3\); expected .*none of them 0", id="no samples"),
        pytest.param(npy(A[:, :0]), None, r"shape \(40, 0, 3\)", id="no features"),
        pytest.param(npy(A + 1j), None, "values of type complex128; expected real numbers", id="complex"),
        pytest.param(npy(A.astype(str)), None, "values of type <U.*; expected real numbers", id="text"),
        pytest.param(npy(A.astype("M8[s]")), None, r"values of type datetime64\[s\]", id="times"),
        pytest.param(npy(A * 1e300), None, "float32|infinity", id="beyond float32"),
        pytest.param(npy(OBJECTS), None, "holds Python objects; expected real numbers", id="pickled objects"),
        pytest.param(
            npz(a=OBJECTS), None, "holds Python objects; expected real numbers", id="pickled objects in an archive"
        ),
        pytest.param(pickle.dumps(A), None, "not a .npy or .npz file", id="pickle"),
        pytest.param(b"1, 2, 3\n", None, "not a .npy or .npz file", id="text file"),
        pytest.param(b"", None, "damaged or cut short", id="empty file"),
        pytest.param(npy(A)[:-1], None, "damaged or cut short|not a .npy", id="cut array"),
        pytest.param(npy(A)[:50], None, "damaged or cut short|not a .npy", id="cut header"),
        pytest.param(
            npy(A).replace(b"(", b"(True, ", 1).replace(b" " * 6 + b"\n", b"\n"),
            None,
            "damaged or cut short",
            id="a bool in the shape",
        ),
        pytest.param(npz(a=A)[:-1], None, "damaged or cut short", id="cut archive"),
        pytest.param(npz(a=A)[:500], None, "damaged or cut short", id="half an archive"),
        pytest.param(swapped(npz(a=A), 500), None, "damaged or cut short", id="damaged archive"),
        pytest.param(swapped(npz(True, a=A.round(1)), 60), None, "damaged or cut short", id="damaged compression"),
        pytest.param(npz(a=A, b=A), None, "holds a, b, and no key is given; set `key` to one of them", id="no key"),
        pytest.param(npz(a=A, b=A), "c", "holds a, b, and there is no 'c'; set `key`", id="wrong key"),
        pytest.param(npz(a=A), "c", "holds a, and there is no 'c'", id="wrong key of one"),
        pytest.param(npy(A), "c", "key is 'c', and a .npy file holds one array without a name", id="key without names"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    data: bytes, key: str | None, message: str, write: Callable[[bytes], Path]
) -> None:
    path = write(data)
    with pytest.raises(ValueError, match=message) as caught:
        read_array(path, key)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_stored_config_with_a_key_for_one_array_is_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(npy(A))
    with_key, without = (Arrays(str(path), key=key).load().train.x for key in ("samples", None))
    assert torch.equal(with_key, without)


def test_refusing_a_file_closes_it(write: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    real = io.open

    def watched(*args: Any, **kwargs: Any) -> Any:
        opened.append(real(*args, **kwargs))
        return opened[-1]

    path = write(npz(a=A)[:500])
    monkeypatch.setattr("builtins.open", watched)
    with pytest.raises(ValueError, match="damaged or cut short"):
        read_array(path)
    monkeypatch.undo()
    open_files = [file for file in opened if not file.closed]
    for file in open_files:
        file.close()
    assert open_files == []


@pytest.mark.parametrize(("name", "state"), [("missing.npy", "no such file"), (".", "is a folder")])
def test_a_missing_file_is_named(name: str, state: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"{state}; expected a \.npy or \.npz file") as caught:
        read_array(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


def rows(x: torch.Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


@pytest.mark.usefixtures("global_rng_untouched")
def test_splits_share_the_samples_out(write: Callable[[bytes], Path]) -> None:
    splits = Arrays(path=str(write(npy(A))), valid=0.25, test=0.2).load()
    assert [tuple(split.x.shape) for split in splits[:3]] == [(22, 2, 3), (10, 2, 3), (8, 2, 3)]
    assert splits.shape == (2, 3)
    assert [split.label for split in splits[:3]] == [None] * 3
    assert set.union(*(rows(split.x) for split in splits[:3])) == rows(torch.from_numpy(A.astype(np.float32)))


def test_splits_are_a_function_of_the_seed(write: Callable[[bytes], Path]) -> None:
    path = str(write(npy(A)))
    first, again, other = (Arrays(path=path, seed=seed).load() for seed in (0, 0, 1))
    assert all(torch.equal(a.x, b.x) for a, b in zip(first[:3], again[:3], strict=True))
    assert rows(first.test.x) != rows(other.test.x)


def test_range_is_that_of_the_training_samples(write: Callable[[bytes], Path]) -> None:
    splits = Arrays(path=str(write(npy(A))), valid=0.45, test=0.45).load()
    assert (splits.low, splits.high) == (float(splits.train.x.min()), float(splits.train.x.max()))
    assert A.min() < splits.low - 0.1  # the extremes are in other splits
    assert A.max() > splits.high + 0.1
    assert splits.data_range == splits.high - splits.low


def test_blocks_of_samples_stay_in_one_split(write: Callable[[bytes], Path]) -> None:
    numbered = np.arange(94, dtype=np.float16)[:, None]  # 13 blocks of 7 and one of 3
    splits = Arrays(path=str(write(npy(numbered))), valid=0.2, test=0.2, block=7).load()
    blocks = [split.x.flatten().div(7, rounding_mode="floor").unique().tolist() for split in splits[:3]]
    assert sorted(chain(*blocks)) == list(range(14))
    assert [len(part) for part in blocks] == [10, 2, 2]
    assert sum(split.n for split in splits[:3]) == 94


def test_blocks_that_are_too_few_are_refused(write: Callable[[bytes], Path]) -> None:
    path = write(npy(A))
    with pytest.raises(ValueError, match=r"2 blocks of 20 samples cannot be split into"):
        Arrays(path=str(path), block=20).load()


@pytest.mark.parametrize(("n", "valid", "test"), [(5, 0.1, 0.3), (5, 0.3, 0.1), (10, 0.5, 0.5), (10, 0.6, 0.6)])
def test_a_split_without_samples_is_refused(n: int, valid: float, test: float, write: Callable[[bytes], Path]) -> None:
    path = write(npy(A[:n]))
    with pytest.raises(ValueError, match=f"{n} samples cannot be split into .*at least one in each") as caught:
        Arrays(path=str(path), valid=valid, test=test).load()
    assert str(caught.value).startswith(f"{path}: ")


def test_data_that_do_not_vary_are_refused(write: Callable[[bytes], Path]) -> None:
    path = write(npy(np.full((30, 2), 0.5)))
    with pytest.raises(ValueError, match=r"all training values are 0\.5; expected data that vary") as caught:
        Arrays(path=str(path)).load()
    assert str(caught.value).startswith(f"{path}: ")


def test_the_key_reaches_the_archive(write: Callable[[bytes], Path]) -> None:
    path = str(write(npz(a=np.zeros((40, 2)), b=A)))
    assert Arrays(path=path, key="b").load().shape == (2, 3)


def test_a_relative_path_holds_wherever_the_run_goes_on(
    write: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write(npy(A))
    monkeypatch.chdir(tmp_path)
    source = Arrays(path=path.name)
    monkeypatch.chdir("/")
    assert source.path == str(path)
    assert source.load().shape == (2, 3)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_shares_are_between_nothing_and_all(share: float) -> None:
    with pytest.raises(ValueError, match=r"^Arrays\.valid: got"):
        Arrays(path="a.npy", valid=share)


def test_targets_go_where_their_samples_go(write: Callable[[bytes], Path], tmp_path: Path) -> None:
    y = A.reshape(40, 6)[:, :4] * 5 + 1
    np.save(tmp_path / "y.npy", y)
    path = write(npz(a=A, y=y))
    inside = Arrays(path=str(path), key="a", target_key="y")
    beside = Arrays(path=str(path), key="a", target="y.npy")
    for source in (inside, beside):
        splits = source.load()
        for part in splits[:3]:
            assert part.target is not None
            torch.testing.assert_close(part.target, part.x.flatten(1)[:, :4] * 5 + 1)
            taken = part.take(slice(2)).to(torch.device("cpu"), torch.float64)
            assert taken.target is not None
            assert (taken.target.dtype, taken.target.shape) == (torch.float64, (2, 4))
        target = splits.train.target
        assert target is not None
        assert (splits.low, splits.high) == (float(target.min()), float(target.max()))
        assert splits.span() == (float(splits.train.x.min()), float(splits.train.x.max()))
        plain = Arrays(path=str(path), key="a").load()
        assert torch.equal(plain.train.x, splits.train.x)
        assert plain.fingerprint() != splits.fingerprint()
        batch = splits.train.reader(0)(1, 3, 9)
        assert batch.target is not None
        torch.testing.assert_close(batch.target, batch.x.flatten(1)[:, :4] * 5 + 1)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (A[:39], "39 targets, and 40 samples in .*samples; expected one for each"),
        (np.ones((40, 2)), "targets: all training values are 1; expected data that vary"),
        (np.full((40, 2), np.nan), "40 samples with NaN"),
        (None, r"y\.npy: no such file"),
    ],
)
def test_targets_that_do_not_fit_are_refused(
    target: Array | None, message: str, write: Callable[[bytes], Path], tmp_path: Path
) -> None:
    if target is not None:
        np.save(tmp_path / "y.npy", target)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Arrays(path=str(write(npy(A))), target="y.npy").load()
