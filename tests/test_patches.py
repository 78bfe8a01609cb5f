"""Patches of photographs: where they come from, and the cache they are built into."""

import time
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pictures import photographs, save, tile_folder, zipped

from sparsecode.data import LCN, Patches, Plain, Split, Splits
from sparsecode.data.cache import cached, key_of, mapped, written

replace = msgspec.structs.replace


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"size 28 by LCN needs crops of 52 pixels, and resize is 51; raise resize"):
        Patches(resize=51)
    with pytest.raises(ValueError, match=r"crops of 52 pixels do not fit into strips of 18"):
        Patches(resize=60).load()


SMALL = Patches(size=10, resize=128, n_train=260, n_valid=30, n_test=20, seed=4)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("SPARSECODE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "patches"


def built(cache: Path) -> Path:
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    return folder


def places_in(split: Split, strips: list[NDArray[np.uint8]]) -> list[list[tuple[int, int]]]:
    """Where each patch lies: (strip, column) of every place with the same grey levels."""
    bytes_of = (split.pixels(split.x) * 255).round().to(torch.uint8)[:, 0].numpy()
    result: list[list[tuple[int, int]]] = [[] for _ in bytes_of]
    for number, strip in enumerate(strips):
        windows = np.lib.stride_tricks.sliding_window_view(strip, bytes_of.shape[1:])
        for patch, places in zip(bytes_of, result, strict=True):
            rows, columns = np.nonzero((windows[..., 0, 0] == patch[0, 0]) & (windows[..., -1, -1] == patch[-1, -1]))
            places += [(number, c) for r, c in zip(rows, columns, strict=True) if (windows[r, c] == patch).all()]
    return result


def test_patches_of_the_photographs_come_from_strips_of_their_own(cache: Path) -> None:
    from PIL import Image

    small = [Image.fromarray(p).resize((191, 128), Image.Resampling.BILINEAR).convert("L") for p in photographs()]
    splits = replace(SMALL, preprocess=LCN(min_std=0)).load()  # some strips have little contrast
    for split, (left, right) in zip(splits[:3], ((0, 114), (114, 152), (152, 191)), strict=True):
        places = places_in(split.take(slice(0, 20)), [np.asarray(p) for p in small])
        assert all(places)
        assert {number for place in places for number, _ in place} == {0, 1}
        for (_, column), *more in places:
            assert more or left + 12 <= column <= right - 10 - 12


def test_the_level_is_one_number_from_training_crops(cache: Path) -> None:
    splits = SMALL.load()
    meta = msgspec.json.decode((built(cache) / "meta.json").read_bytes())
    least = [float(split.ctx[:, 1].min()) for split in splits[:3] if split.ctx is not None]
    assert least == pytest.approx([meta["floor"] * 0.259] * 3, rel=1e-5)
    assert meta["images"] == [2, 2, 2]
    assert from_batches(replace(SMALL, preprocess=LCN(floor="batch")).load()) > 1


def from_batches(splits: Splits) -> int:
    """How many floors there are among the training patches: the deviations that many pixels share."""
    assert splits.train.ctx is not None
    values, counts = splits.train.ctx[:, 1].flatten().unique(return_counts=True)
    return int((values[counts > 500]).numel())


def test_every_patch_has_enough_contrast(cache: Path) -> None:
    for split in SMALL.load()[:3]:
        assert split.x.flatten(1).std(dim=1).min() >= 0.5


def test_other_seeds_and_sizes_give_other_patches(cache: Path) -> None:
    first, more = SMALL.load(), replace(SMALL, n_train=300).load()
    assert torch.equal(more.train.x[:260], first.train.x)
    assert not torch.equal(replace(SMALL, seed=5).load().train.x, first.train.x)


def test_what_was_built_is_not_built_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SMALL.load()
    monkeypatch.setattr(Patches, "_build", lambda *_: pytest.fail("built again"))
    again = SMALL.load()
    assert again.fingerprint() == first.fingerprint()
    assert torch.equal(again.train.x, first.train.x)


def test_a_build_that_fails_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LCN, "prepare", interrupted)
        with pytest.raises(KeyboardInterrupt):
            SMALL.load()
    assert [path for path in cache.iterdir() if path.is_dir()] == []
    expected = SMALL.load()
    whole = built(cache)
    leftover = whole.with_name(whole.name + ".sparsecode.partial")  # what kill -9 in the middle leaves
    whole.rename(leftover)
    (leftover / "train.npy").unlink()  # not cut: it is mapped
    assert torch.equal(SMALL.load().train.x, expected.train.x)
    assert not leftover.exists()


