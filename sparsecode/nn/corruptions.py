"""What is done to an input before it is encoded, while the target stays clean. All act in model space."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from msgspec import Meta
from torch import Tensor

from sparsecode.ops.collective import rank, world_size
from sparsecode.specs import Count, Positive, Spec

__all__ = ["Corrupted", "Corruption", "Gaussian", "Half", "MaskBlock", "MaskPixels", "SaltAndPepper", "Span"]

Share = Annotated[float, Meta(gt=0, le=1, description="of the features")]
Fill = Annotated[
    Literal["low", "high"] | float,
    Meta(description="the least or the greatest training value (the background of most images), or a number"),
]


class Span(NamedTuple):
    """The least and the greatest value of training samples in model space."""

    low: float
    high: float

    def value(self, fill: str | float) -> float:
        return fill if isinstance(fill, int | float) else {"low": self.low, "high": self.high}[fill]


class Corrupted(NamedTuple):
    """Samples [B, f], and which of their features were put out of sight; None where all were changed alike."""

    x: Tensor
    hidden: Tensor | None


def _global_rows(x: Tensor, width: int, rng: torch.Generator, normal: bool = False) -> Tensor:
    """Random numbers [B, width], drawn on the CPU for the batches of all processes, of which each takes its own."""
    shape = (len(x) * world_size(), width)
    drawn = torch.randn(shape, generator=rng) if normal else torch.rand(shape, generator=rng)
    return drawn[rank() * len(x) : (rank() + 1) * len(x)].to(x)


class Gaussian(Spec, tag="gaussian"):
    """x + sigma times standard normal noise, nothing clipped; sigma in model space, or in shares of the samples' range."""

    sigma: Positive
    unit: Literal["input", "range"] = "input"

    def apply(self, x: Float[Tensor, "b f"], shape: tuple[int, ...], span: Span, rng: torch.Generator) -> Corrupted:  # noqa: ARG002 - the contract
        sigma = self.sigma * (span.high - span.low if self.unit == "range" else 1.0)
        return Corrupted(x + sigma * _global_rows(x, x.shape[1], rng, normal=True), None)


class SaltAndPepper(Spec, tag="salt_and_pepper"):
    """A share of the features becomes the least or the greatest training value, with equal chance."""

    share: Share = 0.1

    def apply(self, x: Float[Tensor, "b f"], shape: tuple[int, ...], span: Span, rng: torch.Generator) -> Corrupted:  # noqa: ARG002 - the contract
        drawn = _global_rows(x, x.shape[1], rng)
        noisy = torch.where(drawn < self.share / 2, span.low, torch.where(drawn < self.share, span.high, x))
        return Corrupted(noisy, drawn < self.share)


class MaskPixels(Spec, tag="mask_pixels"):
    """A random share of the features is covered."""

    share: Share = 0.5
    fill: Fill = "low"

    def apply(self, x: Float[Tensor, "b f"], shape: tuple[int, ...], span: Span, rng: torch.Generator) -> Corrupted:  # noqa: ARG002 - the contract
        return _covered(x, _global_rows(x, x.shape[1], rng) < self.share, span, self.fill)


class MaskBlock(Spec, tag="mask_block"):
    """A square of `size` pixels somewhere in each image is covered."""

    size: Count
    fill: Fill = "low"

    def apply(self, x: Float[Tensor, "b f"], shape: tuple[int, ...], span: Span, rng: torch.Generator) -> Corrupted:
        height, width = _image(shape)
        if self.size > min(height, width):
            raise ValueError(
                f"corruption.size is {self.size}; expected at most the images' {min(height, width)} pixels"
            )
        places = _global_rows(x, 2, rng)
        top = (places[:, 0] * (height - self.size + 1)).floor()
        left = (places[:, 1] * (width - self.size + 1)).floor()
        rows, columns = torch.arange(height).to(x), torch.arange(width).to(x)

        def inside(line: Tensor, first: Tensor) -> Tensor:
            return (line >= first[:, None]) & (line < first[:, None] + self.size)

        block = inside(rows, top)[:, :, None] & inside(columns, left)[:, None, :]
        return _covered(x, _every_channel(block, shape), span, self.fill)


class Half(Spec, tag="half"):
    """One half of every image is covered."""

    side: Literal["left", "right", "top", "bottom"] = "left"
    fill: Fill = "low"

    def apply(self, x: Float[Tensor, "b f"], shape: tuple[int, ...], span: Span, rng: torch.Generator) -> Corrupted:  # noqa: ARG002 - the contract
        height, width = _image(shape)
        block = torch.zeros(1, height, width, dtype=torch.bool, device=x.device)
        if self.side in ("left", "right"):
            block[:, :, slice(0, width // 2) if self.side == "left" else slice(width - width // 2, width)] = True
        else:
            block[:, slice(0, height // 2) if self.side == "top" else slice(height - height // 2, height)] = True
        return _covered(x, _every_channel(block, shape).expand(x.shape), span, self.fill)


Corruption = Gaussian | SaltAndPepper | MaskPixels | MaskBlock | Half


def _image(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) < 2:
        raise ValueError(
            f"corruption covers parts of images, and the samples have shape {shape}; expected [..., height, width]"
        )
    return shape[-2], shape[-1]


def _every_channel(block: Bool[Tensor, "b h w"], shape: tuple[int, ...]) -> Bool[Tensor, "b f"]:
    return block.flatten(1).repeat(1, math.prod(shape[:-2]))


def _covered(x: Tensor, hidden: Tensor, span: Span, fill: str | float) -> Corrupted:
    return Corrupted(torch.where(hidden, span.value(fill), x), hidden)
