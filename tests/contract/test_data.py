"""What every data source promises: three disjoint float32 splits, a function of its spec alone."""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import torch
from pictures import tile_folder
from torch import Tensor

from sparsecode.data import LCN, Digits, ImageFolder, MiniLM, Patches, Photos, Plain, Shapes, Smileys, Splits
from sparsecode.specs import from_json, to_json


class Case(NamedTuple):
    """A source, the shape of a sample, the sizes of its splits and how many classes it labels (0: none)."""

    source: Any
    shape: tuple[int, ...]
    sizes: tuple[int, int, int]
    classes: int


CASES = [
    Case(Digits(), (8, 8), (1437, 179, 181), 10),
    Case(Photos(size=8, n_train=301, n_valid=40, n_test=1), (8, 8), (301, 40, 1), 0),
    Case(Photos(size=30, shrink=1, n_train=20, n_valid=20, n_test=20), (30, 30), (20, 20, 20), 0),
    Case(ImageFolder(path="tiles", size=16), (3, 16, 16), (40, 4, 4), 0),
    Case(ImageFolder(path="tiles", size=9, grey=True, valid=0.25), (1, 9, 9), (32, 12, 4), 0),
    Case(Shapes(n_train=301, n_valid=40, n_test=20), (1, 32, 32), (301, 40, 20), 3),
    Case(Shapes(side=64, antialiased=True, n_train=40, n_valid=20, n_test=20), (1, 64, 64), (40, 20, 20), 3),
    Case(Smileys(n_train=301, n_valid=99, n_test=98), (1, 32, 32), (301, 99, 98), 8),
    Case(Patches(size=8, n_train=301, n_valid=40, n_test=1), (1, 8, 8), (301, 40, 1), 0),
    Case(Patches(size=8, n_train=40, n_valid=20, n_test=20, preprocess=LCN(floor="batch")), (1, 8, 8), (40, 20, 20), 0),
    Case(
        Patches(images="tiles", resize=40, size=7, n_train=300, n_valid=30, n_test=20, preprocess=LCN(kernel=5)),
        (1, 7, 7),
        (300, 30, 20),
        0,
    ),
    Case(
        Patches(images="tiles", resize=40, size=12, n_train=51, n_valid=9, n_test=9, preprocess=Plain()),
        (1, 12, 12),
        (51, 9, 9),
        0,
    ),
]

every_case = pytest.mark.parametrize("case", CASES, indirect=True, ids=lambda case: type(case.source).__name__)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tile_folder(tmp_path_factory.mktemp("tiles")))


@pytest.fixture
def case(request: pytest.FixtureRequest, tiles: str) -> Case:
    """A case whose source reads the folder of tiles if it reads any."""
    case: Case = request.param
    result = {name: tiles for name in ("path", "images") if getattr(case.source, name, None) is not None}
    return case._replace(source=msgspec.structs.replace(case.source, **result))


def samples(splits: Splits) -> list[Tensor]:
    return [splits.train.x, splits.valid.x, splits.test.x]


@every_case
@pytest.mark.usefixtures("global_rng_untouched")
def test_splits_have_the_announced_shapes(case: Case) -> None:
    splits = case.source.load()
    assert splits.shape == case.shape
    assert [tuple(x.shape) for x in samples(splits)] == [(n, *case.shape) for n in case.sizes]
    assert {x.dtype for x in samples(splits)} == {torch.float32}
    for split in splits[:3]:
        assert (split.label is not None) == (case.classes > 0)
        if split.label is not None:
            assert split.label.dtype == torch.int64
            assert sorted(set(split.label.tolist())) == list(range(case.classes))


@every_case
def test_values_are_finite_and_fill_the_range(case: Case) -> None:
    """The range is the one of pixels: a patch less its mean may leave its ends by a little, seldom."""
    splits = case.source.load()
    x = torch.cat([split.pixels(split.x) for split in splits[:3]])
    assert torch.isfinite(torch.cat(samples(splits))).all()
    assert splits.data_range == 1.0
    assert ((x >= splits.low) & (x <= splits.high)).float().mean() > 0.99
    assert x.max() - x.min() > splits.data_range / 2


@every_case
def test_no_sample_is_in_two_splits(case: Case) -> None:
    parts = [{row.numpy().tobytes() for row in x} for x in samples(case.source.load())]
    assert len(set.union(*parts)) == sum(map(len, parts))


@every_case
def test_loading_is_a_function_of_the_spec(case: Case) -> None:
    first, again = case.source.load(), from_json(to_json(case.source), type(case.source)).load()
    other = msgspec.structs.replace(case.source, seed=1).load()
    assert all(map(torch.equal, samples(first), samples(again)))
    assert not any(map(torch.equal, samples(first), samples(other)))


@every_case
def test_the_fingerprint_knows_every_sample_and_its_place(case: Case) -> None:
    splits = case.source.load()
    mark = splits.fingerprint()
    assert case.source.load().fingerprint() == mark
    changed = splits.train.x.clone()
    changed[-1, -1, -1] += 1
    for other in (
        splits._replace(train=splits.train._replace(x=changed)),
        splits._replace(train=splits.train._replace(x=splits.train.x.flip(0))),
        splits._replace(train=splits.valid, valid=splits.train),
        splits._replace(test=splits.test._replace(x=splits.test.x.flatten(1))),
    ):
        assert other.fingerprint() != mark


