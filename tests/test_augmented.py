"""Augmented images: which parts of them there are, and that they are functions of seed and step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sparsecode.data import Arrays, Augmented, Digits, Splits
from sparsecode.data.batches import batches


def source(folder: Path, x: np.ndarray) -> Arrays:
    np.save(folder / "x.npy", x.astype(np.float32))
    return Arrays(path=str(folder / "x.npy"))


def epoch(splits: Splits, number: int = 0) -> torch.Tensor:
    n = splits.training.n
    return splits.training.reader(0)(number, 0, n).x


@pytest.mark.parametrize("shape", [(6, 5), (3, 6, 5)])
def test_crops_are_shifts_of_the_padded_image_and_mirrorings_as_often_as_asked(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    one = np.arange(1, 1 + np.prod(shape)).reshape(shape)
    splits = Augmented(source=source(tmp_path, np.repeat(one[None], 3000, axis=0)), flip=0.25, pad=2).load()
    image = splits.train.x[0]
    padded = torch.nn.functional.pad(image.reshape(-1, 6, 5), (2, 2, 2, 2), value=splits.low)
    windows = {
        padded[:, top : top + 6, left : left + 5].contiguous().numpy().tobytes(): (top, left, False)
        for top in range(5)
        for left in range(5)
    }
    mirrored = {
        padded[:, top : top + 6, left : left + 5].flip(2).contiguous().numpy().tobytes(): (top, left, True)
        for top in range(5)
        for left in range(5)
    }
    known = windows | mirrored
    seen = [known[row.contiguous().numpy().tobytes()] for row in epoch(splits)]  # each is one of these, to the bit
    assert len(set(seen)) == 50
    assert abs(np.mean([flipped for _, _, flipped in seen]) - 0.25) < 0.04


def test_scaled_crops_are_linear_between_pixels(tmp_path: Path) -> None:
    """Of an image that is linear in its rows and columns, every crop is so, with slopes less by the crop's share."""
    rows, columns = np.mgrid[:32, :32]
    splits = Augmented(
        source=source(tmp_path, (rows + 3.0 * columns)[None].repeat(200, 0)), flip=0, pad=0, scale=0.5
    ).load()
    x = epoch(splits)
    assert float(x.min()) >= float(splits.train.x.min())
    assert float(x.max()) <= float(splits.train.x.max())
    inner = x[:, 4:-4, 4:-4]  # a crop's border repeats
    down, right = inner.diff(dim=1), inner.diff(dim=2)
    side = down.mean(dim=(1, 2))
    torch.testing.assert_close(down, side[:, None, None].expand(down.shape), atol=1e-4, rtol=0)
    torch.testing.assert_close(right, 3 * side[:, None, None].expand(right.shape), atol=1e-4, rtol=0)
    assert 0.49 < float(side.square().min()) < 0.55
    assert 0.95 < float(side.square().max()) <= 1.0


def test_what_is_drawn_is_a_function_of_seed_and_step_and_new_in_each_epoch() -> None:
    spec = Augmented(source=Digits(), pad=1, scale=0.8)
    stream = spec.load().training
    whole = dict(batches(stream, 20, 5, 0, 80))
    for step, batch in batches(stream.to(torch.device("cpu"), torch.float32), 20, 5, 70, 80):
        assert torch.equal(batch.x, whole[step].x)
        assert batch.label is not None
    halves = [dict(batches(stream, 20, 5, 0, 3, rank, 2)) for rank in (0, 1)]
    for step in range(3):  # however many processes share a batch
        assert torch.equal(torch.cat([half[step].x for half in halves]), whole[step].x)
    first = stream.reader(5)(0, 0, 20).x
    assert not torch.equal(first, stream.reader(6)(0, 0, 20).x)
    plain = Augmented(source=Digits(), flip=0, pad=0).load()
    assert torch.equal(plain.training.reader(5)(1, 0, 9).x, Digits().load().train.reader(5)(1, 0, 9).x)


def test_only_training_changes_and_the_fingerprint_knows_how() -> None:
    splits, source_ = Augmented(source=Digits()).load(), Digits().load()
    assert torch.equal(splits.valid.x, source_.valid.x)
    assert torch.equal(splits.test.x, source_.test.x)
    marks = {Augmented(source=Digits(), pad=pad).load().fingerprint() for pad in (0, 1)} | {source_.fingerprint()}
    assert len(marks) == 3


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"samples of source have shape \(7,\); expected images \[\.\.\., height, width\]"
    ):
        Augmented(source=source(tmp_path, np.eye(50, 7))).load()
