"""Corruptions of the encoder's input in training, with a clean target: noise, masked features, adversarial changes. All act in model space."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.leaves import opened
from sparsecode.nn.adversarial import PGD, ErrorOf
from sparsecode.nn.noises import Noise
from sparsecode.ops.rng import drawn_rows
from sparsecode.schedules import at
from sparsecode.specs import Count, Spec

__all__ = [
    "Corrupted",
    "Corruption",
    "Corruptor",
    "CoverLike",
    "Half",
    "MaskBlock",
    "MaskPixels",
    "SaltAndPepper",
    "Span",
]

FeatureShare = Annotated[float, Meta(gt=0, le=1, description="of the features")]
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
    """Samples [B, f], and the mask of covered features; None where all features are changed alike."""

    x: Tensor
    hidden: Tensor | None


@runtime_checkable
class CoverLike(Protocol):
    """The protocol of corruptions: `apply` changes samples x [B, f] of `shape`, and returns the mask of covered features."""

    def apply(self, x: Tensor, shape: tuple[int, ...], span: Span, rng: torch.Generator) -> Corrupted: ...


class SaltAndPepper(Spec, tag="salt_and_pepper"):
    """A share of the features becomes the least or the greatest training value, with equal probability."""

    share: FeatureShare = 0.1

    def apply(self, x: Float[Tensor, "b f"], shape: tuple[int, ...], span: Span, rng: torch.Generator) -> Corrupted:  # noqa: ARG002 - the contract
        drawn = drawn_rows(x, x.shape[1:], rng, "uniform")
        noisy = torch.where(drawn < self.share / 2, span.low, torch.where(drawn < self.share, span.high, x))
        return Corrupted(noisy, drawn < self.share)


class MaskPixels(Spec, tag="mask_pixels"):
    """A random share of the features is covered."""

    share: FeatureShare = 0.5
    fill: Fill = "low"

    def apply(self, x: Float[Tensor, "b f"], shape: tuple[int, ...], span: Span, rng: torch.Generator) -> Corrupted:  # noqa: ARG002 - the contract
        return _covered(x, drawn_rows(x, x.shape[1:], rng, "uniform") < self.share, span, self.fill)


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
        places = drawn_rows(x, (2,), rng, "uniform")
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


Known = SaltAndPepper | MaskPixels | MaskBlock | Half
if TYPE_CHECKING:
    Cover = Known | CoverLike
else:
    Cover = opened(Known, CoverLike)
Corruption = Noise | Cover


class Corruptor(nn.Module):
    """A corruption of samples of `shape`, with its state: the range of the training data, and the last training step.

    `anneals`: whether the standard deviation of the noise follows a schedule.
    """

    def __init__(self, spec: Corruption | PGD, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.spec, self.shape = spec, shape
        self.noise: Noise | None = None if isinstance(spec, CoverLike | PGD) else spec
        self.anneals = self.noise is not None and not isinstance(self.noise.sigma, int | float)
        self.register_buffer("span", torch.zeros(2, dtype=torch.float64))
        self.span: Tensor
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.step: Tensor

    def forward(self, x: Float[Tensor, "b f"], rng: torch.Generator, error: ErrorOf | None = None) -> Corrupted:
        """x, corrupted as at the present training step; after training, as at the next one.

        Adversarial changes need the `error` of inputs, and are made in training alone.
        """
        if isinstance(self.spec, PGD):
            eps = at(self.spec.eps, int(self.step))
            if error is None or not self.training or not eps:
                return Corrupted(x, None)
            low, high = self.span.tolist()
            return Corrupted(self.spec.attack(x, error, eps, (low, high), rng), None)
        if isinstance(self.spec, CoverLike):
            low, high = self.span.tolist()
            return self.spec.apply(x, self.shape, Span(low, high), rng)
        sigma = self.sigma
        return Corrupted(x + self.spec.noise(x, sigma, rng) if sigma else x, None)

    @property
    def sigma(self) -> float:
        """The standard deviation of noise in model space; 0 for other corruptions.

        In training, that of the present step; otherwise that after the last step: a schedule that ends at 0 then gives 0.
        """
        return self.sigma_at(int(self.step) + (not self.training) if self.anneals else 0)

    def sigma_at(self, step: int) -> float:
        """The standard deviation of noise at a step, in model space; 0 for other corruptions."""
        return 0.0 if self.noise is None else self._in_model_space(at(self.noise.sigma, step))

    @property
    def strongest(self) -> float:
        """The largest standard deviation of its schedule."""
        if self.noise is None or isinstance(self.noise.sigma, int | float):
            return self.sigma
        return self._in_model_space(max(self.noise.sigma.extremes()))

    def _in_model_space(self, sigma: float) -> float:
        if self.noise is None or self.noise.unit != "range":
            return sigma  # avoids a synchronisation with the GPU
        low, high = self.span.tolist()
        return sigma * (high - low)

    def advance_(self, step: int) -> None:
        """Set the current training step."""
        self.step.fill_(step)

    def initialise_(self, rows: Float[Tensor, "b f"]) -> None:
        """Set the range from samples in model space."""
        self.span.copy_(torch.stack([rows.amin(), rows.amax()]))


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
