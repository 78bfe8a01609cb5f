"""Images with missing pixels: what is filled in, and wrong masks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.interpolate import griddata
from sklearn.datasets import load_sample_image

from sparsecode import learn_dictionary
from sparsecode.cli.main import main
from sparsecode.evaluate.reconstruction.image_denoising import denoise_image
from sparsecode.evaluate.reconstruction.patch_coders import CODERS

SIZE = 6


@pytest.fixture(scope="module")
def photo():
    """A part of a photograph, 64 x 60, grey levels 0 to 255."""
    grey = load_sample_image("china.jpg") @ np.array([0.299, 0.587, 0.114])
    return np.rint(grey[180:244, 500:560]).astype(np.uint8)


@pytest.fixture(scope="module")
def mask(photo: Any):
    return np.random.RandomState(0).rand(*photo.shape) < 0.5


@pytest.fixture(scope="module")
def atoms(photo: Any, mask: Any):
    """Learned from the observed half of the photograph's pixels alone."""
    views = np.lib.stride_tricks.sliding_window_view
    x, m = (views(values, (SIZE, SIZE)).reshape(-1, SIZE**2) for values in (np.where(mask, photo, 0.0), mask))
    x = x - (x.sum(axis=1) / np.maximum(m.sum(axis=1), 1))[:, None]
    return learn_dictionary(x.astype(np.float32), 64, 30.0, mask=m, max_steps=40, tol=0.05).atoms


def error(photo: Any, other: Any, where: Any):
    return np.sqrt(np.mean((photo.astype(float) - other)[where] ** 2))


@pytest.mark.parametrize("method", list(CODERS))
def test_half_of_the_pixels_are_filled_in_from_the_others(photo: Any, mask: Any, atoms: Any, method: Any) -> None:
    image = np.where(mask, photo.astype(np.float32), np.nan)
    filled = denoise_image(image, atoms, 4.0, coder=CODERS[method], stride=2, mask=mask)
    places = np.argwhere(mask)
    nearest = griddata(places, photo[mask].astype(float), tuple(np.indices(photo.shape)), "nearest")
    assert error(photo, filled, ~mask) < 0.92 * error(photo, nearest, ~mask)
    assert error(photo, filled, mask) < 6.0


def test_a_mask_of_ones_changes_nothing(photo: Any, atoms: Any) -> None:
    image = photo.astype(np.float32)
    plain = denoise_image(image, atoms, 10.0, stride=5)
    np.testing.assert_array_equal(denoise_image(image, atoms, 10.0, stride=5, mask=image > -1), plain)


def test_wrong_masks_are_named(photo: Any, mask: Any, atoms: Any) -> None:
    image = photo.astype(np.float32)
    with pytest.raises(ValueError, match=r"mask has shape \(3, 3\) and dtype bool; expected a bool for each pixel"):
        denoise_image(image, atoms, 4.0, mask=mask[:3, :3])
    with pytest.raises(ValueError, match="mask is False everywhere"):
        denoise_image(image, atoms, 4.0, mask=np.zeros_like(mask))
    hole = np.ones_like(mask)
    hole[:, 10:30] = False
    with pytest.raises(
        ValueError, match="no patch of 6 x 6 over the missing pixel in row 0, column 15 has an observed one"
    ):
        denoise_image(image, atoms, 4.0, mask=hole)


def test_the_command_fills_pixels_that_the_mask_leaves_out(
    photo: Any, mask: Any, atoms: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "atoms.npy", atoms)
    broken = np.where(mask, photo, 255).astype(np.uint8)
    Image.fromarray(broken).save(tmp_path / "broken.png")
    Image.fromarray(np.stack([broken] * 3, axis=2)).save(tmp_path / "colour.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = [
        "--dictionary",
        str(tmp_path / "atoms.npy"),
        "--sigma",
        "4",
        "--stride",
        "2",
        "--out",
        str(tmp_path / "out"),
    ]
    both = [str(tmp_path / "broken.png"), str(tmp_path / "colour.png")]
    assert not main(["denoise", *both, *words, "--mask", str(tmp_path / "mask.png")])
    assert f"{100 * (1 - mask.mean()):.3g} % missing" in capsys.readouterr().out
    filled = np.asarray(Image.open(tmp_path / "out/broken.png"))
    expected = denoise_image(photo.astype(np.float32), atoms, 4.0, stride=2, mask=mask)
    np.testing.assert_allclose(filled, np.clip(expected, 0, 255), atol=0.51)
    colour = np.asarray(Image.open(tmp_path / "out/colour.png"))
    np.testing.assert_array_equal(colour, np.stack([filled] * 3, axis=2))

    np.save(tmp_path / "small.npy", mask[:9])
    np.save(tmp_path / "grey.npy", photo.astype(np.float32))
    for name, message in (("small.npy", "9 x 60 pixels, and"), ("grey.npy", "different values")):
        assert main(["denoise", both[0], *words, "--force", "--mask", str(tmp_path / name)])
        said = capsys.readouterr().err
        assert name in said
        assert message in said
