"""Folders and zip files of images."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import photographs, save, tile_folder, tiles, zipped
from PIL import Image

from sparsecode.data import ImageFolder, Patches, Split
from sparsecode.data.images import find_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tile_folder(tmp_path / "tiles", 20)


def rows(split: Split) -> set[bytes]:
    return {row.numpy().tobytes() for row in split.x}


def test_pictures_of_the_asked_size_come_back_as_they_are(folder: Path) -> None:
    splits = ImageFolder(path=str(folder), size=100, valid=0.2).load()
    assert [split.n for split in splits[:3]] == [14, 4, 2]
    assert splits.shape == (3, 100, 100)
    expected = {(np.float32(tile.transpose(2, 0, 1)) / 255).tobytes() for tile in tiles()[:20]}
    assert set.union(*map(rows, splits[:3])) == expected
    assert (splits.low, splits.high) == (0, 1)


def test_the_central_square_is_taken_and_resized(tmp_path: Path) -> None:
    photo = photographs()[0]
    for i in range(3):
        save(tmp_path / f"{i}.png", photo)
    result = ImageFolder(path=str(tmp_path), size=61, valid=0.34, test=0.34).load().train.x[0]  # 427 = 7 x 61
    square = photo[:, 106:533].reshape(61, 7, 61, 7, 3).mean(axis=(1, 3)) / 255
    assert np.abs(result.permute(1, 2, 0).numpy() - square).mean() < 0.02
    assert np.abs(np.roll(result.permute(1, 2, 0).numpy(), 2, axis=1) - square).mean() > 0.04  # it can fail


def test_grey_is_luma(folder: Path) -> None:
    colour, grey = (ImageFolder(path=str(folder), size=100, grey=grey).load().train.x for grey in (False, True))
    assert grey.shape == (16, 1, 100, 100)
    expected = (colour * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(dim=1, keepdim=True)
    torch.testing.assert_close(grey, expected, atol=1.1 / 255, rtol=0)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg", ".JPEG", ".webp"])
def test_every_format_is_read_from_folders_and_zip_files(suffix: str, tmp_path: Path) -> None:
    folder = tile_folder(tmp_path / "tiles", 12, suffix)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / f"tile{suffix}").write_bytes(b"")
    splits = ImageFolder(path=str(folder), size=100, grey=True).load()
    packed = ImageFolder(path=str(zipped(folder, tmp_path / "tiles.zip")), size=100, grey=True).load()
    assert [split.n for split in splits[:3]] == [10, 1, 1]
    assert packed.fingerprint() == splits.fingerprint()
    reference = ImageFolder(path=str(tile_folder(tmp_path / "png", 12)), size=100, grey=True).load()
    assert (splits.train.x - reference.train.x).abs().mean() < (
        0.02 if suffix.lower() in (".jpg", ".jpeg", ".webp") else 1e-7
    )


def test_images_are_found_in_order_and_links_once(folder: Path) -> None:
    names = find_images(folder).names
    assert list(names) == sorted(names)
    assert sum(name.startswith("deeper/") for name in names) == 7
    (folder / "again").symlink_to(folder)
    assert find_images(folder).names == names


def test_a_changed_file_is_read_again(folder: Path) -> None:
    source = ImageFolder(path=str(folder), size=8)
    before = source.load().fingerprint()
    assert source.load().fingerprint() == before
    save(folder / "tile01.png", tiles()[30])
    os.utime(folder / "tile01.png", ns=(0, 12345))
    assert source.load().fingerprint() != before


def test_a_relative_path_is_kept_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert ImageFolder(path="tiles").path == Patches(images="tiles").images == str(folder)


@pytest.mark.parametrize(("suffix", "keep"), [(".jpg", 0.5), (".png", 0.5), (".jpg", 0), (".png", 0.02), (".bmp", 0.9)])
@pytest.mark.parametrize("packed", [False, True])
def test_an_unreadable_image_is_named(suffix: str, keep: float, packed: bool, tmp_path: Path) -> None:
    folder = tile_folder(tmp_path / "tiles", 12, suffix)
    victim = folder / f"tile07{suffix}"
    data = victim.read_bytes()
    victim.write_bytes(data[: int(keep * len(data))])
    path = zipped(folder, tmp_path / "tiles.zip") if packed else folder
    with pytest.raises(ValueError, match=r"not a readable image \(.*\); repair or remove it") as caught:
        ImageFolder(path=str(path), size=8).load()
    assert str(caught.value).startswith(f"{path / victim.name}: ")
    with pytest.raises(ValueError, match=rf"tile07{suffix}: not a readable image"):
        Patches(images=str(path), size=8, n_train=100, n_valid=10, n_test=10).load()


def test_a_damaged_zip_file_is_named(folder: Path, tmp_path: Path) -> None:
    path = zipped(folder, tmp_path / "tiles.zip")
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-50])
    with pytest.raises(
        ValueError, match=r"tiles\.zip: not a readable zip file .*expected a folder of images or a \.zip"
    ):
        ImageFolder(path=str(path)).load()
    data[5000] ^= 0xFF  # inside an image: its checksum fails
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"tiles\.zip/.*tile\d\d\.png: not a readable image"):
        ImageFolder(path=str(path)).load()


def test_no_images_no_folder_and_too_few_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"empty: no images in it; expected files that end in \.png, \.jpg"):
        ImageFolder(path=str(tmp_path / "empty")).load()
    with pytest.raises(
        FileNotFoundError, match=r"absent: no such folder or file; expected a folder of images or a \.zip"
    ):
        ImageFolder(path=str(tmp_path / "absent")).load()
    with pytest.raises(ValueError, match=r"few: 5 samples cannot be split into 80% train, 10% valid, 10% test"):
        ImageFolder(path=str(tile_folder(tmp_path / "few", 5))).load()


def test_rows_differ_between_seeds_and_shares_hold(folder: Path) -> None:
    splits = ImageFolder(path=str(folder), size=8, valid=0.25, test=0.35).load()
    assert [split.n for split in splits[:3]] == [math.ceil(0.4 * 20), 5, 7]
    assert len(set.union(*map(rows, splits[:3]))) == 20


def test_photographs_stand_upright(tmp_path: Path) -> None:
    """A camera held on its side writes rows as columns, and says so."""
    picture = Image.fromarray(photographs()[0][:300, :300])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    for i in range(3):
        picture.save(tmp_path / f"upright{i}.png")
        picture.rotate(90, expand=True).save(tmp_path / f"side{i}.png", exif=exif)
    splits = ImageFolder(path=str(tmp_path), size=300, valid=0.2, test=0.2).load()
    assert len(set.union(*map(rows, splits[:3]))) == 1


def test_folders_may_be_classes(tmp_path: Path) -> None:
    for i, tile in enumerate(tiles()[:24]):
        save(tmp_path / ("ships", "apes", "mice")[i % 3] / "more" / f"{i:02d}.png", tile)
    of = {
        (np.float32(tile.transpose(2, 0, 1)) / 255).tobytes(): (2, 0, 1)[i % 3] for i, tile in enumerate(tiles()[:24])
    }
    splits = ImageFolder(path=str(tmp_path), size=100, valid=0.2, test=0.2, labelled=True).load()
    for split in splits[:3]:
        assert split.label is not None
        assert split.label.tolist() == [of[x.numpy().tobytes()] for x in split.x]
    save(tmp_path / "loose.png", tiles()[40])
    with pytest.raises(ValueError, match=r"loose\.png is in no sub-folder, which would be its class"):
        ImageFolder(path=str(tmp_path), size=100, labelled=True).load()


@pytest.mark.parametrize("packed", [False, True])
def test_unreadable_files_may_be_left_out_with_their_count(packed: bool, folder: Path, tmp_path: Path) -> None:
    for i in (3, 6):
        victim = next(folder.rglob(f"tile{i:02d}.png"))
        victim.write_bytes(victim.read_bytes()[:2000])
    path = zipped(folder, tmp_path / "tiles.zip") if packed else folder
    source = ImageFolder(path=str(path), size=100, skip_unreadable=True)
    with pytest.warns(UserWarning, match=r"2 of 20 files cannot be read and are left out"):
        splits = source.load()
    with pytest.warns(UserWarning, match=r"2 of 20 files"):  # from the cache
        assert source.load().fingerprint() == splits.fingerprint()
    good = {(np.float32(t.transpose(2, 0, 1)) / 255).tobytes() for i, t in enumerate(tiles()[:20]) if i not in (3, 6)}
    assert set.union(*map(rows, splits[:3])) == good
