"""Sparse coding with a learned linear dictionary on data that come with the library."""

from __future__ import annotations

from sparsecode import Evaluate, Run
from sparsecode.data import Digits, Photos
from sparsecode.models import Inference, Iterative
from sparsecode.nn import LISTA, ConvolutionalDictionary, ConvolutionalLISTA, Standardise, Whiten
from sparsecode.penalties import L1
from sparsecode.schedules import Cosine
from sparsecode.train import Adam, Optim, Train

__all__ = ["digits_sdl", "photos_csc", "photos_sdl"]


def digits_sdl() -> Run:
    """SDL on scikit-learn's 8x8 digits: `mnist-sdl` in small, seconds on a laptop, no download."""
    pixels, n_code = 64, 64
    return Run(
        data=Digits(),
        model=Iterative(
            n_code=n_code,
            weight=0.01 * pixels / 2,
            proximity=0.1 * pixels / n_code,
            normaliser=Standardise(mean=0.3053, std=0.3760),
            encoder=LISTA(n_iter=3),
            penalty=L1(positive=True),
        ),
        optim=Optim(groups={"encoder": Adam(lr=1e-3), "decoder": Adam(lr=3e-3)}),
        train=Train(epochs=60, batch_size=100, select="encode/objective", evaluate_every=5),
        evaluate=Evaluate(sigmas=(0.25, 0.5, 1.0), unit="input"),
        seed=0,
    )


def photos_sdl() -> Run:
    """Gabor-like atoms from two photographs: signed codes of whitened 12x12 patches, embedded data.

    The setting of Olshausen & Field, Nature 1996, with an L1 penalty and unit-norm atoms. Patches with a standard deviation
    below 0.05 (of pixels in [0, 1]) are left out: more than half of these photographs is sky and blurred background, whose
    codes are 0. The weight is chosen for a fifth of the codes to be active. Noisy samples are solved with a weight in
    proportion to the noise.
    """
    return Run(
        data=Photos(size=12, min_std=0.05),
        model=Iterative(
            n_code=196,
            weight=0.5,
            normaliser=Whiten(floor=1.0),
            encoder=LISTA(n_iter=3, positive=False),
            penalty=L1(positive=False),
            inference=Inference(tol=1e-2),
        ),
        optim=Optim(
            groups={
                "encoder": Adam(lr=1e-3),
                "decoder": Adam(lr=Cosine(start=2e-2, stop=2e-4, length=1.0, unit="fraction")),
            }
        ),
        train=Train(epochs=8, batch_size=250, select="encode/objective"),
        evaluate=Evaluate(sigmas=(15 / 255, 25 / 255, 50 / 255), unit="range", noise_weight=0.8),
        seed=0,
    )


def photos_csc() -> Run:
    """Convolutional sparse coding of whitened 20x20 patches of two photographs: 16 atoms of 7x7 pixels at each of 14x14 places.

    One atom serves all places, so that 16 of them replace hundreds of atoms of a dictionary of patches.
    """
    n_atoms, size, patch = 16, 7, 20
    return Run(
        data=Photos(size=patch, min_std=0.05, n_train=4000, n_valid=500, n_test=500),
        model=Iterative(
            n_code=n_atoms * (patch - size + 1) ** 2,
            weight=0.4,
            normaliser=Whiten(floor=1.0),
            encoder=ConvolutionalLISTA(size=size, positive=False),
            decoder=ConvolutionalDictionary(size=size),
            penalty=L1(positive=False),
            inference=Inference(tol=1e-2),
        ),
        optim=Optim(
            groups={
                "encoder": Adam(lr=1e-3),
                "decoder": Adam(lr=Cosine(start=2e-2, stop=2e-4, length=1.0, unit="fraction")),
            }
        ),
        train=Train(epochs=6, batch_size=50, select="encode/objective"),
        evaluate=Evaluate(sigmas=(15 / 255, 25 / 255, 50 / 255), unit="range", noise_weight=0.8),
        seed=0,
    )
