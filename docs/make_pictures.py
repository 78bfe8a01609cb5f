"""Make the pictures of the README and the docs anew: from a run of the demo's recipe, and from a small variational one."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from sklearn.datasets import load_digits, load_sample_image

from sparsecode import RECIPES, learn_dictionary, run
from sparsecode.evaluate import denoise_image, estimate_sigma
from sparsecode.models.variational import VariationalModel
from sparsecode.plots import atoms_mosaic, images_beside
from sparsecode.reports import subject_of

PICTURES = Path(__file__).parent / "pictures"


def photographs(folder: Path) -> None:
    """Of the demo, for the README."""
    for figure in run(RECIPES["photos-sdl"](), folder / "photos-sdl").figures:
        if figure.stem in ("atoms", "denoising"):
            shutil.copy(figure, PICTURES / figure.name)


def codes(folder: Path) -> None:
    """Of variational sparse coding."""
    recipe = RECIPES["digits-vsc"]()
    config = replace(recipe, train=replace(recipe.train, epochs=60))
    trained = run(config, folder / "digits-vsc").folder.best_model()
    assert isinstance(trained, VariationalModel)
    shown = subject_of(trained, config.data.load(), "digits-vsc")
    figures = {
        "encoding": shown.encodings(),
        "traversals": shown.traversals(),
        "interpolation": shown.interpolations(),
    }
    for name, figure in figures.items():
        figure.savefig(PICTURES / f"{name}.png", dpi=90, bbox_inches="tight")


def denoised() -> None:
    """A photograph denoised by itself, for the page on evaluation."""
    photo = load_sample_image("flower.jpg")[120:280, 220:380].astype(np.float32)
    noisy = photo + 25 * np.random.RandomState(0).standard_normal(photo.shape)
    shown = {"": [photo, noisy, denoise_image(noisy)]}
    figure = images_beside(shown, ["clean", "noisy", "denoised"], f"sigma 25, estimated {estimate_sigma(noisy):.1f}")
    figure.savefig(PICTURES / "denoised.png", dpi=90, bbox_inches="tight")


def digits() -> None:
    """Atoms of handwritten digits, for the tutorial on sparse coding."""
    x = np.asarray(load_digits(return_X_y=True)[0], np.float32) / 16
    atoms = learn_dictionary(x[:1500] - x.mean(axis=0), n_code=100, alpha=0.3, max_steps=1000).atoms
    figure = atoms_mosaic(atoms, (8, 8), title="atoms of digits")
    figure.savefig(PICTURES / "tutorial_sparse_coding.png", dpi=70, bbox_inches="tight")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        photographs(Path(made))
        codes(Path(made))
    denoised()
    digits()
