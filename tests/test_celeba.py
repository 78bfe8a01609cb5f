"""CelebA from small files of the published layouts, which the tests write."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pictures import photographs, save, zipped

from sparsecode.data import CelebA
from sparsecode.data.published import CELEBA
from sparsecode.recipes import RECIPES
from sparsecode.specs import from_json, to_json

PHOTOGRAPHS = photographs()
N = 30
PARTS = [0] * 20 + [1] * 6 + [2] * 4
SMILING, MALE = [i % 2 for i in range(N)], [i % 3 == 0 for i in range(N)]


def picture(i: int) -> NDArray[np.uint8]:
    """The i-th, 218 x 178 of a photograph."""
    return PHOTOGRAPHS[i % 2][5 * (i // 2) : 5 * (i // 2) + 218, 20 * (i // 2) : 20 * (i // 2) + 178]


def name(i: int) -> str:
    return f"{i + 1:06d}.jpg"


def published(folder: Path) -> Path:
    """Files as published: the lists in Anno and Eval, the pictures in Img."""
    for i in range(N):
        save(folder / "Img" / "img_align_celeba" / name(i), picture(i))
    lines = [f"{name(i)} {1 if SMILING[i] else -1:2d} {1 if MALE[i] else -1:2d} -1" for i in range(N)]
    (folder / "Anno").mkdir()
    (folder / "Anno" / "list_attr_celeba.txt").write_text("\n".join([str(N), "Smiling Male Bald ", *lines]))
    (folder / "Eval").mkdir()
    (folder / "Eval" / "list_eval_partition.txt").write_text("".join(f"{name(i)} {PARTS[i]}\n" for i in range(N)))
    return folder


def copied(folder: Path) -> Path:
    """The same as in copies: a folder in a folder of that name, and .csv files with headers."""
    for i in range(N):
        save(folder / "img_align_celeba" / "img_align_celeba" / name(i), picture(i))
    rows = [f"{name(i)},{1 if SMILING[i] else -1},{1 if MALE[i] else -1},-1" for i in range(N)]
    (folder / "list_attr_celeba.csv").write_text("\n".join(["image_id,Smiling,Male,Bald", *rows]))
    parts = [f"{name(i)},{PARTS[i]}" for i in range(N)]
    (folder / "list_eval_partition.csv").write_text("\n".join(["image_id,partition", *parts]))
    return folder


def packed(folder: Path) -> Path:
    """The same in a zip file beside the lists."""
    published(folder)
    shutil.move(folder / "Img" / "img_align_celeba", folder / "pictures" / "img_align_celeba")
    zipped(folder / "pictures", folder / "img_align_celeba.zip")
    for path in folder.glob("*/list*"):
        path.rename(folder / path.name)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return published(tmp_path / "celeba")


@pytest.mark.parametrize("layout", [published, copied, packed])
def test_every_copy_gives_the_official_parts_with_their_labels(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    source = CelebA(path=str(layout(tmp_path / "files")), size=178, attributes=("Smiling", "Male"))
    splits = source.load()
    assert splits.shape == (3, 178, 178)
    assert [split.n for split in splits[:3]] == [20, 6, 4]
    labels = [2 * s + m for s, m in zip(SMILING, MALE, strict=True)]
    assert [split.label.tolist() for split in splits[:3] if split.label is not None] == [
        labels[:20],
        labels[20:26],
        labels[26:],
    ]
    for split, rows in zip(splits[:3], (range(20), range(20, 26), range(26, N)), strict=True):
        for x, i in zip(split.x, rows, strict=True):
            expected = torch.from_numpy(picture(i)[20:198].transpose(2, 0, 1) / np.float32(255))
            assert (x - expected).abs().mean() < 0.03  # JPEG
    assert from_json(to_json(source), CelebA).load().fingerprint() == splits.fingerprint()


def test_crop_and_size(folder: Path) -> None:
    whole = CelebA(path=str(folder), size=178).load().train.x
    small, grey = CelebA(path=str(folder), size=40, crop=80).load(), CelebA(path=str(folder), size=40, grey=True).load()
    assert small.train.label is None
    assert grey.shape == (1, 40, 40)
    expected = torch.nn.functional.avg_pool2d(whole[:, :, 49:129, 49:129], 2)
    assert (small.train.x - expected).abs().mean() < 0.02
    with pytest.raises(ValueError, match=r"000001\.jpg: 178 x 218 pixels; expected at least crop, 179"):
        CelebA(path=str(folder), crop=179).load()


def test_beginnings_of_the_parts(folder: Path) -> None:
    whole = CelebA(path=str(folder), size=16, attributes=("Male",)).load()
    some = CelebA(path=str(folder), size=16, attributes=("Male",), n_train=3, n_test=1).load()
    assert [split.n for split in some[:3]] == [3, 6, 1]
    assert torch.equal(some.train.x, whole.train.x[:3])
    assert some.train.label is not None
    assert some.train.label.tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match=r"list_eval_partition\.txt: 6 pictures of .* are valid; expected at least 7"):
        CelebA(path=str(folder), n_valid=7).load()


def test_pictures_that_are_missing_or_unknown_are_left_out_with_a_warning(folder: Path) -> None:
    (folder / "Img" / "img_align_celeba" / name(4)).unlink()
    save(folder / "Img" / "img_align_celeba" / "another.jpg", picture(0))
    with pytest.warns(
        UserWarning, match="1 of 30 listed pictures are not there, 1 that are there not listed; 29 are used"
    ):
        assert CelebA(path=str(folder), size=8).load().train.n == 19


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "Eval/list_eval_partition.txt",
            "000001.jpg 3\n",
            r"a line reads '000001\.jpg 3'; expected a picture and its part",
        ),
        ("Eval/list_eval_partition.txt", "", r"0 pictures of .* are train; expected at least 1"),
        (
            "Anno/list_attr_celeba.txt",
            "1\nSmiling Male\n000001.jpg 1\n",
            r"the line of 000001\.jpg has 1 values; expected",
        ),
        ("Anno/list_attr_celeba.txt", "1\nSmiling Male\n000001.jpg 1 1\n", r"no line for 000002\.jpg"),
        ("Anno/list_attr_celeba.txt", "", r"attributes name 'Male'; choose from"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*listed")
def test_damaged_lists_are_named(file: str, text: str, message: str, folder: Path) -> None:
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        CelebA(path=str(folder), size=8, attributes=("Male",)).load()


def test_what_is_missing_is_named_with_its_remedy(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSECODE_DATA", str(tmp_path))
    assert CelebA(size=8).load().fingerprint() == CelebA(path=str(folder), size=8).load().fingerprint()
    shutil.rmtree(folder / "Eval")
    with pytest.raises(
        FileNotFoundError, match=r"celeba: no list_eval_partition\.txt or \.csv; put .*`sparsecode data get"
    ):
        CelebA().load()
    shutil.rmtree(folder)
    with pytest.raises(
        FileNotFoundError, match=r"celeba: no img_align_celeba, a folder or \.zip; put the published files"
    ):
        CelebA().load()


def test_downloaded_files_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All three into the cache, by the one mechanism."""
    there = packed(tmp_path / "files")
    asked: list[str] = []

    def fetch(url: str, path: Path, total: str) -> None:
        asked.append(path.name)
        assert (url, total) in [(file.url, file.packed) for file in CELEBA]
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(there / path.name, path)

    monkeypatch.delenv("SPARSECODE_DATA", raising=False)
    monkeypatch.setenv("SPARSECODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sparsecode.data.downloads.fetch", fetch)
    splits = CelebA(size=8, attributes=("Male",)).load()
    assert splits.fingerprint() == CelebA(path=str(there), size=8).load().fingerprint()
    assert sorted(asked) == sorted(file.name for file in CELEBA)
    assert CelebA(size=8, attributes=("Male",)).load().fingerprint() == splits.fingerprint()
    assert len(asked) == len(CELEBA)
    assert all(len(file.packed) == 4 + hashlib.md5().digest_size * 2 for file in CELEBA)


def test_the_recipe_has_the_hyper_parameters_of_the_replication() -> None:
    run = RECIPES["celeba-vsc"]()
    assert isinstance(run.data, CelebA)
    assert (run.data.size, run.data.n_train, run.train.epochs, run.train.batch_size) == (32, 100_000, 20, 32)
    text = to_json(run.model).decode()
    for part in ('"n_code": 800', '"alpha": 0.2', '"spike": "negrelu"', "2000"):
        assert part in text
