"""Local contrast normalisation, and what is measured in pixels because of it."""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pictures import photographs
from torch import Tensor

from sparsecode.cli import main
from sparsecode.data import LCN, Patches, Split
from sparsecode.data.images import PARTS
from sparsecode.data.local_contrast import gaussian_kernel, local_contrast
from sparsecode.evaluate.metrics import psnr
from sparsecode.evaluate.reconstruction.denoising import add_noise, denoise
from sparsecode.evaluate.reconstruction.score import score
from sparsecode.models.iterative import Iterative
from sparsecode.ops.rng import generator

replace = msgspec.structs.replace

GREY = photographs()[0] @ np.array([0.299, 0.587, 0.114]) / 255


def crops(n: int = 60, size: int = 52) -> Tensor:
    """Grey crops [n, 1, size, size] of a photograph, from everywhere in it."""
    rng = np.random.RandomState(0)
    places = zip(rng.randint(427 - size, size=n), rng.randint(640 - size, size=n), strict=True)
    return torch.tensor(np.stack([GREY[r : r + size, c : c + size] for r, c in places]), dtype=torch.float32)[:, None]


KERNEL = gaussian_kernel(13, 5.0)


def test_the_window_has_the_published_numbers() -> None:
    window = torch.outer(KERNEL, KERNEL)
    assert window.shape == (13, 13)
    assert float(window.sum()) == pytest.approx(1, abs=1e-6)
    assert float(window.max()) == pytest.approx(0.00977, abs=5e-6)
    assert float(window.min()) == pytest.approx(0.00232, abs=5e-6)
    assert window.argmax() == 6 * 13 + 6


