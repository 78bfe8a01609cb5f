"""Shapes of the keys of units: oriented stripes (Gabor functions) or centre and surround (differences of Gaussians)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.evaluate.units.gabor_fits import fit_dogs, fit_gabors
from sparsecode.specs import Spec

__all__ = [
    "GOOD",
    "Fields",
    "FieldsSummary",
    "Nearest",
    "fit_fields",
    "nearest_images",
    "spatial_profiles",
    "summary",
]

GOOD = 0.7  # quality above which a unit is called fitted
ENOUGH = 10  # units, of which one says how alike orientations are
CHUNK = 1000  # images at a time


class Fields(NamedTuple):
    """Fits of n receptive fields, [n] each unless said.

    `gabor`, `dog`: qualities. `kind`: 0 for a Gabor function, 1 for a difference of Gaussians, by the lower `bic`. Of the Gabor function
    `orientation` of the stripes in degrees (0 to 180, counter-clockwise from the horizontal), `frequency` in cycles per pixel,
    `centre` [n, 2] in pixels (row, column, 0 the middle of the first), `size` in pixels (geometric mean of the standard deviations of
    the envelope along and across the stripes) and `aspect`, along / across. `centre_surround`: of the difference of Gaussians in
    the picture, less its offset, the smaller of the positive and negative parts / the larger: 1 for a field that ignores uniform
    light, 0 without a surround. `opponency` 1 - |sum of u| / sum |u| of the colour u [n, channels] of a field, 1 where channels
    cancel, 0 where they agree; `chroma` the share of a field's energy that is not grey; `separable` the share of the field's energy that is one profile in one colour.
    """

    gabor: Tensor
    dog: Tensor
    kind: Tensor
    orientation: Tensor
    frequency: Tensor
    centre: Tensor
    size: Tensor
    aspect: Tensor
    centre_surround: Tensor
    colour: Tensor
    opponency: Tensor
    chroma: Tensor
    separable: Tensor
    gabor_values: Tensor
    dog_values: Tensor


class FieldsSummary(Spec, tag="fields_summary"):
    """Shares of `n` receptive fields by the better fitting function, with quality above `GOOD`; medians over these, None if there are none.

    `orientation`: not a median but the concentration of orientations, |mean of exp(2 i angle)|, 0 to 1 (None of fewer than 10).
    `opponency` and `chroma` are None for
    one channel.
    """

    n: int
    gabor: float
    dog: float
    neither: float
    gabor_quality: float
    dog_quality: float
    orientation: float | None
    frequency: float | None
    size: float | None
    aspect: float | None
    centre_surround: float | None
    opponency: float | None
    chroma: float | None


class Nearest(NamedTuple):
    """For each key, the largest cosine to any image and the index of that image, [n] each."""

    cosine: Tensor
    row: Tensor


def spatial_profiles(
    keys: Float[Tensor, "n c h w"],
) -> tuple[Float[Tensor, "n h w"], Float[Tensor, "n c"], Float[Tensor, " n"]]:
    """The one profile in one colour that is nearest to each field: profile, colour of norm 1, and its share of the energy.

    The largest entry of a colour is positive.
    """
    flat = keys.double().flatten(2)
    left, sizes, right = torch.linalg.svd(flat, full_matrices=False)
    colour = left[:, :, 0]
    largest = colour.gather(1, colour.abs().argmax(dim=1, keepdim=True))
    sign = torch.where(largest < 0, -1.0, 1.0)
    profile = sign * sizes[:, :1] * right[:, 0]
    total = sizes.square().sum(dim=1)
    share = torch.where(total > 0, sizes[:, 0].square() / total, 1.0)
    return profile.reshape(len(keys), *keys.shape[2:]), sign * colour, share


def fit_fields(keys: Float[Tensor, "n c h w"]) -> Fields:
    """`Fields` of n keys as pictures of c channels, on the CPU. About a tenth of a second per key of 28 x 28."""
    profiles, colour, separable = spatial_profiles(keys.detach().cpu())
    gabor, dog = fit_gabors(profiles), fit_dogs(profiles)
    row, column, angle, across, along, frequency = gabor.parameters.unbind(1)[:6]
    lobes = dog.values - dog.offset[:, None]
    parts = torch.stack([lobes.clamp(min=0).sum(dim=1), (-lobes).clamp(min=0).sum(dim=1)])
    size = colour.abs().sum(dim=1)
    whole = keys.detach().cpu().double()
    energy, grey_less = whole.square().flatten(1).sum(dim=1), whole - whole.mean(dim=1, keepdim=True)
    return Fields(
        gabor=gabor.quality,
        dog=dog.quality,
        kind=(dog.bic < gabor.bic).long(),
        orientation=torch.rad2deg(angle) % 180,
        frequency=frequency.exp(),
        centre=torch.stack([row, column], dim=1),
        size=((across + along) / 2).exp(),
        aspect=(along - across).exp(),
        centre_surround=parts.amin(dim=0) / parts.amax(dim=0).clamp(min=torch.finfo(parts.dtype).tiny),
        colour=colour,
        opponency=1 - colour.sum(dim=1).abs() / size,
        chroma=grey_less.square().flatten(1).sum(dim=1) / energy.clamp(min=torch.finfo(energy.dtype).tiny),
        separable=separable,
        gabor_values=gabor.values.reshape(profiles.shape),
        dog_values=dog.values.reshape(profiles.shape),
    )


def summary(fields: Fields) -> FieldsSummary:
    """`FieldsSummary`; medians are over the units that the function fits best and well."""
    stripes = (fields.kind == 0) & (fields.gabor > GOOD)
    rings = (fields.kind == 1) & (fields.dog > GOOD)
    angle = torch.deg2rad(2 * fields.orientation[stripes])
    grey = fields.colour.shape[1] == 1

    def median(values: Tensor) -> float | None:
        return float(values.median()) if len(values) else None

    gabor, dog = float(stripes.double().mean()), float(rings.double().mean())
    return FieldsSummary(
        n=len(fields.gabor),
        gabor=gabor,
        dog=dog,
        neither=1 - gabor - dog,
        gabor_quality=float(fields.gabor.median()),
        dog_quality=float(fields.dog.median()),
        orientation=float(torch.hypot(angle.cos().mean(), angle.sin().mean())) if len(angle) >= ENOUGH else None,
        frequency=median(fields.frequency[stripes]),
        size=median(fields.size[stripes]),
        aspect=median(fields.aspect[stripes]),
        centre_surround=median(fields.centre_surround[rings]),
        opponency=None if grey else median(fields.opponency),
        chroma=None if grey else median(fields.chroma),
    )


@torch.no_grad()
def nearest_images(keys: Float[Tensor, "n f"], images: Float[Tensor, "m f"]) -> Nearest:
    """The image whose direction is nearest to each key's, both as they are (no mean subtracted). Zeros have cosine 0."""
    units = torch.nn.functional.normalize(keys, dim=1)
    best = units.new_full((len(units),), -math.inf)
    row = torch.zeros(len(units), dtype=torch.long, device=units.device)
    for start in range(0, len(images), CHUNK):
        part = torch.nn.functional.normalize(images[start : start + CHUNK].to(units), dim=1)
        cosine, result = (units @ part.T).max(dim=1)
        row = torch.where(cosine > best, start + result, row)
        best = torch.maximum(best, cosine)
    return Nearest(best, row)
