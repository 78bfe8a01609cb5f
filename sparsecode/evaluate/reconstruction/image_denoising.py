"""Denoising of whole images: sparse codes of overlapping patches, averaged.

Source: Elad & Aharon, IEEE Trans. Image Processing 15(12), 2006.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparsecode.data.image_patches import PatchGrid, extract_patches
from sparsecode.data.images import progress as progress_bar
from sparsecode.evaluate.reconstruction.noise_level import estimate_sigma
from sparsecode.evaluate.reconstruction.patch_coders import Mask, PatchArray, PatchCoder, PursuitPatches
from sparsecode.models.base import AbstractSparseModel
from sparsecode.solvers.dictionary import DictionaryFit, learn_dictionary

__all__ = [
    "cosine_atoms",
    "data_space_atoms",
    "denoise_image",
]

SIZE = 8  # of patches of a dictionary learned from the image, as in the source
LEARN_FROM, LEARN_STEPS, LEARN_WEIGHT = 40_000, 150, 2.5  # patches; batches of them; penalty weight in units of sigma
NOTHING = 1e-30  # squared norms below are zero: float32 has few digits left for them
# An orthonormal basis of colours: grey, red - blue, green against both. White noise stays white of the same sigma in it,
# and nearly all of a photograph's structure gathers in the first channel, so that the others are denoised more.
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
Image = NDArray[Any]


def denoise_image(
    image: Image,
    D: Image | None = None,
    sigma: float | None = None,
    *,
    coder: PatchCoder | None = None,
    stride: int = 1,
    blend: float = 1.0,
    mask: Mask | None = None,
    seed: int = 0,
    progress: bool | str = False,
) -> NDArray[np.float32]:
    """`image` less white Gaussian noise of standard deviation `sigma`, by sparse codes of its overlapping patches in `D`.

    Every patch R_i y less its mean m_i gets a code z_i adapted to the noise by `coder`; each pixel of the result is
    (blend y + sum_i R_i^T (z_i D + m_i)) / (blend + sum_i R_i^T 1).

    With a `mask` missing pixels are filled: means and codes are those of the observed pixels of each patch, to which an atom that
    is constant is added for what their mean differs from the patch's, and y counts where it is observed. Patches without an
    observed pixel say nothing.

    Parameters
    ----------
    image: grey [h, w] or colour [h, w, 3], any size from one patch on, any units that fit in float32, nothing is clipped.
        Colours are denoised in an orthonormal basis of grey and two differences of colours.
    D: atoms [n_code, size * size] of square grey patches; scaled to unit norm here, atoms of zeros are left out. None: 255
        atoms of 8 x 8 pixels are learned for each channel from its noisy patches (`learn_dictionary`, penalty weight 2.5
        sigma), beginning with an overcomplete cosine dictionary.
    sigma: > 0, in the units of the image; None: `estimate_sigma(image)`. If that gives 0, the image is returned as it is.
    coder: how a patch is coded at this noise, `PursuitPatches()` (default) or `LassoPatches()`.
    stride: pixels between patches, 1 to size; the last patches touch the border whatever the stride.
    blend: weight of the noisy pixel beside the patches', each of weight 1.
    mask: where the image is observed [h, w], bool; default everywhere. Other pixels are not read. Needs D and sigma; colours are
        then denoised one by one.
    seed: of the patches that a dictionary is learned from.
    progress: show a progress bar, with this title if it is a string.

    Raises
    ------
    ValueError naming the argument for wrong shapes, images smaller than a patch, values out of range or not finite.
    """
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] == 3):
        raise ValueError(f"image has shape {image.shape}; expected one grey image [h, w] or one of colours [h, w, 3]")
    with np.errstate(over="ignore"):
        y = np.asarray(image, np.float32)
    if mask is not None:
        if D is None or sigma is None:
            raise ValueError(
                f"mask is given without {'D' if D is None else 'sigma'}; expected both D and sigma with it"
            )
        observed = _checked(mask, image.shape[:2])
        y = np.where(observed if y.ndim == 2 else observed[:, :, None], y, np.float32(0))
        mask = None if mask.all() else mask
    if not np.isfinite(y).all():
        raise ValueError("image contains NaN, infinity or values beyond float32; expected finite values")
    if sigma is None:
        sigma = estimate_sigma(image)
        if not sigma:
            return y.copy()
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma is {sigma!r}; expected a finite number > 0, in the units of the image")
    if not (math.isfinite(blend) and blend >= 0):
        raise ValueError(f"blend is {blend!r}; expected a finite number >= 0")
    atoms, size = (None, min(SIZE, *y.shape[:2])) if D is None else _unit_atoms(D)
    if D is None and size < 2:
        raise ValueError(f"image is {y.shape[0]} x {y.shape[1]}; expected sides of at least 2 pixels to learn from")
    if size > min(y.shape[:2]):
        raise ValueError(
            f"image is {y.shape[0]} x {y.shape[1]}, smaller than the dictionary's patches of {size} x {size}; "
            "take a larger image or a dictionary of smaller patches"
        )
    if not 1 <= stride <= size:
        raise ValueError(f"stride is {stride}; expected 1 to {size}, the width of a patch, or pixels are left out")
    coder = PursuitPatches() if coder is None else coder
    # In units of a power of two, which no rounding sees: squares of values of any size would not fit in float32.
    power = math.frexp(max(float(np.abs(y).max()), sigma))[1]
    y, sigma = np.ldexp(y, -power), max(math.ldexp(sigma, -power), float(np.finfo(np.float32).tiny))
    grid = PatchGrid.of(y.shape[0], y.shape[1], size, stride)
    colours = y.ndim == 3 and mask is None
    if colours:
        y = y @ OPPONENT.T.astype(np.float32)
    planes = y.reshape(*y.shape[:2], -1)
    if mask is not None and atoms is not None:
        atoms = np.vstack([atoms, np.full((1, size * size), 1 / size, np.float32)])
    seen = None if mask is None else mask[:, :, None]
    learning = LEARN_STEPS if atoms is None else 0
    title = progress if isinstance(progress, str) else "denoising"
    work = planes.shape[2] * (learning + len(grid.rows))
    with progress_bar(title, work) if progress else nullcontext(lambda _: None) as report:
        done, results = 0, list[NDArray[np.float64]]()
        for plane in np.split(planes, planes.shape[2], axis=2):
            basis = _learned_atoms(plane, size, sigma, seed, done, report) if atoms is None else atoms
            done += learning
            total, weight = blend * plane.astype(np.float64), np.full(plane.shape, float(blend))
            if seen is not None:
                total, weight = np.where(seen, total, 0), np.where(seen, weight, 0)
            for _, tops in grid.bands():
                known = None if seen is None else grid.take(seen, tops)
                estimate, counts = _estimates(grid.take(plane, tops), known, basis, sigma, coder)
                grid.add_(total, weight, tops, estimate, counts)
                done += len(tops)
                report(done)
            if not weight.all():
                row, column, _ = np.argwhere(weight == 0)[0]
                raise ValueError(
                    f"no patch of {size} x {size} over the missing pixel in row {row}, column {column} has an observed one; "
                    "expected smaller holes: take a dictionary of larger patches, or a smaller stride or image"
                )
            results.append(total / weight)
    clean = np.concatenate(results, axis=2)
    clean = clean @ OPPONENT if colours else clean
    return np.ldexp(clean.reshape(image.shape), power).astype(np.float32)


def _learned_atoms(
    plane: PatchArray, size: int, sigma: float, seed: int, done: int, report: Callable[[int], object]
) -> PatchArray:
    """Atoms of unit norm for the patches of `plane` [h, w, 1] in which there is more than noise.

    Raises KeyboardInterrupt when interrupted: half-learned atoms are of no use here.
    """
    cosines = cosine_atoms(size)
    few = (plane.shape[0] - size + 1) * (plane.shape[1] - size + 1) <= LEARN_FROM
    x = extract_patches(plane, size, n=None if few else LEARN_FROM, seed=seed)
    x = x - x.mean(axis=1, keepdims=True)
    x = x[np.square(x).sum(axis=1) > max((PursuitPatches().gain * sigma) ** 2 * size**2, NOTHING)]
    if len(x) < len(cosines):
        return cosines

    def after_step(fit: DictionaryFit[Any]) -> None:
        report(done + fit.steps)

    with warnings.catch_warnings():  # that all codes are 0, or of an interrupt, which is passed on
        warnings.simplefilter("ignore")
        fit = learn_dictionary(
            x,
            len(cosines),
            LEARN_WEIGHT * sigma,
            init=cosines,
            max_steps=LEARN_STEPS,
            forgetting=0.95,
            tol=0.05,
            seed=seed,
            callback=after_step,
        )
    if not fit.finished:
        raise KeyboardInterrupt
    return fit.atoms


def cosine_atoms(size: int) -> PatchArray:
    """An overcomplete cosine dictionary [4 size^2 - 1, size^2] as in the source, without its constant atom."""
    lines = np.cos(np.pi / (2 * size) * np.outer(np.arange(2 * size), np.arange(size)))
    lines[1:] -= lines[1:].mean(axis=1, keepdims=True)
    norms = np.linalg.norm(lines, axis=1, keepdims=True)
    lines /= np.where(norms > 0, norms, 1)
    atoms = np.kron(lines, lines)[1:].astype(np.float32)
    return atoms[np.square(atoms).sum(axis=1) > 0]


def _estimates(
    patches: PatchArray, known: Mask | None, atoms: PatchArray, sigma: float, coder: PatchCoder
) -> tuple[PatchArray, NDArray[np.float64]]:
    """Clean patches, and their weights: 0 for those without an observed pixel."""
    if known is None:
        means = patches.mean(axis=1, keepdims=True)
        return coder.codes(patches - means, atoms, sigma) @ atoms + means, np.ones(len(patches))
    n = known.sum(axis=1, keepdims=True)
    means = patches.sum(axis=1, keepdims=True) / np.maximum(n, 1).astype(np.float32)
    codes = coder.codes(np.where(known, patches - means, np.float32(0)), atoms, sigma, known)
    covered = n > 0
    return np.where(covered, codes @ atoms + means, np.float32(0)), covered[:, 0].astype(np.float64)


def _checked(mask: Any, shape: tuple[int, ...]) -> Mask:
    if mask.shape != shape or mask.dtype != np.bool_:
        raise ValueError(
            f"mask has shape {mask.shape} and dtype {mask.dtype}; expected a bool for each pixel, {shape}: True where it is observed"
        )
    if not mask.any():
        raise ValueError("mask is False everywhere; expected pixels that are observed")
    return mask


def _unit_atoms(D: Image) -> tuple[NDArray[np.float32], int]:
    size = math.isqrt(D.shape[-1]) if D.ndim == 2 else 0
    if size < 1 or size * size != D.shape[-1] or not len(D):
        raise ValueError(
            f"D has shape {D.shape}; expected [n_code, size * size], an atom of a square grey patch per row"
        )
    if not np.isfinite(D).all():
        raise ValueError("D contains NaN or infinity; expected finite atoms")
    norms = np.linalg.norm(np.asarray(D, np.float64), axis=1)
    if not norms.any():
        raise ValueError("all atoms of D are zero")
    return np.ascontiguousarray((D[norms > 0] / norms[norms > 0, None]).astype(np.float32)), size


@torch.no_grad()
def data_space_atoms(model: AbstractSparseModel) -> NDArray[np.float32]:
    """What one unit of each code adds to a sample of a model, in data space: [n_code, size * size].

    Raises ValueError unless samples are square grey patches and decoding is linear.
    """
    shape = model.shape
    if len(shape) not in (2, 3) or shape[-1] != shape[-2] or math.prod(shape) != shape[-1] ** 2:
        raise ValueError(f"the model's samples have shape {shape}; expected square grey patches, such as (8, 8)")
    weights = next(model.parameters())
    n_code = model.encode(torch.zeros(1, *shape).to(weights)).shape[1]

    def decoded(z: torch.Tensor) -> torch.Tensor:
        return model.denormalise(model.decode(z)).flatten(1)

    origin = decoded(torch.zeros(1, n_code).to(weights))
    atoms = decoded(torch.eye(n_code).to(weights)) - origin
    trial = torch.linspace(0.1, 1.0, n_code).to(weights)[None]  # any code with all atoms in it
    error = (decoded(trial) - origin - trial @ atoms).norm()
    if not float(error) <= 1e-3 * float((trial @ atoms).norm()):
        raise ValueError(
            "the model's decoder is not linear, so it has no dictionary; take a model with a linear decoder"
        )
    return np.asarray(atoms.float().cpu())