def test_digits_are_all_there_with_their_labels() -> None:
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    label_of = {np.float32(row / 16).tobytes(): label for row, label in zip(pixels, target, strict=True)}
    splits = Digits().load()
    result = {
        x.numpy().tobytes(): int(label)
        for split in splits[:3]
        if split.label is not None
        for x, label in zip(split.x, split.label, strict=True)
    }
    assert result == label_of


def test_patches_have_mean_zero() -> None:
    x = Photos(n_train=500).load().train.x
    assert x.mean(dim=(1, 2)).abs().max() < 1e-6
    assert (x.var(dim=(1, 2)) > 0).all()


def test_patches_of_low_contrast_may_be_left_out() -> None:
    """Among those left in, every place is as likely as any other: the shares of the two photographs are those of places."""
    whole, cut = (Photos(n_train=4000, min_std=least).load() for least in (0.0, 0.05))
    for split in cut[:3]:
        assert split.x.flatten(1).std(dim=1, correction=0).min() >= 0.05
    kept = whole.train.x[whole.train.x.flatten(1).std(dim=1, correction=0) >= 0.05]
    result, expected = (x.flatten(1).std(dim=1).quantile(torch.tensor([0.1, 0.5, 0.9])) for x in (cut.train.x, kept))
    torch.testing.assert_close(result, expected, rtol=0.05, atol=0)
    with pytest.raises(
        ValueError, match=r"Photos.min_std is 0.6; no patch of a split has more than 0.\d+: lower min_std"
    ):
        Photos(min_std=0.6).load()


def ramps(monkeypatch: pytest.MonkeyPatch, row: np.ndarray) -> None:
    """In the place of the two photographs: one whose rows are this, in grey levels, and one of its negatives."""
    grey = {"images/china.jpg": row / 255, "images/flower.jpg": -row / 255}
    monkeypatch.setattr("sparsecode.data.sklearn_data._grey", lambda name: np.broadcast_to(grey[name], (427, 640)))


def columns_seen(x: Tensor, shrink: int, width: int) -> set[int]:
    """The columns that patches come from, of photographs column^2 / 1000 and minus that, shrunk by averaging."""
    centres = (np.arange(width * shrink) ** 2).reshape(width, shrink).mean(axis=1) / 1000 / 255
    steps = np.diff(centres)
    first = np.abs(np.abs((x[:, 0, 1] - x[:, 0, 0]).numpy())[:, None] - steps).argmin(axis=1)
    return {int(c) + i for c in first for i in range(x.shape[2])}


@pytest.mark.parametrize("shrink", [1, 2])
def test_patches_of_different_splits_share_no_pixel(shrink: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ramps(monkeypatch, np.arange(640.0) ** 2 / 1000)
    splits = Photos(size=12, shrink=shrink, n_train=4000, n_valid=1000, n_test=1000).load()
    train, valid, test = (columns_seen(x, shrink, 640 // shrink) for x in samples(splits))
    assert train == set(range(512 // shrink))
    assert valid == set(range(512 // shrink, 576 // shrink))
    assert test == set(range(576 // shrink, 640 // shrink))


def test_patches_come_from_every_photograph_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    ramps(monkeypatch, np.arange(640.0))
    x = Photos(n_train=10).load().train.x
    assert (x[:, 0, -1] > x[:, 0, 0]).tolist() == [True, False] * 5


# Successive tokens


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 spans of 126 tokens, and a piece of one, whose features are their numbers."""
    x = np.arange(20 * 126 + 4, dtype=np.float32)[:, None].repeat(2, axis=1)
    np.savez(tmp_path / "acts_minilm_l3_wikitext2_16k_f16.npz", acts=x)
    monkeypatch.setenv("SPARSECODE_DATA", str(tmp_path))


@pytest.mark.usefixtures("tokens")
def test_windows_of_tokens_stay_within_their_span() -> None:
    splits = MiniLM(window=3).load()
    assert splits.shape == (3, 2)
    assert sum(part.n for part in splits[:3]) == 20 * 124
    spans = [set((part.x[:, 0, 0] // 126).tolist()) for part in splits[:3]]
    assert set.union(*spans) == set(range(20))
    assert sum(map(len, spans)) == 20
    for part in splits[:3]:
        assert torch.equal(part.x[:, 1:], part.x[:, :-1] + 1)
        assert torch.equal(part.x[:, 0] // 126, part.x[:, -1] // 126)


@pytest.mark.usefixtures("tokens")
def test_the_last_token_of_a_window_may_be_the_target() -> None:
    two, three = MiniLM(window=2, predict=True).load(), MiniLM(window=3, predict=True).load()
    assert (two.shape, two.target_shape) == ((2,), (2,))
    assert (three.shape, three.target_shape) == ((2, 2), (2,))
    for splits in (two, three):
        target = splits.train.target
        assert target is not None
        assert torch.equal(target, splits.train.x.reshape(len(target), -1, 2)[:, -1] + 1)
        assert (splits.low, splits.high) == (float(target.min()), float(target.max()))
    with pytest.raises(ValueError, match=r"MiniLM\.window is 1 and predict is true; expected at least 2"):
        MiniLM(predict=True)
