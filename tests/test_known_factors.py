"""Pictures of known factors and faces: files that the tests write in the published layouts, and shapes drawn in code."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pictures import photographs
from scipy.io import savemat

from sparsecode.data import DSprites, Olivetti, Shapes, Smileys, Split, Splits
from sparsecode.data.downloads import Remote

MANY = Shapes(n_train=3000, n_valid=100, n_test=100)


def rows(split: Split) -> dict[bytes, tuple[int, ...]]:
    """The factors of each image."""
    assert split.factors is not None
    return {x.numpy().tobytes(): tuple(f.tolist()) for x, f in zip(split.x, split.factors, strict=True)}


@pytest.mark.parametrize("antialiased", [False, True])
def test_shapes_are_where_their_factors_say(antialiased: bool) -> None:
    splits = Shapes(side=64, antialiased=antialiased, n_train=2000, n_valid=1, n_test=1).load()
    x, factors = splits.train.x[:, 0], splits.train.factors
    assert factors is not None
    assert splits.train.label is not None
    assert [f.name for f in splits.factors] == ["shape", "scale", "orientation", "x", "y"]
    assert [f.ordered for f in splits.factors] == [False, True, True, True, True]
    assert torch.equal(splits.train.label, factors[:, 0])
    pixels = torch.arange(64.0)
    mass = x.sum(dim=(1, 2))
    across, down = (x.sum(dim=1) @ pixels) / mass, (x.sum(dim=2) @ pixels) / mass
    offset = 16 - 0.5  # the middle of the smallest square around a shape
    assert ((across - factors[:, 3] - offset).abs() < 3.5).all()  # a heart's centre of mass is not its middle
    assert ((down - factors[:, 4] - offset).abs() < 3.5).all()
    for shape in range(2):
        assert ((across - factors[:, 3] - offset).abs()[factors[:, 0] == shape] < 0.3).all()
    area = (torch.tensor([2.0, torch.pi / 2])[:, None] * ((0.5 + torch.arange(6) / 10) * 16) ** 2)[
        factors[:, 0].clamp(max=1), factors[:, 1]
    ]
    known = factors[:, 0] < 2
    assert ((mass / area - 1).abs()[known] < (0.05 if antialiased else 0.2)).all()
    assert set(x.unique().tolist()) == {0.0, 1.0} if not antialiased else len(x.unique()) > 10


def test_orientation_turns_counter_clockwise_alone() -> None:
    """The long axis of an ellipse by second moments."""
    split = Shapes(side=64, antialiased=True, n_train=2500, n_valid=1, n_test=1).load().train
    assert split.factors is not None
    chosen = (split.factors[:, 0] == 1) & (split.factors[:, 1] == 5)
    x, angle = split.x[chosen, 0], split.factors[chosen, 2] * 9
    grid = torch.stack(torch.meshgrid(-torch.arange(64.0), torch.arange(64.0), indexing="ij"), dim=-1)  # up, right
    centre = torch.einsum("nij,ijk->nk", x, grid) / x.sum(dim=(1, 2))[:, None]
    away = grid - centre[:, None, None]
    up, right = away.unbind(-1)
    moment = torch.stack([(x * a * b).sum(dim=(1, 2)) for a, b in ((right, right), (right, up), (up, up))])
    result = 0.5 * torch.atan2(2 * moment[1], moment[0] - moment[2]).rad2deg()
    assert len(result) > 50
    assert ((result - angle + 90) % 180 - 90).abs().max() < 1.5


@pytest.mark.parametrize("antialiased", [False, True])
def test_no_image_is_there_twice(antialiased: bool) -> None:
    """Binary pictures of small shapes, in which several orientations look alike, among them."""
    splits = Shapes(antialiased=antialiased, n_train=10_000, n_valid=1000, n_test=1000).load()
    assert sum(len(rows(split)) for split in splits[:3]) == 12_000
    assert len(rows(splits.train) | rows(splits.valid) | rows(splits.test)) == 12_000


def test_more_shapes_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"n_test is 60002, and there are 4\d{4} images of side 32; expected at most"):
        Shapes(n_train=60_000, n_valid=1, n_test=1).load()


def test_factors_go_where_samples_go() -> None:
    splits = MANY.load()
    train = splits.train
    assert train.factors is not None
    known = rows(train)
    some = train.take(torch.tensor([5, 17, 2])).to(torch.device("cpu"), torch.float64)
    assert some.factors is not None
    assert torch.equal(some.factors, train.factors[[5, 17, 2]])
    assert rows(train.take(slice(10, 20))).items() <= known.items()
    assert Split(train.x).take(slice(3)).factors is None


class Hostile:
    """What `metadata` of the published file is: a Python object. Unpickling this one fails the test."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("metadata was unpickled",)


