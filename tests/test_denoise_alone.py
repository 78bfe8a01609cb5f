"""Denoising without a dictionary and without sigma: learned from the image, estimated from the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

from sparsecode.cli import main
from sparsecode.evaluate import denoise_image, estimate_sigma
from sparsecode.evaluate.reconstruction import image_denoising
from sparsecode.solvers import DictionaryFit, learn_dictionary

Array = NDArray[Any]
COSINES = image_denoising.cosine_atoms(8)
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def photo() -> Array:
    return load_sample_image("china.jpg")[150:280, 300:420].astype(np.float32)


def noisy(clean: Array, sigma: float) -> Array:
    return clean + sigma * np.random.RandomState(0).standard_normal(clean.shape).astype(np.float32)


def psnr(clean: Array, other: Array) -> float:
    return float(10 * np.log10(255**2 / np.mean((clean - other) ** 2)))


@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
def test_sigma_is_estimated_to_a_tenth(sigma: float) -> None:
    for name in ("china.jpg", "flower.jpg"):
        grey = load_sample_image(name)[:256, :256] @ np.array([0.299, 0.587, 0.114])
        assert estimate_sigma(noisy(grey, sigma)) == pytest.approx(sigma, rel=0.1)


def test_sigma_has_the_units_of_the_image(photo: Array) -> None:
    given = noisy(photo, 20).astype(np.float64)
    sigma = estimate_sigma(given)
    for unit in (1e300, 1e-300, 1 / 255):
        assert estimate_sigma(unit * given) == pytest.approx(unit * sigma, rel=1e-6)
    assert estimate_sigma(given + 1e5) == pytest.approx(sigma, rel=1e-3)


def test_sigma_of_noise_alone_and_of_none() -> None:
    for size, off in ((8, 0.6), (50, 0.15), (100, 0.15), (300, 0.05)):
        assert estimate_sigma(noisy(np.zeros((size, size)), 3)) == pytest.approx(3, rel=off)
    assert estimate_sigma(np.zeros((9, 9))) == 0
    assert estimate_sigma(np.full((9, 9, 3), 7, np.uint8)) == 0


@pytest.mark.parametrize("image", [np.zeros(9), np.zeros((7, 90)), np.zeros((9, 9, 0)), np.full((9, 9), np.nan)])
def test_sigma_of_no_image_is_refused(image: Array) -> None:
    with pytest.raises(ValueError, match="image "):
        estimate_sigma(image)


def test_learned_atoms_do_better_than_cosines() -> None:
    clean = load_sample_image("flower.jpg")[150:246, 250:346, 1].astype(np.float32)
    given = noisy(clean, 25)
    before = given.copy()
    result = denoise_image(given, stride=2)
    assert psnr(clean, result) > psnr(clean, denoise_image(given, COSINES, 25, stride=2)) + 0.4
    assert (result.shape, result.dtype) == (clean.shape, np.float32)
    np.testing.assert_array_equal(given, before)


def test_colours_together_do_better_than_channels(photo: Array) -> None:
    given = noisy(photo, 25)
    together = denoise_image(given, COSINES, 25, stride=4)
    channels = np.stack([denoise_image(given[..., c], COSINES, 25, stride=4) for c in range(3)], axis=2)
    assert psnr(photo, together) > psnr(photo, channels) + 0.5


def test_colours_are_denoised_in_an_orthonormal_basis(photo: Array) -> None:
    basis = image_denoising.OPPONENT
    np.testing.assert_allclose(basis @ basis.T, np.eye(3), atol=1e-12)
    grey = np.repeat(noisy(photo[:20, :20, :1], 10), 3, axis=2)
    result = denoise_image(grey, COSINES, 5, blend=0)
    np.testing.assert_allclose(result[..., 0], result[..., 2], atol=1e-3)


def test_images_of_all_kinds(photo: Array) -> None:
    for image in (photo[:5, :9, 0], photo[:2, :3, 0], photo[:8, :8], np.full((20, 30), 7.0)):
        clean = denoise_image(image, sigma=1e-3)
        np.testing.assert_allclose(clean, image, atol=0.02)
    with pytest.raises(ValueError, match="image is 1 x 9; expected sides of at least 2 pixels"):
        denoise_image(photo[:1, :9, 0], sigma=1.0)
    with pytest.raises(ValueError, match="mask is given without D; expected both"):
        denoise_image(photo, sigma=1.0, mask=np.ones(photo.shape[:2], np.bool_))
    still = np.full((20, 30), 7.0)
    np.testing.assert_array_equal(denoise_image(still), still)
    given = noisy(photo[:32, :32, 1], 20)
    for unit in (1e30, 1e-30):
        many = denoise_image(unit * given, sigma=20 * unit, stride=8) / np.float32(unit)
        assert psnr(denoise_image(given, sigma=20, stride=8), many) > 50


def test_the_command_needs_a_picture_alone(
    photo: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.clip(noisy(photo[:48, :48], 25), 0, 255).astype(np.uint8)).save("photo.png")
    Image.new("L", (20, 20), 7).save("still.png")
    assert main(["denoise", "photo.png", "still.png", "--stride", "4"]) == 0
    text = capsys.readouterr().out
    assert "sigma 0 (estimated)" in text
    assert 20 < float(text.partition("sigma ")[2].split()[0]) < 30
    with Image.open("denoised/photo.png") as clean, Image.open("denoised/still.png") as still:
        assert (clean.mode, clean.size) == ("RGB", (48, 48))
        assert psnr(photo[:48, :48], np.asarray(clean, np.float32)) > 24
        assert still.getextrema() == (7, 7)


def test_an_interrupted_command_writes_nothing(photo: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> DictionaryFit[Any]:
        def stop(fit: DictionaryFit[Any]) -> None:
            if fit.steps == 3:
                raise KeyboardInterrupt

        return learn_dictionary(*args, **kwargs | {"callback": stop})

    monkeypatch.setattr(image_denoising, "learn_dictionary", interrupted)
    np.save(tmp_path / "image.npy", noisy(photo[:40, :40, 0], 20))
    assert main(["denoise", str(tmp_path / "image.npy"), "--out", str(tmp_path / "out")]) == 130
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--add-noise"], "--add-noise without --sigma; expected the standard deviation"),
        (["--sigma", "3", "--mask", "mask.npy"], "--mask needs --dictionary and --sigma; expected both"),
        ([], "tiny.npy: image has shape (5, 20); expected [h, w] or [h, w, c], sides of at least 8 pixels"),
    ],
)
def test_wrong_commands_are_named(tmp_path: Path, options: list[str], message: str, capsys: Capture) -> None:
    np.save(tmp_path / "tiny.npy", np.ones((5, 20)))
    assert main(["denoise", str(tmp_path / "tiny.npy"), "--out", str(tmp_path / "out"), *options]) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_page_runs(capsys: Capture) -> None:
    page = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text()
    names: dict[str, Any] = {}
    for block in page.partition("## Whole images")[2].partition("## Sweeps")[0].split("```python\n")[1:]:
        exec(block.partition("```")[0], names)
    before, after = capsys.readouterr().out.partition("error ")[2].split(" -> ")
    assert float(after) < 0.6 * float(before)  # of a small picture
