"""Convolutional sparse coding: translated atoms, and an encoder of the same form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.nn.constraints import Constraint, UnitNorm
from sparsecode.nn.init import uniform_fan_in
from sparsecode.specs import Spec

__all__ = ["ConvolutionalDictionary", "ConvolutionalLISTA"]

MOST = 2**23  # numbers in memory at once: 32 MB in float32

Boundary = Annotated[
    Literal["inside", "circular"],
    Meta(description="atoms lie inside the image; or at every pixel, wrapped around the edges"),
]
Side = Annotated[int, Meta(ge=1, description="atom width and height in pixels")]


class Places:
    """The positions of atoms of `size` by `size` pixels in images [h, w] or [c, h, w], and how codes are laid out.

    A code z [n_code] is maps [n_atoms, places down, places across], so n_code = n_atoms * places.
    """

    def __init__(self, n_code: int, shape: tuple[int, ...], size: int, boundary: Boundary) -> None:
        if len(shape) not in (2, 3) or min(shape[-2:]) < size:
            raise ValueError(
                f"atoms have {size} by {size} pixels, and samples the shape {shape}; expected images [h, w] or [channels, h, w] "
                "of at least that size"
            )
        self.channels = 1 if len(shape) == 2 else shape[0]
        self.image = (self.channels, *shape[-2:])
        self.circular, self.size = boundary == "circular", size
        self.grid = tuple(n if self.circular else n - size + 1 for n in shape[-2:])
        places = math.prod(self.grid)
        self.n_atoms = n_code // places
        if not self.n_atoms or n_code % places:
            near = max(1, round(n_code / places)) * places
            raise ValueError(
                f"n_code is {n_code}; expected atoms times their {self.grid[0]} by {self.grid[1]} places: {near}, say"
            )

    def synthesise(self, z: Float[Tensor, "b k"], filters: Float[Tensor, "m c s s"]) -> Float[Tensor, "b f"]:
        """sum_m z_m * filters_m: a copy of each atom at each of its places, times the code."""
        rows, patch = filters.flatten(1).T, self.channels * self.size**2
        most = max(
            1, MOST // (patch * math.prod(self.grid))
        )  # samples at once: their patches take more memory than their codes
        parts = [
            self._folded(rows @ z.reshape(len(z), self.n_atoms, -1)) for z in z.split(most)
        ]  # twice as fast as convolution
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def correlate(self, x: Float[Tensor, "b f"], filters: Float[Tensor, "m c s s"]) -> Float[Tensor, "b k"]:
        """The adjoint of `synthesise`: the inner product of each atom at each of its places with the image."""
        images = x.reshape(len(x), *self.image)
        if self.circular:
            images = F.pad(images, (0, self.size - 1, 0, self.size - 1), mode="circular")
        return F.conv2d(images, filters).flatten(1)

    def _folded(self, patches: Float[Tensor, "b n p"]) -> Float[Tensor, "b f"]:
        """The sum of patches at their places."""
        height, width = self.image[1:]
        if not self.circular:
            return F.fold(patches, (height, width), self.size).flatten(1)
        over = self.size - 1
        images = F.fold(patches, (height + over, width + over), self.size)
        images = images[:, :, :height] + F.pad(images[:, :, height:], (0, 0, 0, height - over))
        return (images[..., :width] + F.pad(images[..., width:], (0, width - over))).flatten(1)

    def curvature_bound(self, filters: Float[Tensor, "m c s s"]) -> float:
        """The largest eigenvalue of D D^T, exact for circular boundaries, else a bound.

        max over frequencies of |A^H A|_2, A [n_atoms, channels] the discrete Fourier transforms of the filters there.
        """
        spectrum = torch.fft.rfft2(filters.double(), s=self.image[1:])
        grams = torch.einsum("mchw,mdhw->hwcd", spectrum.conj(), spectrum)
        return float(torch.linalg.eigvalsh(grams).amax()) * (1 + 1e-6)  # an upper bound despite rounding


class ConvolutionalDictionary(Spec, tag="convolutional"):
    """x = sum_m z_m * d_m: atoms d_m of `size` by `size` pixels at every place of an image, without bias.

    n_code is atoms times places: of an image [h, w], (h - size + 1) (w - size + 1) places inside it, or h w with circular
    boundaries. The constraint is that of whole atoms. Sources: Zeiler et al., CVPR 2010; Wohlberg, IEEE TIP 2016.
    """

    size: Side = 5
    boundary: Boundary = "inside"
    constraint: Constraint = UnitNorm()

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> ConvolutionalDictionaryModule:
        return ConvolutionalDictionaryModule(self, n_code, shape, rng)


class ConvolutionalDictionaryModule(nn.Module):
    """The module of `ConvolutionalDictionary`: `filters` [n_atoms, channels, size, size]."""

    linear = True  # codes then have a duality gap

    def __init__(
        self, spec: ConvolutionalDictionary, n_code: int, shape: tuple[int, ...], rng: torch.Generator
    ) -> None:
        super().__init__()
        self.spec = spec
        self.places = Places(n_code, shape, spec.size, spec.boundary)
        size = (self.places.n_atoms, self.places.channels, spec.size, spec.size)
        self.filters = nn.Parameter(uniform_fan_in(size, spec.size**2, rng))
        self.constrain_()

    def mean(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b f"]:
        return self.places.synthesise(z, self.filters)

    @torch.no_grad()
    def pullback(self, z: Float[Tensor, "b k"]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """mean(z), and the correlation of an image with every atom."""
        return self.mean(z), lambda r: self.places.correlate(r, self.filters.detach())

    def curvature_bound(self) -> float:
        return self.places.curvature_bound(self.filters.detach())

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"weight": [self.filters]}

    def constrain_(self) -> None:
        self.spec.constraint.apply_(self.filters.detach().flatten(1))  # a view of the weights


class ConvolutionalLISTA(Spec, tag="convolutional_lista"):
    """z = relu(w * x - theta); then n_iter times z = relu(z + w * (x - sum_m v_m * z_m) - theta), filters w, v and theta learned.

    `w * x` correlates the image with each filter at each place. For signed codes sign(u) relu(|u| - theta), theta >= 0 per
    filter, takes the place of relu(u - theta). Source: Sreter & Giryes, ICASSP 2018.
    """

    size: Side = 5
    boundary: Boundary = "inside"
    n_iter: Annotated[int, Meta(ge=0, le=1000)] = 3
    positive: bool = True

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> ConvolutionalLISTAModule:
        return ConvolutionalLISTAModule(self, n_code, shape, rng)


class ConvolutionalLISTAModule(nn.Module):
    """The module of `ConvolutionalLISTA`: `weight` w, `back` v [n_atoms, channels, size, size], `bias` -theta [n_atoms]."""

    def __init__(self, spec: ConvolutionalLISTA, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        self.places = Places(n_code, shape, spec.size, spec.boundary)
        size = (self.places.n_atoms, self.places.channels, spec.size, spec.size)
        atoms = uniform_fan_in(size, math.prod(size[1:]), rng)
        UnitNorm().apply_(atoms.flatten(1))
        self.back = nn.Parameter(atoms)
        self.weight = nn.Parameter(atoms / self.places.curvature_bound(atoms))  # step sizes at which ISTA converges
        self.bias = nn.Parameter(torch.zeros(size[0]))

    def _shrink(self, u: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        bias = self.bias.repeat_interleave(math.prod(self.places.grid))
        return torch.relu(u + bias) if self.spec.positive else u.sign() * torch.relu(u.abs() + bias)

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b k"]:
        z = self._shrink(self.places.correlate(x, self.weight))
        for _ in range(self.spec.n_iter):
            error = x - self.places.synthesise(z, self.back)
            z = self._shrink(z + self.places.correlate(error, self.weight))
        return z

    @torch.no_grad()
    def constrain_(self) -> None:
        """Keep thresholds of signed codes non-negative."""
        if not self.spec.positive:
            self.bias.clamp_(max=0)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"weight": [self.weight, self.back], "bias": [self.bias]}
