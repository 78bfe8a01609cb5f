"""Experiments by name: each recipe is a function that returns a whole `Run`."""

from __future__ import annotations

from collections.abc import Callable

from sparsecode.recipes import autoencoders, evtimova, noise, noise_large, variational
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
    "noise-digits": noise.noise_digits,
    "noise-digits-sdm": noise.noise_digits_sdm,
    "noise-digits-classify": noise.noise_digits_classify,
    "noise-digits-attention": noise.noise_digits_attention,
    "noise-mnist": noise.noise_mnist,
    "noise-mnist-anneal": noise.noise_mnist_anneal,
    "noise-mnist-classify": noise.noise_mnist_classify,
    "noise-mnist-deep": noise.noise_mnist_deep,
    "noise-mnist-sdm": noise.noise_mnist_sdm,
    "noise-mnist-inhibition": noise.noise_mnist_inhibition,
    "noise-mnist-l1": noise.noise_mnist_l1,
    "noise-mnist-sgd": noise.noise_mnist_sgd,
    "noise-mnist-explain-away": noise.noise_mnist_explain_away,
    "noise-mnist-continual": noise.noise_mnist_continual,
    "noise-latents-continual": noise_large.noise_latents_continual,
    "noise-latents": noise_large.noise_latents,
    "noise-latents-classify": noise_large.noise_latents_classify,
    "noise-cifar": noise_large.noise_cifar,
    "noise-cifar-classify": noise_large.noise_cifar_classify,
    "noise-cifar-convmixer": noise_large.noise_cifar_convmixer,
    "noise-cifar-resnet50": noise_large.noise_cifar_resnet50,
    "digits-vae": variational.digits_vae,
    "digits-vsc": variational.digits_vsc,
    "mnist-vae": variational.mnist_vae,
    "mnist-vsc-50": variational.mnist_vsc_50,
    "mnist-vsc-20": variational.mnist_vsc_20,
    "mnist-vsc-1": variational.mnist_vsc_1,
    "mnist-vsc": variational.mnist_vsc,
    "mnist-vsc-2": variational.mnist_vsc_2,
    "mnist-conv-vsc": variational.mnist_conv_vsc,
    "fashion-vae": variational.fashion_vae,
    "fashion-vsc": variational.fashion_vsc,
    "shapes-vae": variational.shapes_vae,
    "shapes-vsc": variational.shapes_vsc,
    "olivetti-conv-vsc": variational.olivetti_conv_vsc,
}