def test_a_damaged_cache_is_named_with_its_remedy(cache: Path) -> None:
    SMALL.load()
    file = built(cache) / "valid_ctx.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"valid_ctx\.npy: damaged or gone .*; delete the folder .* to build it again"):
        SMALL.load()


def test_one_builds_while_others_wait(cache: Path) -> None:
    start, calls, result = Barrier(3), list[Path](), list[Path]()

    def build(folder: Path) -> None:
        calls.append(folder)
        time.sleep(0.2)
        (folder / "x").write_text("whole")

    def ask() -> None:
        start.wait()
        result.append(cached("patches", key_of(b"same"), build))

    threads = [Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert [(path / "x").read_text() for path in result] == ["whole"] * 3


def test_a_full_disk_is_foreseen(cache: Path) -> None:
    with pytest.raises(
        OSError, match=r"GB needed, .* GB free; make room, write to another disk .*set SPARSECODE_CACHE"
    ):
        replace(SMALL, n_train=10**11).load()
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPARSECODE_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot write to .*file/patches.*; set SPARSECODE_CACHE to another folder"):
        SMALL.load()


def test_rows_that_do_not_fill_a_file_are_noticed(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"x\.npy: 6 values were written; expected \(3, 3\)"),
        written(tmp_path / "x.npy", (3, 3)) as append,
    ):
        append(torch.zeros(2, 3))
    with written(tmp_path / "x.npy", (3, 3)) as append:
        append(torch.arange(6.0).reshape(2, 3))
        append(torch.arange(9.0).reshape(3, 3)[2:])
    assert torch.equal(mapped(tmp_path / "x.npy"), torch.arange(9.0).reshape(3, 3))


def flat(folder: Path, n: int) -> Path:
    """Images without any contrast."""
    for i in range(n):
        save(folder / f"{i}.png", np.full((80, 80), 10 * i, np.uint8))
    return folder


def test_too_few_patches_are_an_error_and_no_endless_search(cache: Path, tmp_path: Path) -> None:
    folder = flat(tmp_path / "flat", 4)
    spec = Patches(images=str(folder), resize=80, n_train=30, n_valid=2, n_test=2)
    with pytest.raises(
        ValueError, match=r"flat: 0 of 30 train patches after 750 crops of 2 images; .* lower preprocess\.min_std"
    ):
        spec.load()
    assert replace(spec, preprocess=Plain()).load().train.x.abs().max() < 1e-6


def slopes(folder: Path, n: int) -> Path:
    """Ramps: image i grows by i + 1 levels per column."""
    for i in range(n):
        save(folder / f"{i:02d}.png", np.broadcast_to(np.arange(20) * (i + 1), (20, 20)).astype(np.uint8))
    return folder


@pytest.mark.parametrize("seed", [0, 1])
def test_no_image_is_in_two_splits_and_all_are_used(seed: int, cache: Path, tmp_path: Path) -> None:
    images = str(slopes(tmp_path / "ramps", 12))
    spec = Patches(images=images, size=6, resize=20, preprocess=Plain(), n_train=80, n_valid=30, n_test=10, seed=seed)
    seen = [{round(float(row[0, 0, 1] - row[0, 0, 0]) * 255) - 1 for row in split.x} for split in spec.load()[:3]]
    assert [len(images) for images in seen] == [8, 3, 1]
    assert set.union(*seen) == set(range(12))


def test_two_images_cannot_be_dealt_to_three_splits(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ramps: 2 images; expected at least one for each of train, valid and test"):
        Patches(images=str(slopes(tmp_path / "ramps", 2)), size=6, resize=20, preprocess=Plain()).load()


def test_a_zip_file_gives_the_patches_of_its_folder(cache: Path, tmp_path: Path) -> None:
    folder = tile_folder(tmp_path / "tiles", 12, ".jpg")
    spec = Patches(images=str(folder), resize=80, n_train=300, n_valid=10, n_test=10, preprocess=LCN(min_std=0))
    packed = replace(spec, images=str(zipped(folder, tmp_path / "tiles.zip")))
    assert packed.load().fingerprint() == spec.load().fingerprint()


def test_another_file_means_another_build(cache: Path, tmp_path: Path) -> None:
    folder = slopes(tmp_path / "ramps", 6)
    spec = Patches(images=str(folder), size=6, resize=20, preprocess=Plain(), n_train=20, n_valid=2, n_test=2)
    before = spec.load().fingerprint()
    save(folder / "00.png", np.zeros((21, 21), np.uint8))
    assert spec.load().fingerprint() != before
