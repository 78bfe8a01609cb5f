"""Deep convolutional networks whose pooled features are a code's pre-activations."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.nn.init import uniform_fan_in
from sparsecode.specs import Count, Spec

__all__ = ["ConvMixer", "ResNet50", "TrunkModule"]


class ConvMixer(Spec, tag="convmixer"):
    """Patches, then blocks of a depthwise convolution with a skip and a pointwise one, GELU and a norm behind each; the mean over places.

    The width is n_code: 591 616 weights for 256 codes of colour images. Norms are over channels and places of a sample, where
    the original's are over the batch: codes must not depend on their batch. Source: Trockman & Kolter, TMLR 2023.
    """

    blocks: Annotated[int, Meta(ge=1, le=1000)] = 8
    kernel: Annotated[Count, Meta(description="of the depthwise convolutions")] = 5
    patch: Annotated[Count, Meta(description="side of a patch")] = 2

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> TrunkModule:
        channels = _channels(shape, self.patch, "convmixer")
        layers: list[nn.Module] = [
            _Convolution(channels, n_code, self.patch, rng, stride=self.patch, bias=True),
            _Gelu(n_code),
        ]
        for _ in range(self.blocks):
            depthwise = _Convolution(n_code, n_code, self.kernel, rng, groups=n_code, bias=True)
            layers += [
                _Skip([depthwise, _Gelu(n_code)]),
                _Convolution(n_code, n_code, 1, rng, bias=True),
                _Gelu(n_code),
            ]
        return TrunkModule(layers, shape)


class ResNet50(Spec, tag="resnet50"):
    """Bottleneck blocks [3, 4, 6, 3] behind a 7x7 convolution with stride 2 and a pooling; 2048 codes, the mean over places.

    Norms as in `ConvMixer`. 23 508 032 weights for colour images. Source: He et al., CVPR 2016.
    """

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> TrunkModule:
        if n_code != 2048:
            raise ValueError(f"n_code is {n_code}, and encoder 'resnet50' gives 2048 features; expected that")
        stem = [_Convolution(_channels(shape, 1, "resnet50"), 64, 7, rng, stride=2), _Relu(64), nn.MaxPool2d(3, 2, 1)]
        layers: list[nn.Module] = list(stem)
        before = 64
        for stage, count in enumerate((3, 4, 6, 3)):
            width = 64 * 2**stage
            for block in range(count):
                layers.append(_Bottleneck(before, width, 2 if stage and not block else 1, rng))
                before = 4 * width
        return TrunkModule(layers, shape)


class TrunkModule(nn.Module):
    """The module of `ConvMixer` and `ResNet50`."""

    def __init__(self, layers: list[nn.Module], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.image = shape if len(shape) == 3 else (1, *shape)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b k"]:
        h = x.reshape(-1, *self.image)
        for layer in self.layers:
            h = layer(h)
        return h.mean(dim=(2, 3))

    def constrain_(self) -> None:
        """No constraint."""

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        params = list(self.parameters())
        return {"weight": [p for p in params if p.ndim > 1], "bias": [p for p in params if p.ndim == 1]}


class _Convolution(nn.Module):
    """With padding that keeps the size at stride 1; weights start as PyTorch's default, biases at 0."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        rng: torch.Generator,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        inputs = n_in // groups
        self.weight = nn.Parameter(uniform_fan_in((n_out, inputs, kernel, kernel), inputs * kernel**2, rng))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None
        self.stride, self.groups = stride, groups
        self.padding = 0 if stride == kernel else kernel // 2  # patches do not overlap

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)


class _Norm(nn.Module):
    """(h - mean) / std over channels and places of each sample, then a scale and a shift per channel."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(n)), nn.Parameter(torch.zeros(n))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.group_norm(x, 1, self.scale, self.shift)


class _Gelu(_Norm):
    """GELU, then the norm."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.gelu(x))


class _Relu(_Norm):
    """The norm, then ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x))


class _Skip(nn.Module):
    """h + layers(h)."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.inner = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class _Bottleneck(nn.Module):
    """relu(h + narrow 1x1, 3x3, 1x1), with a 1x1 convolution of h where sizes change."""

    def __init__(self, n_in: int, width: int, stride: int, rng: torch.Generator) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            _Convolution(n_in, width, 1, rng), _Relu(width), _Convolution(width, width, 3, rng, stride), _Relu(width),
            _Convolution(width, 4 * width, 1, rng), _Norm(4 * width),
        )  # fmt: skip
        change = [_Pick(stride), _Convolution(n_in, 4 * width, 1, rng), _Norm(4 * width)]
        self.outer = nn.Sequential(*change if stride > 1 or n_in != 4 * width else ())

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.outer(x) + self.inner(x))


class _Pick(nn.Module):
    """Every stride-th place: the inputs of a 1x1 convolution with that stride."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride]


def _channels(shape: tuple[int, ...], patch: int, tag: str) -> int:
    if len(shape) not in (2, 3) or shape[-1] % patch or shape[-2] % patch:
        raise ValueError(
            f"encoder is {tag!r}, and samples have shape {shape}; expected images [channels, height, width] with sides "
            f"divisible by {patch}"
        )
    return shape[0] if len(shape) == 3 else 1
