"""Experiments by name: each recipe is a function that returns a whole `Run`."""

from __future__ import annotations

from collections.abc import Callable

from sparsecode.recipes import evtimova
from sparsecode.recipes.dictionary import photos_olshausen_field
from sparsecode.recipes.sparse_coding import digits_sdl, photos_sdl
from sparsecode.runs import Run

__all__ = ["RECIPES"]

RECIPES: dict[str, Callable[[], Run]] = {
    "digits-sdl": digits_sdl,
    "photos-sdl": photos_sdl,
    "photos-olshausen-field": photos_olshausen_field,
    "mnist-sdl": evtimova.mnist_sdl,
    "mnist-sdl-nl": evtimova.mnist_sdl_nl,
    "mnist-vdl": evtimova.mnist_vdl,
    "mnist-vdl-nl": evtimova.mnist_vdl_nl,
    "patches-sdl": evtimova.patches_sdl,
    "patches-sdl-nl": evtimova.patches_sdl_nl,
    "patches-vdl": evtimova.patches_vdl,
    "patches-vdl-nl": evtimova.patches_vdl_nl,
}
