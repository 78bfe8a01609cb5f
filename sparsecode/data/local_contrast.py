"""Preprocessing of image crops: subtraction of the mean, or local contrast normalisation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.specs import NonNegative, Positive, Spec

__all__ = ["LCN", "Contrast", "Contrasted", "Plain", "gaussian_kernel", "local_contrast"]

# Of grey ImageNet pixels; Evtimova & LeCun standardise crops by these, which only the floor of 1e-4 can tell.
MEAN, STD = 0.457, 0.259
SMALLEST_SD = 1e-4


class Contrasted(NamedTuple):
    """The patches that were kept [n, 1, s, s] and, if these are not enough to restore them, their maps [n, 2, 1, s, s]."""

    x: Tensor
    ctx: Tensor | None


class Plain(Spec, tag="plain"):
    """Each patch less its own mean."""

    def crop(self, size: int) -> int:
        """The size of the crop for a patch of this size."""
        return size

    @property
    def span(self) -> tuple[float, float]:
        """The range that pictures and PSNR refer to."""
        return -0.5, 0.5

    @property
    def keeps_maps(self) -> bool:
        return False

    def level(self, crops: Iterable[Tensor]) -> float | None:  # noqa: ARG002 - as LCN's
        """Statistics of training crops that `prepare` needs; none here."""
        return None

    def prepare(self, crops: Float[Tensor, "b 1 c c"], level: float | None) -> Contrasted:  # noqa: ARG002 - as LCN's
        """Patches of crops with pixels in [0, 1]."""
        return Contrasted(crops - crops.mean(dim=(1, 2, 3), keepdim=True), None)


class LCN(Spec, tag="lcn"):
    """Local contrast normalisation: each pixel less its local mean, over its local standard deviation; see `local_contrast`.

    The floor of the standard deviation, without which flat regions would be all noise, is one number: the mean local
    standard deviation of 2 500 training crops ("train"), so that a patch depends on nothing but its image. The original takes
    that mean over each batch of 250 crops as they come ("batch"). Patches of low contrast are dropped.
    Source: Evtimova & LeCun, TMLR 2022 (code).
    """

    kernel: Annotated[int, Meta(ge=3, description="width of the Gaussian window in pixels, odd")] = 13
    sigma: Annotated[Positive, Meta(description="standard deviation of the window in pixels")] = 5.0
    floor: Annotated[
        Literal["train", "batch"], Meta(description="floor: mean local standard deviation of these crops")
    ] = "train"
    min_std: Annotated[NonNegative, Meta(description="drop patches whose standard deviation is lower")] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise ValueError(f"LCN.kernel: got {self.kernel}; expected an odd number")

    def crop(self, size: int) -> int:
        return size + 2 * (self.kernel - 1)

    @property
    def span(self) -> tuple[float, float]:
        return 0.0, 1.0

    @property
    def keeps_maps(self) -> bool:
        return True

    def level(self, crops: Iterable[Tensor]) -> float | None:
        if self.floor == "batch":
            return None
        kernel = gaussian_kernel(self.kernel, self.sigma)
        sums = [float(local_contrast((batch - MEAN) / STD, kernel, 0.0).sd.double().mean()) for batch in crops]
        return sum(sums) / len(sums)

    def prepare(self, crops: Float[Tensor, "b 1 c c"], level: float | None) -> Contrasted:
        result = local_contrast((crops - MEAN) / STD, gaussian_kernel(self.kernel, self.sigma), level)
        kept = result.x.flatten(1).std(dim=1) >= self.min_std
        maps = torch.stack([result.mean * STD + MEAN, result.sd * STD], dim=1)
        return Contrasted(result.x[kept], maps[kept])


Contrast = LCN | Plain


def gaussian_kernel(width: int, sigma: float) -> Float[Tensor, " w"]:
    """exp(-i^2 / 2 sigma^2) for i from the centre, with sum 1: the window is its outer product with itself."""
    i = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    weights = torch.exp(-(i**2) / (2 * sigma**2))
    return (weights / weights.sum()).float()


class Normalised(NamedTuple):
    """`x` = (crop - `mean`) / `sd`, all [b, 1, s, s]."""

    x: Tensor
    mean: Tensor
    sd: Tensor


def local_contrast(crops: Float[Tensor, "b 1 c c"], kernel: Float[Tensor, " w"], level: float | None) -> Normalised:
    """The centres of crops, each pixel less its local mean and over its local standard deviation.

    With a window G (the outer product of `kernel`, of width w) and valid convolutions, which take w - 1 pixels off each
    axis: u = crop - G * crop, sd = sqrt(G * u^2), x = u / max(sd, level, 1e-4). Crops of c pixels give patches of
    c - 2 (w - 1): 52 give 28 for w = 13. `level` None stands for the mean of sd over all crops and positions.
    x sd + mean is the centre of the crop. Source: Jarrett et al., ICCV 2009, as Evtimova & LeCun compute it.
    """
    margin = (len(kernel) - 1) // 2

    def blurred(images: Tensor) -> Tensor:  # band matrices: several times faster than conv2d
        rows, columns = (_band(kernel, length) for length in images.shape[-2:])
        return rows @ images @ columns.T

    def centre(images: Tensor) -> Tensor:
        return images[..., margin:-margin, margin:-margin]

    mean = blurred(crops)
    centred = centre(crops) - mean
    sd = blurred(centred.square()).clamp(min=0).sqrt()
    sd = sd.clamp(min=max(float(sd.mean()) if level is None else level, SMALLEST_SD))
    return Normalised(centre(centred) / sd, centre(mean), sd)


def _band(kernel: Tensor, length: int) -> Tensor:
    """The matrix [length - w + 1, length] that a valid convolution with a symmetric kernel multiplies by."""
    band = torch.zeros(length - len(kernel) + 1, length)
    for i, row in enumerate(band):
        row[i : i + len(kernel)] = kernel
    return band
