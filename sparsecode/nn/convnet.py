"""Convolutional networks for square images, and the union of networks around a code."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.nn.init import uniform_fan_in
from sparsecode.nn.perceptron import Perceptron, PerceptronModule
from sparsecode.specs import Count, Spec

__all__ = ["ConvDecoder", "ConvEncoder", "ConvNet", "Net", "NetModule", "build_decoder", "build_encoder"]

KERNEL, STRIDE, PADDING = 4, 2, 1  # each block halves height and width, its mirror image doubles them


class ConvNet(Spec, tag="conv"):
    """Blocks of a 4x4 convolution with stride 2 and ReLU, one per entry of `channels`; then a hidden layer with ReLU, and an affine map.

    As a decoder the same backwards, with transposed convolutions and nothing behind the last. Images must be square, their
    sides divisible by 2^blocks. Weights start as PyTorch's default, biases at 0.
    """

    channels: Annotated[tuple[Count, ...], Meta(min_length=1, description="of each block")] = (32, 32, 64, 64)
    hidden: Annotated[Count, Meta(description="units of the hidden layer")] = 256

    def plan(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
        """Channels before, between and after the blocks for images of `shape`, and the side of the last maps.

        Raises ValueError for samples that are no images, not square, or whose side the blocks do not divide.
        """
        if len(shape) not in (2, 3):
            raise ValueError(
                f"net is 'conv', and samples have shape {shape}; expected images [height, width] or [channels, height, width]; "
                "choose net 'perceptron' for other data"
            )
        height, width = shape[-2:]
        parts = 2 ** len(self.channels)
        if height != width or height % parts:
            raise ValueError(
                f"net is 'conv' with {len(self.channels)} blocks, and images are {height} x {width}; expected square ones with "
                f"sides divisible by {parts}; crop or pad the images, or give fewer channels"
            )
        return (shape[0] if len(shape) == 3 else 1, *self.channels), height // parts


class ConvEncoder(nn.Module):
    """From images to the parameters of a code's distribution: `kernels` [out, in, 4, 4] and `offsets` of the blocks, and the `top`."""

    def __init__(self, spec: ConvNet, shape: tuple[int, ...], n_out: int, rng: torch.Generator) -> None:
        super().__init__()
        channels, side = spec.plan(shape)
        self.image = (channels[0], *shape[-2:])
        self.kernels, self.offsets = _blocks(list(pairwise(channels)), rng, transposed=False)
        self.top = PerceptronModule(Perceptron(hidden=(spec.hidden,)), channels[-1] * side**2, n_out, rng)

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b o"]:
        h = x.reshape(-1, *self.image)
        for kernel, offset in zip(self.kernels, self.offsets, strict=True):
            h = torch.relu(nn.functional.conv2d(h, kernel, offset, STRIDE, PADDING))
        return self.top(h.flatten(1))

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        top = self.top.param_groups()
        return {"weight": [*self.kernels, *top["weight"]], "bias": [*self.offsets, *top["bias"]]}


class ConvDecoder(nn.Module):
    """From codes to the parameters of a likelihood: the `top`, and `kernels` [in, out, 4, 4] and `offsets` of the blocks."""

    def __init__(self, spec: ConvNet, n_in: int, shape: tuple[int, ...], rng: torch.Generator) -> None:
        super().__init__()
        channels, side = spec.plan(shape)
        self.maps = (channels[-1], side, side)
        self.top = Perceptron(hidden=(spec.hidden,)).build(n_in, self.maps, rng)
        self.kernels, self.offsets = _blocks(list(pairwise(channels[::-1])), rng, transposed=True)

    def forward(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b f"]:
        h = torch.relu(self.top(z)).reshape(-1, *self.maps)
        for i, (kernel, offset) in enumerate(zip(self.kernels, self.offsets, strict=True)):
            h = nn.functional.conv_transpose2d(h if i == 0 else torch.relu(h), kernel, offset, STRIDE, PADDING)
        return h.flatten(1)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        top = self.top.param_groups()
        return {"weight": [*self.kernels, *top["weight"]], "bias": [*self.offsets, *top["bias"]]}


def _blocks(
    sizes: list[tuple[int, int]], rng: torch.Generator, transposed: bool
) -> tuple[nn.ParameterList, nn.ParameterList]:
    """Kernels and offsets; PyTorch's default takes the second axis for the inputs, in transposed convolutions, too."""
    shapes = [((a, b) if transposed else (b, a), b) for a, b in sizes]
    kernels = [nn.Parameter(uniform_fan_in((*axes, KERNEL, KERNEL), axes[1] * KERNEL**2, rng)) for axes, _ in shapes]
    return nn.ParameterList(kernels), nn.ParameterList([nn.Parameter(torch.zeros(b)) for _, b in shapes])


Net = Perceptron | ConvNet
NetModule = PerceptronModule | ConvEncoder | ConvDecoder


def build_encoder(net: Net, shape: tuple[int, ...], n_out: int, rng: torch.Generator) -> PerceptronModule | ConvEncoder:
    """The net from samples of `shape`, as rows [B, f], to n_out numbers."""
    if isinstance(net, Perceptron):
        return PerceptronModule(net, math.prod(shape), n_out, rng)
    return ConvEncoder(net, shape, n_out, rng)


def build_decoder(net: Net, n_in: int, shape: tuple[int, ...], rng: torch.Generator) -> PerceptronModule | ConvDecoder:
    """Its mirror image, from n_in numbers to rows [B, f] of samples of `shape`."""
    if isinstance(net, Perceptron):
        backwards = Perceptron(hidden=net.hidden[::-1], activation=net.activation)
        return backwards.build(n_in, shape, rng)
    return ConvDecoder(net, n_in, shape, rng)
