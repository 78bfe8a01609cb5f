"""Patches of images and images of patches: there and back at any stride, and the same as scikit-learn's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.feature_extraction.image import extract_patches_2d, reconstruct_from_patches_2d

from sparsecode.data import extract_patches, rebuild_from_patches

Array = NDArray[Any]


def image_of(*shape: int, dtype: str = "float32") -> Array:
    return (255 * np.random.RandomState(0).random_sample(shape)).astype(dtype)


@pytest.mark.parametrize("shape", [(17, 23), (8, 8), (9, 31, 3), (40, 8, 2)])
@pytest.mark.parametrize("stride", [1, 3, 7, 8])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_there_and_back(shape: tuple[int, ...], stride: int, dtype: str) -> None:
    image = image_of(*shape, dtype=dtype)
    patches = extract_patches(image, 8, stride)
    assert patches.dtype == image.dtype
    back = rebuild_from_patches(patches, shape, stride)
    assert back.dtype == ("float64" if dtype == "float64" else "float32")
    np.testing.assert_allclose(back, image, rtol=1e-6)


@pytest.mark.parametrize("shape", [(13, 19), (13, 19, 3)])
def test_order_and_averages_are_those_of_scikit_learn(shape: tuple[int, ...]) -> None:
    image = image_of(*shape)
    patches = extract_patches(image, 5)
    np.testing.assert_array_equal(patches, extract_patches_2d(image, (5, 5)).reshape(len(patches), -1))
    changed = patches + image_of(*patches.shape)
    expected = reconstruct_from_patches_2d(changed.reshape(-1, 5, 5, *shape[2:]), shape)
    np.testing.assert_allclose(rebuild_from_patches(changed, shape), expected, rtol=1e-5)


def test_files_on_disk_go_band_by_band(tmp_path: Path) -> None:
    image = np.lib.format.open_memmap(tmp_path / "image.npy", "w+", "float32", (300, 200))
    image[:] = image_of(300, 200)
    out = np.lib.format.open_memmap(tmp_path / "patches.npy", "w+", "float32", (293 * 193, 64))
    assert extract_patches(image, 8, out=out) is out
    np.testing.assert_array_equal(out, extract_patches(np.asarray(image), 8))
    np.testing.assert_allclose(rebuild_from_patches(out, (300, 200)), image, rtol=1e-6)


def test_patches_drawn_at_random_are_patches_of_the_image() -> None:
    image = image_of(12, 14, 3)
    known = {row.tobytes() for row in extract_patches(image, 4)}
    drawn = extract_patches(image, 4, n=500, seed=1)
    assert drawn.shape == (500, 48)
    assert {row.tobytes() for row in drawn} <= known
    assert len({row.tobytes() for row in drawn}) > 0.9 * len(known)
    np.testing.assert_array_equal(drawn, extract_patches(image, 4, n=500, seed=1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: extract_patches(image_of(9), 3), r"image has shape \(9,\); expected \[h, w\] or \[h, w, c\]"),
        (lambda: extract_patches(image_of(9, 7), 8), "size is 8; expected 1 to 7"),
        (lambda: extract_patches(image_of(9, 7), 3, 0), "stride is 0; expected at least 1"),
        (lambda: extract_patches(image_of(9, 7), 3, n=0), "n is 0; expected at least 1"),
        (lambda: extract_patches(image_of(9, 7), 3, out=np.empty((2, 9))), r"out has shape \(2, 9\)"),
        (lambda: extract_patches(image_of(9, 7), 3, out=np.empty((35, 9), np.uint8)), "dtype uint8; expected"),
        (
            lambda: extract_patches(np.broadcast_to(np.float32(0), (2**16, 2**16)), 16),
            "GB of memory.*stride",
        ),
        (lambda: rebuild_from_patches(image_of(35, 9), (9, 8)), "patches has 35 rows; expected 42"),
        (lambda: rebuild_from_patches(image_of(35, 8), (9, 7)), r"patches have shape \(35, 8\)"),
        (lambda: rebuild_from_patches(image_of(35, 9), (9, 7), 4), "stride is 4; expected 1 to 3"),
        (lambda: rebuild_from_patches(image_of(35, 9), (9,)), r"shape is \(9,\)"),
    ],
)
def test_wrong_calls_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
