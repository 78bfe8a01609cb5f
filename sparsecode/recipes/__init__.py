"""Experiments by name: each recipe is a function that returns a whole `Run`."""

from __future__ import annotations

from collections.abc import Callable

from sparsecode.recipes.sparse_coding import digits_sdl, mnist_sdl, photos_sdl
from sparsecode.runs import Run

__all__ = ["RECIPES"]

RECIPES: dict[str, Callable[[], Run]] = {
    "digits-sdl": digits_sdl,
    "photos-sdl": photos_sdl,
    "mnist-sdl": mnist_sdl,
}