def by_hand(crop: NDArray[np.float64], width: int, sigma: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Centred values, local means and deviations of a crop's centre, by windows one at a time."""
    i = np.arange(width) - width // 2
    window = np.exp(-(i[:, None] ** 2 + i**2) / (2 * sigma**2))
    window /= window.sum()

    def means(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return (np.lib.stride_tricks.sliding_window_view(image, (width, width)) * window).sum(axis=(2, 3))

    margin = width // 2
    inner = slice(margin, -margin)
    mean = means(crop)
    centred = crop[inner, inner] - mean
    return centred[inner, inner], mean[inner, inner], np.sqrt(means(centred**2))


@pytest.mark.parametrize(("width", "sigma", "size"), [(13, 5.0, 28), (5, 1.0, 9), (3, 0.7, 1)])
def test_it_is_what_windows_one_at_a_time_give(width: int, sigma: float, size: int) -> None:
    images = crops(5, size + 2 * (width - 1))
    result = local_contrast(images, gaussian_kernel(width, sigma), 0.02)
    assert {tuple(part.shape) for part in result} == {(5, 1, size, size)}
    for i, image in enumerate(images[:, 0].double().numpy()):
        centred, mean, sd = by_hand(image, width, sigma)
        sd = np.maximum(sd, 0.02)
        np.testing.assert_allclose(result.mean[i, 0].numpy(), mean, atol=1e-6)
        np.testing.assert_allclose(result.sd[i, 0].numpy(), sd, atol=1e-5)
        np.testing.assert_allclose(result.x[i, 0].numpy(), centred / sd, atol=1e-3)


@pytest.mark.parametrize("level", [None, 0.0, 0.1])
def test_mean_and_deviation_bring_the_centre_back(level: float | None) -> None:
    images = (crops() - 0.457) / 0.259
    result = local_contrast(images, KERNEL, level)
    assert result.x.shape == (60, 1, 28, 28)
    torch.testing.assert_close(result.x * result.sd + result.mean, images[..., 12:-12, 12:-12], atol=1e-5, rtol=0)


def test_the_original_floor_is_the_mean_over_the_batch() -> None:
    images = crops()
    raw, floored = (local_contrast(images, KERNEL, level).sd for level in (0.0, None))
    torch.testing.assert_close(floored, raw.clamp(min=float(raw.mean())))
    assert (raw < floored).any()


def test_a_level_makes_a_patch_independent_of_its_batch() -> None:
    images = crops()
    for level, equal in ((0.05, True), (None, False)):
        whole, alone = local_contrast(images, KERNEL, level).x, local_contrast(images[3:5], KERNEL, level).x
        assert torch.allclose(whole[3:5], alone, atol=1e-5) == equal


def test_a_flat_crop_gives_zeros() -> None:
    result = local_contrast(torch.full((1, 1, 52, 52), 0.3), KERNEL, None)
    assert result.x.abs().max() < 0.01  # rounding over the least deviation
    assert float(result.sd.max()) == pytest.approx(1e-4)


def test_patches_of_low_contrast_are_dropped_and_the_maps_are_in_pixels() -> None:
    images = crops()
    prepared = LCN().prepare(images, level=0.2)
    result = local_contrast((images - 0.457) / 0.259, KERNEL, 0.2).x
    kept = result.flatten(1).std(dim=1) >= 0.5
    assert 5 < int(kept.sum()) < 55
    assert torch.equal(prepared.x, result[kept])
    assert prepared.ctx is not None
    mean, sd = prepared.ctx.unbind(1)
    torch.testing.assert_close(prepared.x * sd + mean, images[kept][..., 12:-12, 12:-12], atol=1e-5, rtol=0)
    assert len(LCN(min_std=0).prepare(images, level=0.2).x) == 60


def test_an_even_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^LCN\.kernel: got 12; expected an odd number"):
        LCN(kernel=12)


SMALL = Patches(size=10, resize=128, n_train=260, n_valid=30, n_test=20, seed=4)


@pytest.fixture
def split() -> Split:
    return SMALL.load().train


def test_pixels_are_restored_and_changes_of_them_are_found(split: Split) -> None:
    part = split.take(torch.tensor([3, 250, 7]))
    assert part.ctx is not None
    assert split.ctx is not None
    assert torch.equal(part.ctx, split.ctx[[3, 250, 7]])
    pixels = part.pixels(part.x)
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1 + 1e-6
    levels = pixels * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    change = torch.randn(part.x.shape, generator=generator(0, "change"))
    torch.testing.assert_close(part.pixels(part.x + part.from_pixels(change)), pixels + change, atol=1e-5, rtol=0)
    assert Split(part.x).pixels(change) is change
    assert Split(part.x).from_pixels(change) is change


def test_maps_stay_on_the_disk_and_fit_any_precision(split: Split) -> None:
    moved = split.to(torch.device("cpu"), torch.float64)
    assert moved.ctx is split.ctx
    assert moved.pixels(moved.x).dtype == torch.float64
    assert split.to(torch.device("cpu"), torch.float32).x is split.x  # no copy


def test_the_fingerprint_knows_the_maps() -> None:
    splits = SMALL.load()
    assert splits.train.ctx is not None
    darker = splits.train._replace(ctx=splits.train.ctx * 0.9)
    assert splits._replace(train=darker).fingerprint() != splits.fingerprint()
    low, high = splits.span()
    assert (splits.low, splits.high) == (0, 1)
    assert low < -1 < 1 < high


def test_psnr_is_of_pixels_and_the_rest_of_samples(split: Split) -> None:
    model = Iterative(n_code=10, weight=0.5).build((1, 10, 10), seed=0)
    result, blind = (score(model, model.encode, part, 1.0) for part in (split, Split(split.x)))
    y = model.reconstruct(split.x).detach()
    assert result.psnr == pytest.approx(float(psnr(split.pixels(split.x), split.pixels(y), 1.0).mean()), rel=1e-5)
    assert result.psnr is not None
    assert blind.psnr is not None
    assert result.psnr > blind.psnr + 10  # pixels vary less than normalised samples
    for name in ("explained_variance", "objective", "l0", "dead"):
        assert getattr(result, name) == getattr(blind, name)


@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_noise_is_added_to_samples_and_measured_in_pixels(sigma: float, split: Split) -> None:
    """Noise of sigma in a sample is noise of sigma sd in its pixels: on average sigma^2 mean(sd^2)."""
    model = Iterative(n_code=10, weight=0.5).build((1, 10, 10), seed=0)
    (row,) = denoise(model, "encode", split, [sigma], "input", 1.0)
    assert split.ctx is not None
    variance = sigma**2 * split.ctx[:, 1].square().flatten(1).mean(dim=1)
    assert row.noisy_psnr == pytest.approx(
        float(-10 * torch.log10(variance).mean()), abs=0.1
    )  # the mean of decibels is .04 above
    noisy = add_noise(model, split, sigma, "input", 1.0, generator(0, "denoise", 0))
    cleaned = split.pixels(model.reconstruct(noisy).detach())
    assert row.psnr == pytest.approx(float(psnr(split.pixels(split.x), cleaned, 1.0).mean()), rel=1e-4)


def test_noise_as_a_fraction_of_the_range_is_noise_of_pixels(split: Split) -> None:
    model = Iterative(n_code=10, weight=0.5).build((1, 10, 10), seed=0)
    (row,) = denoise(model, "encode", split, [0.1], "range", 1.0)
    assert row.noisy_psnr == pytest.approx(-20 * math.log10(0.1), abs=0.1)  # the mean of decibels is .04 above


COMMAND = ["patches", "--size", "10", "--resize", "128", "--n-train", "260", "--n-valid", "30", "--n-test", "20"]


def test_a_command_builds_the_patches_as_arrays_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPARSECODE_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "made" / "patches"
    assert main([*COMMAND, "--seed", "4", "--out", str(out)]) == 0
    assert "260 train patches of 2 images, 30 valid patches of 2 images, 20 test patches" in capsys.readouterr().out
    names = sorted(file.name for file in out.iterdir())
    assert names == ["meta.json", *sorted(f"{part}{maps}.npy" for part in PARTS for maps in ("", "_ctx"))]
    assert not (tmp_path / "cache" / "patches").exists()
    assert [item.name for item in out.parent.iterdir()] == ["patches"]
    there = SMALL.load()
    for part, split in zip(PARTS, there[:3], strict=True):
        np.testing.assert_array_equal(np.load(out / f"{part}.npy", mmap_mode="r"), split.x.numpy())
        np.testing.assert_array_equal(np.load(out / f"{part}_ctx.npy", mmap_mode="r"), np.asarray(split.ctx))
    before = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    assert main([*COMMAND, "--seed", "4", "--out", str(out)]) == 0
    assert "complete already" in capsys.readouterr().out
    assert main([*COMMAND, "--seed", "5", "--out", str(out)]) == 3
    assert "holds patches of another spec or of other images; choose another folder" in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == before


def test_files_of_others_are_not_overwritten_by_patches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.npy").write_bytes(b"mine")
    assert main([*COMMAND, "--out", str(tmp_path)]) == 3
    assert "holds files of others: train.npy" in capsys.readouterr().err
    (tmp_path / "meta.json").write_text('{"mine": 1}')
    assert main([*COMMAND, "--out", str(tmp_path)]) == 3
    assert (tmp_path / "train.npy").read_bytes() == b"mine"
    assert main([*COMMAND, "--kernel", "4"]) == 2
    assert "--kernel: got 4; expected an odd number" in capsys.readouterr().err


def test_patches_that_cannot_be_completed_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "patches"
    assert main([*COMMAND, "--min-std", "50", "--out", str(out)]) == 1
    assert "0 of 260 train patches after" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
