"""Experiments by name: each recipe is a function that returns a whole `Run`."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any, NamedTuple

import sparsecode

__all__ = ["RECIPES", "Recipe"]


class Recipe(NamedTuple):
    """A function `name` of a module of this room, which is imported when it is needed: names alone need no torch."""

    module: str
    name: str

    def __call__(self) -> sparsecode.Run:
        return self._function()

    @property
    def about(self) -> str:
        """The function's docstring, from the source where there is one: the function itself would import torch."""
        texts = _docstrings(self.module)
        return texts[self.name] if self.name in texts else inspect.getdoc(self._function) or ""

    @property
    def _function(self) -> Any:
        return getattr(import_module(f"{__name__}.{self.module}"), self.name)


@cache
def _docstrings(module: str) -> dict[str, str]:
    """The docstrings of a module's functions, by name; none where the package has no sources."""
    file = files(__name__) / f"{module}.py"
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return {node.name: ast.get_docstring(node) or "" for node in functions}


RECIPES: dict[str, Recipe] = {
    "digits-sdl": Recipe("sparse_coding", "digits_sdl"),
    "photos-sdl": Recipe("sparse_coding", "photos_sdl"),
    "photos-csc": Recipe("sparse_coding", "photos_csc"),
    "photos-olshausen-field": Recipe("dictionary", "photos_olshausen_field"),
    "digits-topk": Recipe("autoencoders", "digits_topk"),
    "digits-lista": Recipe("autoencoders", "digits_lista"),
    "digits-satlin": Recipe("autoencoders", "digits_satlin"),
    "digits-dae": Recipe("autoencoders", "digits_dae"),
    "mnist-sdl": Recipe("evtimova", "mnist_sdl"),
    "mnist-sdl-nl": Recipe("evtimova", "mnist_sdl_nl"),
    "mnist-vdl": Recipe("evtimova", "mnist_vdl"),
    "mnist-vdl-nl": Recipe("evtimova", "mnist_vdl_nl"),
    "patches-sdl": Recipe("evtimova", "patches_sdl"),
    "patches-sdl-nl": Recipe("evtimova", "patches_sdl_nl"),
    "patches-vdl": Recipe("evtimova", "patches_vdl"),
    "patches-vdl-nl": Recipe("evtimova", "patches_vdl_nl"),
    "patches-topk": Recipe("autoencoders", "patches_topk"),
    "mnist-kl-16": Recipe("autoencoders", "mnist_kl_16"),
    "mnist-kl-64": Recipe("autoencoders", "mnist_kl_64"),
    "mnist-kl-256": Recipe("autoencoders", "mnist_kl_256"),
    "mnist-kl-noise": Recipe("autoencoders", "mnist_kl_noise"),
    "mnist-kl-half": Recipe("autoencoders", "mnist_kl_half"),
    "acts-topk": Recipe("autoencoders", "acts_topk"),
    "acts-batchtopk": Recipe("autoencoders", "acts_batchtopk"),
    "acts-jumprelu": Recipe("autoencoders", "acts_jumprelu"),
    "acts-gated": Recipe("autoencoders", "acts_gated"),
    "acts-l1": Recipe("autoencoders", "acts_l1"),
    "acts-matryoshka": Recipe("autoencoders", "acts_matryoshka"),
    "acts-transcoder": Recipe("sites", "acts_transcoder"),
    "acts-skip-transcoder": Recipe("sites", "acts_skip_transcoder"),
    "acts-crosscoder": Recipe("sites", "acts_crosscoder"),
    "noise-digits": Recipe("noise", "noise_digits"),
    "noise-digits-sdm": Recipe("noise", "noise_digits_sdm"),
    "noise-digits-classify": Recipe("noise", "noise_digits_classify"),
    "noise-digits-attention": Recipe("noise", "noise_digits_attention"),
    "noise-mnist": Recipe("noise", "noise_mnist"),
    "noise-mnist-anneal": Recipe("noise", "noise_mnist_anneal"),
    "noise-mnist-classify": Recipe("noise", "noise_mnist_classify"),
    "noise-mnist-deep": Recipe("noise", "noise_mnist_deep"),
    "noise-mnist-sdm": Recipe("noise", "noise_mnist_sdm"),
    "noise-mnist-inhibition": Recipe("noise", "noise_mnist_inhibition"),
    "noise-mnist-l1": Recipe("noise", "noise_mnist_l1"),
    "noise-mnist-sgd": Recipe("noise", "noise_mnist_sgd"),
    "noise-mnist-explain-away": Recipe("noise_variants", "noise_mnist_explain_away"),
    "noise-mnist-adversarial": Recipe("noise_variants", "noise_mnist_adversarial"),
    "noise-mnist-continual": Recipe("noise", "noise_mnist_continual"),
    "noise-latents-continual": Recipe("noise_large", "noise_latents_continual"),
    "noise-latents": Recipe("noise_large", "noise_latents"),
    "noise-latents-explain-away": Recipe("noise_variants", "noise_latents_explain_away"),
    "noise-latents-default": Recipe("noise_large", "noise_latents_default"),
    "noise-latents-classify": Recipe("noise_large", "noise_latents_classify"),
    "noise-cifar": Recipe("noise_large", "noise_cifar"),
    "noise-cifar-classify": Recipe("noise_large", "noise_cifar_classify"),
    "noise-cifar-convmixer": Recipe("noise_large", "noise_cifar_convmixer"),
    "noise-cifar-resnet50": Recipe("noise_large", "noise_cifar_resnet50"),
    "digits-vae": Recipe("variational", "digits_vae"),
    "digits-vsc": Recipe("variational", "digits_vsc"),
    "mnist-vae": Recipe("variational", "mnist_vae"),
    "mnist-vae-2": Recipe("variational", "mnist_vae_2"),
    "mnist-vsc-50": Recipe("variational", "mnist_vsc_50"),
    "mnist-vsc-20": Recipe("variational", "mnist_vsc_20"),
    "mnist-vsc-1": Recipe("variational", "mnist_vsc_1"),
    "mnist-vsc": Recipe("variational", "mnist_vsc"),
    "mnist-vsc-2": Recipe("variational", "mnist_vsc_2"),
    "mnist-conv-vsc": Recipe("variational", "mnist_conv_vsc"),
    "fashion-vae": Recipe("variational", "fashion_vae"),
    "fashion-vsc": Recipe("variational", "fashion_vsc"),
    "fashion-vsc-50": Recipe("variational", "fashion_vsc_50"),
    "fashion-vsc-20": Recipe("variational", "fashion_vsc_20"),
    "fashion-vsc-1": Recipe("variational", "fashion_vsc_1"),
    "shapes-vae": Recipe("variational", "shapes_vae"),
    "shapes-tcvae": Recipe("variational", "shapes_tcvae"),
    "shapes-vsc": Recipe("variational", "shapes_vsc"),
    "olivetti-conv-vsc": Recipe("variational", "olivetti_conv_vsc"),
    "celeba-vsc": Recipe("variational", "celeba_vsc"),
    "celeba-conv-vsc": Recipe("variational", "celeba_conv_vsc"),
}
