"""Denoising of whole images: every pixel is covered once per patch, noise goes, and wrong calls are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image
from sklearn.linear_model import orthogonal_mp
from toys import toy

from sparsecode import learn_dictionary
from sparsecode.data import Photos
from sparsecode.evaluate.reconstruction.denoising import add_noise, denoise
from sparsecode.evaluate.reconstruction.image_denoising import data_space_atoms, denoise_image
from sparsecode.evaluate.reconstruction.patch_coders import CODERS, LassoPatches, PursuitPatches
from sparsecode.nn.normalisers import Standardise
from sparsecode.ops.rng import generator
from sparsecode.runs import Run

Array = NDArray[Any]


@pytest.fixture(scope="module")
def atoms() -> Array:
    """64 atoms of 6x6 patches, of the left parts of two photographs."""
    x = Photos(size=6, n_train=8000, n_valid=1, n_test=1).load().train.x.flatten(1).numpy()
    return learn_dictionary(x, 64, 0.1, epochs=2).atoms


@pytest.fixture(scope="module")
def photo() -> Array:
    """The right end of a photograph, 61 x 80, grey levels 0 to 1: not square, and no multiple of a patch."""
    grey = load_sample_image("china.jpg") @ np.array([0.299, 0.587, 0.114]) / 255
    return np.ascontiguousarray(grey[180:241, 500:580], dtype=np.float32)


def psnr(clean: Array, other: Array) -> float:
    return float(-10 * np.log10(np.mean((clean - other) ** 2)))


def noisy(clean: Array, sigma: float) -> Array:
    return clean + sigma * np.random.RandomState(0).standard_normal(clean.shape).astype(np.float32)


@pytest.mark.parametrize("method", list(CODERS))
@pytest.mark.parametrize(("sigma", "gain"), [(0.06, 2.5), (0.2, 8.0)])
def test_noise_goes_and_more_of_it_where_patches_overlap(
    photo: Array, atoms: Array, method: str, sigma: float, gain: float
) -> None:
    given = noisy(photo, sigma)
    before = given.copy()
    by_stride = [psnr(photo, denoise_image(given, atoms, sigma, coder=CODERS[method], stride=s)) for s in (1, 3, 6)]
    assert by_stride[0] > psnr(photo, given) + gain
    assert by_stride[0] > by_stride[2]
    np.testing.assert_array_equal(given, before)


def test_sizes_of_patches_and_images_do_not_matter(photo: Array, atoms: Array) -> None:
    for image in (photo, photo.T, photo[:6, :6], photo[:6, :40], photo[:40, :7]):
        for stride in (1, 4, 6):
            clean = denoise_image(image, atoms, 1e-4, stride=stride)
            assert clean.shape == image.shape
            assert clean.dtype == np.float32
    constant = np.full((20, 30), 7.0)
    np.testing.assert_allclose(denoise_image(constant, atoms, 0.1), constant, atol=1e-5)


def test_it_is_the_average_of_patches_written_out(photo: Array, atoms: Array) -> None:
    image, sigma, blend = noisy(photo[:14, :11], 0.1), 0.1, 0.5
    unit = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
    total, weight = blend * image.astype(np.float64), np.full(image.shape, blend)
    for top in (0, 4, 8):
        for left in (0, 4, 5):
            place = np.s_[top : top + 6, left : left + 6]
            patch = image[place].ravel()
            rest = patch - patch.mean()
            left_over = (1.15 * sigma) ** 2 * 36
            z = np.zeros(64)
            if rest @ rest > left_over:
                z = np.asarray(orthogonal_mp(unit.T.astype(np.float64), rest.astype(np.float64), tol=left_over))
            total[place] += (z @ unit + patch.mean()).reshape(6, 6)
            weight[place] += 1
    result = denoise_image(image, 3 * atoms, sigma, stride=4, blend=blend)
    np.testing.assert_allclose(result, total / weight, atol=2e-4)


def test_units_do_not_matter(photo: Array, atoms: Array) -> None:
    given = noisy(photo, 0.1)
    for coder in (PursuitPatches(), LassoPatches()):
        one = denoise_image(given, atoms, 0.1, coder=coder, stride=3)
        for unit in (255.0, 1e30, 1e-30):  # of squares that do not fit in float32, too
            many = denoise_image(unit * given, unit * atoms, 0.1 * unit, coder=coder, stride=3)
            assert psnr(one, many / np.float32(unit)) > 60


def test_a_code_leaves_no_more_than_the_noise(photo: Array, atoms: Array) -> None:
    x = np.lib.stride_tricks.sliding_window_view(photo, (6, 6)).reshape(-1, 36)[::37]
    x = np.ascontiguousarray(x - x.mean(axis=1, keepdims=True))
    unit = np.ascontiguousarray(atoms / np.linalg.norm(atoms, axis=1, keepdims=True))
    bound = (1.15 * 0.03) ** 2 * 36
    z = PursuitPatches().codes(x, unit, 0.03)
    left = np.square(x - z @ unit).sum(axis=1)
    assert (left <= bound * 1.001).all()
    assert (z != 0).any(axis=1).mean() > 0.3
    assert (z[np.square(x).sum(axis=1) <= bound] == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((5, 90))}, "smaller than the dictionary's patches of 6 x 6"),
        ({"image": np.zeros((3, 20, 20))}, r"image has shape \(3, 20, 20\)"),
        ({"image": np.full((9, 9), np.nan)}, "image contains NaN"),
        ({"image": np.full((9, 9), 1e300)}, "values beyond float32"),
        ({"D": np.ones((4, 35))}, r"D has shape \(4, 35\); expected \[n_code, size \* size\]"),
        ({"D": np.full((4, 36), np.inf)}, "D contains NaN or infinity"),
        ({"D": np.zeros((4, 36))}, "all atoms of D are zero"),
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"sigma": float("nan")}, "sigma is nan"),
        ({"stride": 7}, "stride is 7; expected 1 to 6"),
        ({"stride": 0}, "stride is 0"),
        ({"blend": -1.0}, "blend is -1.0"),
    ],
)
def test_wrong_calls_are_named(atoms: Array, change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"image": np.zeros((20, 20)), "D": atoms, "sigma": 0.1} | change
    with pytest.raises(ValueError, match=message):
        denoise_image(**arguments)


def built(run: Run) -> Any:
    splits = run.data.load()
    model = run.model.build(splits.shape, 0)
    model.initialise_(splits.train.x)
    return model


def test_atoms_of_a_model_are_its_decoder_in_data_space(tmp_path: Path) -> None:
    model = built(toy("photos-sdl", tmp_path))
    atoms = data_space_atoms(model)
    z = torch.from_numpy(np.random.RandomState(0).standard_normal((3, 24)).astype(np.float32))
    difference = model.denormalise(model.decode(z)) - model.denormalise(model.decode(torch.zeros(1, 24)))
    np.testing.assert_allclose(z.numpy() @ atoms, difference.detach().flatten(1), atol=1e-4)


def test_models_without_a_dictionary_of_square_patches_are_refused(tmp_path: Path) -> None:
    run = toy("digits-sdl", tmp_path)
    spec = run.model
    with pytest.raises(ValueError, match=r"samples have shape \(4, 16\); expected square grey patches"):
        data_space_atoms(spec.build((4, 16), 0))
    model = spec.build((8, 8), 0)
    model.normaliser = Standardise(mean=0.5, std=2.0).build((64,))
    np.testing.assert_allclose(data_space_atoms(model), 2 * model.decode(torch.eye(24)).detach(), atol=1e-5)
    linear = model.decode
    model.decode = lambda z: linear(z).square()
    with pytest.raises(ValueError, match="decoder is not linear"):
        data_space_atoms(model)


def test_codes_of_noisy_samples_fit_the_noise(tmp_path: Path) -> None:
    """With `noise_weight` c the solver's weight is c times the noise's deviation, at every level; the encoder has none."""
    run = toy("photos-sdl", tmp_path)
    model, split = built(run), run.data.load().test
    for sigma in (0.03, 0.2):
        fixed, fitted = (denoise(model, "encode", split, [sigma], "range", 1.0, noise_weight=c)[0] for c in (0.0, 0.8))
        noisy = add_noise(model, split, sigma, "range", 1.0, generator(0, "denoise", 0))
        deviation = float((model.normalise(noisy) - model.normalise(split.x)).square().mean().sqrt())
        weight = float(model.weight)
        model.weight.fill_(0.8 * deviation)
        (expected,) = denoise(model, "encode", split, [sigma], "range", 1.0)
        model.weight.fill_(weight)
        assert (fitted.psnr, fitted.l0) == pytest.approx((expected.psnr, expected.l0), rel=1e-5)
        assert (fitted.noise_weight, fixed.noise_weight) == (0.8, 0.0)
        assert fitted.psnr != fixed.psnr
        rows = [denoise(model, "amortised", split, [sigma], "range", 1.0, noise_weight=c)[0].psnr for c in (0.0, 0.8)]
        assert rows[0] == rows[1]
