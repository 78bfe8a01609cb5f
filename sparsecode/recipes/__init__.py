"""Experiments by name: each recipe is a function that returns a whole `Run`."""

from __future__ import annotations

from collections.abc import Callable

from sparsecode.recipes import autoencoders, evtimova
from sparsecode.recipes.dictionary import photos_olshausen_field
from sparsecode.recipes.sparse_coding import digits_sdl, photos_sdl
from sparsecode.runs import Run

__all__ = ["RECIPES"]

RECIPES: dict[str, Callable[[], Run]] = {
    "digits-sdl": digits_sdl,
    "photos-sdl": photos_sdl,
    "photos-olshausen-field": photos_olshausen_field,
    "digits-topk": autoencoders.digits_topk,
    "digits-lista": autoencoders.digits_lista,
    "digits-satlin": autoencoders.digits_satlin,
    "digits-dae": autoencoders.digits_dae,
    "mnist-sdl": evtimova.mnist_sdl,
    "mnist-sdl-nl": evtimova.mnist_sdl_nl,
    "mnist-vdl": evtimova.mnist_vdl,
    "mnist-vdl-nl": evtimova.mnist_vdl_nl,
    "patches-sdl": evtimova.patches_sdl,
    "patches-sdl-nl": evtimova.patches_sdl_nl,
    "patches-vdl": evtimova.patches_vdl,
    "patches-vdl-nl": evtimova.patches_vdl_nl,
    "patches-topk": autoencoders.patches_topk,
    "mnist-kl-16": autoencoders.mnist_kl_16,
    "mnist-kl-64": autoencoders.mnist_kl_64,
    "mnist-kl-256": autoencoders.mnist_kl_256,
    "mnist-kl-noise": autoencoders.mnist_kl_noise,
    "mnist-kl-half": autoencoders.mnist_kl_half,
    "acts-topk": autoencoders.acts_topk,
    "acts-batchtopk": autoencoders.acts_batchtopk,
    "acts-jumprelu": autoencoders.acts_jumprelu,
    "acts-gated": autoencoders.acts_gated,
    "acts-l1": autoencoders.acts_l1,
    "acts-matryoshka": autoencoders.acts_matryoshka,
}