def sprites_file(folder: Path, monkeypatch: pytest.MonkeyPatch, n: int = 4200, **changed: NDArray[Any]) -> Splits:
    """n shapes in a file of the published layout, with its own checksum in place of the published one."""
    splits = Shapes(side=64, n_train=n, n_valid=1, n_test=1).load()
    assert splits.train.factors is not None
    classes = np.pad(splits.train.factors.numpy(), ((0, 0), (1, 0)))
    metadata = np.empty((), object)
    metadata[()] = Hostile()
    arrays = {
        "metadata": metadata,
        "imgs": splits.train.x[:, 0].numpy().astype(np.uint8),
        "latents_classes": classes,
        "latents_values": classes.astype(np.float64),
    } | changed
    path = folder / "dsprites" / "sprites.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=True, **arrays)
    remote = Remote(
        path.name, "dsprites", "https://example.invalid/d", "md5:" + hashlib.md5(path.read_bytes()).hexdigest()
    )
    monkeypatch.setattr("sparsecode.data.dsprites.DSPRITES", remote)
    monkeypatch.setenv("SPARSECODE_DATA", str(folder))
    monkeypatch.setenv("SPARSECODE_CACHE", str(folder / "cache"))
    return splits


def test_dsprites_are_read_with_their_factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More images than are unpacked at a time, of which some are taken."""
    truth = rows(sprites_file(tmp_path, monkeypatch).train)
    source = DSprites(n_train=3000, n_valid=200, n_test=300)
    splits = source.load()
    assert [split.n for split in splits[:3]] == [3000, 200, 300]
    result = [rows(split) for split in splits[:3]]
    assert splits.shape == (1, 64, 64)
    assert {k: v for part in result for k, v in part.items()}.items() <= truth.items()
    assert len(set.union(*map(set, result))) == 3500
    assert splits.train.label is not None
    assert splits.train.factors is not None
    assert torch.equal(splits.train.label, splits.train.factors[:, 0])
    assert splits.train.factors[:100].unique(dim=0).shape[0] > 95  # in no order
    assert source.load().fingerprint() == splits.fingerprint()
    other = DSprites(n_train=3000, n_valid=200, n_test=300, seed=1).load()
    assert other.fingerprint() != splits.fingerprint()
    with pytest.raises(ValueError, match=r"n_train \+ n_valid \+ n_test is 4201, and .*sprites\.npz holds 4200 images"):
        DSprites(n_train=3701, n_valid=200, n_test=300).load()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"latents_classes": np.zeros((9, 5), np.int64)}, r"latents_classes \(9, 5\), expected \[n, 6\]"),
        ({"imgs": np.zeros((9, 32, 32), np.uint8)}, r"imgs uint8 \(9, 32, 32\), expected uint8 \[n, 64, 64\]"),
    ],
)
def test_other_files_than_dsprites_are_refused(
    changed: dict[str, NDArray[Any]], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sprites_file(tmp_path, monkeypatch, n=10, **changed)
    with pytest.raises(ValueError, match=rf"sprites\.npz: not the dSprites file \({message}"):
        DSprites(n_train=5, n_valid=1, n_test=1).load()
    monkeypatch.setattr(
        "sparsecode.data.dsprites.DSPRITES", Remote("sprites.npz", "dsprites", "https://example.invalid/d", "md5:0")
    )
    with pytest.raises(ValueError, match=r"sprites\.npz: not the published file"):
        DSprites(n_train=5, n_valid=1, n_test=1).load()


def faces() -> NDArray[np.uint8]:
    """400 grey squares of the photographs: ten successive ones in the place of a person's."""
    grey = [photo.mean(axis=2).astype(np.uint8) for photo in photographs()]
    return np.stack([grey[i % 2][i // 20 * 18 : i // 20 * 18 + 64, i % 20 * 28 : i % 20 * 28 + 64] for i in range(400)])


@pytest.fixture(params=["npz", "mat"])
def olivetti(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.uint8]:
    """Either kind of file."""
    images = faces()
    monkeypatch.setenv("SPARSECODE_DATA", str(tmp_path))
    if request.param == "npz":
        np.savez(tmp_path / "olivetti_faces.npz", images=images, target=np.repeat(np.arange(40, dtype=np.uint8), 10))
    else:
        path = tmp_path / "olivetti" / "olivettifaces.mat"
        path.parent.mkdir()
        savemat(path, {"faces": images.transpose(0, 2, 1).reshape(400, -1).T, "p": np.zeros((4, 10))})
        total = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setattr(
            "sparsecode.data.olivetti.OLIVETTI", Remote(path.name, "olivetti", "https://example.invalid", total)
        )
    return images


@pytest.mark.parametrize("by", ["image", "person"])
def test_faces_are_split_by_image_or_by_person(by: Any, olivetti: NDArray[np.uint8]) -> None:
    person = {(image[None] / np.float32(255)).tobytes(): i // 10 for i, image in enumerate(olivetti)}
    splits = Olivetti(by=by).load()
    result = [[person.pop(x.numpy().tobytes()) for x in split.x] for split in splits[:3]]
    assert not person  # every one once
    assert [len(part) for part in result] == [320, 40, 40]
    people = [set(part) for part in result]
    if by == "image":
        assert [len(p) for p in people] == [40, 40, 40]
        assert [[] if split.label is None else split.label.tolist() for split in splits[:3]] == result
    else:
        assert [len(p) for p in people] == [32, 4, 4]
        assert all(split.label is None for split in splits[:3])
    again, other = Olivetti(by=by).load(), Olivetti(by=by, seed=1).load()
    assert again.fingerprint() == splits.fingerprint() != other.fingerprint()


def test_faces_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSECODE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"olivettifaces\.mat: not in .*olivetti"):
        Olivetti().load()
    path = tmp_path / "olivetti_faces.npz"
    np.savez(path, images=faces()[:399], target=np.repeat(np.arange(40), 10)[:399])
    with pytest.raises(ValueError, match=r"images uint8 \(399, 64, 64\) of 40 people; expected uint8 \(400, 64, 64\)"):
        Olivetti().load()
    np.savez(path, images=faces())
    with pytest.raises(ValueError, match=r"olivetti_faces\.npz: damaged, or without images and target"):
        Olivetti().load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match=r"olivetti_faces\.npz: damaged"):
        Olivetti().load()


def test_a_smiley_has_the_features_that_its_factors_say() -> None:
    """White pixels above, in and below the face of pictures that are not shifted apart, by hat, glasses and beard."""
    split = Smileys(n_train=3000, n_valid=1, n_test=1).load().train
    assert split.factors is not None
    assert split.label is not None
    assert (split.x.amax(dim=(1, 2, 3)) == 1).all()
    present = split.factors[:, 2:5] > 0
    assert torch.equal(split.label, (present * torch.tensor([1, 2, 4])).sum(dim=1))
    place = (split.factors[:, 5:] == 1).all(dim=1)
    x, (_, eyes, glasses, hat, beard, *_) = split.x[place, 0], split.factors[place].T
    regions = {"hat": (x[:, :10], hat), "beard": (x[:, 24:], beard), "glasses": (x[:, 13:19], glasses)}
    for name, (region, value) in regions.items():
        ink = region.sum(dim=(1, 2))
        means = [float(ink[(value == v) & (eyes == 0)].mean()) for v in range(4)]
        assert min(means[1:]) > means[0] + 0.5, name
        assert name == "glasses" or means == sorted(means), name
    assert float(x[hat == 0][:, :8].max()) == 0.0
    with pytest.raises(ValueError, match=r"n_train .* is 15361, and there are 15360 images"):
        Smileys(n_train=15_359, n_valid=1, n_test=1).load()
