"""The affine map between data space and the space a model works in; it is saved with the model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.leaves import opened
from sparsecode.specs import Positive, Spec

__all__ = [
    "Centre",
    "Identity",
    "Normaliser",
    "NormaliserLike",
    "NormaliserModule",
    "Standardise",
    "StandardiseFeatures",
    "Whiten",
]


# Samples whose variance is less than this share of their squares are taken to be all equal.
ROUNDING = 1e-10


class NormaliserModule(nn.Module):
    """x -> (x - shift) / scale, or (x - shift) M with a matrix M, and back. State: buffers only."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.shift: Tensor
        self.scale: Tensor

    def initialise_(self, sample: Float[Tensor, "n f"]) -> None:
        """Set what depends on the data, once, from training samples."""

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b f"]:
        return (x - self.shift) / self.scale

    def undo(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b f"]:
        return x * self.scale + self.shift


@runtime_checkable
class NormaliserLike(Protocol):
    """The protocol of normalisers: `build` gives the map and its inverse for samples of `shape`."""

    def build(self, shape: tuple[int, ...]) -> NormaliserModule: ...


class Identity(Spec, tag="identity"):
    """Model space is data space."""

    def build(self, shape: tuple[int, ...]) -> NormaliserModule:
        return IdentityModule(math.prod(shape))


class IdentityModule(NormaliserModule):
    """The module of `Identity`."""

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b f"]:
        return x

    def undo(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b f"]:
        return x


class Standardise(Spec, tag="standardise"):
    """(x - mean) / std with the same two numbers for every feature; missing ones are the mean and the standard deviation
    of all values of the training samples, whatever their feature.

    Features of different size keep their proportions; `StandardiseFeatures` gives each its own mean and scale.
    """

    mean: float | None = None
    std: Positive | None = None

    def build(self, shape: tuple[int, ...]) -> StandardiseModule:
        return StandardiseModule(self, math.prod(shape))


class StandardiseModule(NormaliserModule):
    """The module of `Standardise`: its mean and standard deviation, repeated for every feature."""

    def __init__(self, spec: Standardise, n_features: int) -> None:
        super().__init__(n_features)
        self.spec = spec
        self.shift.fill_(spec.mean or 0.0)
        self.scale.fill_(spec.std or 1.0)

    def initialise_(self, sample: Float[Tensor, "n f"]) -> None:
        deviation = float(sample.double().std(correction=0))
        if self.spec.std is None and not deviation**2 > ROUNDING * float(sample.double().square().mean()):
            raise ValueError(f"Standardise: the {len(sample)} training samples are all equal; expected data that vary")
        self.shift.fill_(float(sample.double().mean()) if self.spec.mean is None else self.spec.mean)
        self.scale.fill_(deviation if self.spec.std is None else self.spec.std)


class StandardiseFeatures(Spec, tag="standardise_features"):
    """(x_j - mean_j) / std_j, a mean and a standard deviation for each feature j, from training samples.

    For tables whose columns have different units. Every feature then has variance 1 and counts alike, noise too: of images,
    pixels that seldom differ from the background are magnified; `Standardise` or `Centre` suits them better.
    Features that do not vary in the training samples have scale 1, as by scikit-learn's StandardScaler (with its bound on
    rounding, n eps var + (n eps mean)^2 in float64), and are listed in the buffer `constant` [n_features].
    """

    def build(self, shape: tuple[int, ...]) -> StandardiseFeaturesModule:
        return StandardiseFeaturesModule(math.prod(shape))


class StandardiseFeaturesModule(NormaliserModule):
    """The module of `StandardiseFeatures`: means and standard deviations."""

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features)
        self.register_buffer("constant", torch.zeros(n_features, dtype=torch.bool))
        self.constant: Tensor

    def initialise_(self, sample: Float[Tensor, "n f"]) -> None:
        rows = sample.double()
        mean, n, eps = rows.mean(dim=0), len(rows), torch.finfo(torch.float64).eps
        variance = (rows - mean).square().mean(dim=0)
        constant = variance <= n * eps * variance + (n * eps * mean).square()
        if bool(constant.all()):
            raise ValueError(
                f"StandardiseFeatures: the {len(sample)} training samples are all equal; expected data that vary"
            )
        self.shift.copy_(mean)
        self.scale.copy_(variance.sqrt().masked_fill(constant, 1.0))
        self.constant.copy_(constant)


class Centre(Spec, tag="centre"):
    """(x - mean) / scale, a mean per feature and one scale for all, which makes the mean of |x|^2 the number of features.

    Both come from training samples. For data whose features share units, such as a layer's activations: directions
    keep their variances relative to each other, and learning rates and penalty weights their meaning.
    With `sites`, samples are [sites, *F], and each site has its own scale: activations of different layers differ widely in magnitude.
    """

    sites: Annotated[bool, Meta(description="samples are [sites, ...]; one scale for each site")] = False

    def build(self, shape: tuple[int, ...]) -> CentreModule:
        if self.sites and len(shape) < 2:
            raise ValueError(
                f"normaliser 'centre' has sites, and samples have shape {shape}; expected [sites, ...]: leave sites false"
            )
        return CentreModule(math.prod(shape), shape[0] if self.sites else 1)


class CentreModule(NormaliserModule):
    """The module of `Centre`: mean and scale, or the scale of each site."""

    def __init__(self, n_features: int, n_sites: int) -> None:
        super().__init__(n_features)
        self.n_sites = n_sites

    def initialise_(self, sample: Float[Tensor, "n f"]) -> None:
        rows = sample.double()
        mean = rows.mean(dim=0)
        self.shift.copy_(mean)
        size = len(mean) // self.n_sites
        for part in (slice(i * size, (i + 1) * size) for i in range(self.n_sites)):
            scale = (rows[:, part] - mean[part]).square().mean().sqrt()
            if not bool(scale.square() > ROUNDING * rows[:, part].square().mean()):
                raise ValueError(f"Centre: the {len(sample)} training samples are all equal; expected data that vary")
            self.scale[part] = float(scale)


class Whiten(Spec, tag="whiten"):
    """Regularised ZCA: (x - mean) U diag(1 / sqrt(v + floor * mean(v))) U^T, v and U of the covariance.

    `floor` keeps directions of little variance (mostly noise) from being blown up. Mean and covariance
    come from training samples at the start. Invertible. Source: Bell & Sejnowski, Vision Research 1997.
    """

    floor: Positive = 0.01

    def build(self, shape: tuple[int, ...]) -> WhitenModule:
        return WhitenModule(self, math.prod(shape))


class WhitenModule(NormaliserModule):
    """The module of `Whiten`: the matrix and its inverse."""

    def __init__(self, spec: Whiten, n_features: int) -> None:
        super().__init__(n_features)
        self.spec = spec
        self.register_buffer("matrix", torch.eye(n_features))
        self.register_buffer("inverse", torch.eye(n_features))
        self.matrix: Tensor
        self.inverse: Tensor

    def initialise_(self, sample: Float[Tensor, "n f"]) -> None:
        rows = sample.double()
        mean = rows.mean(dim=0)
        variances, directions = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
        if not bool(variances.mean() > ROUNDING * rows.square().mean()):
            raise ValueError(f"Whiten: the {len(sample)} training samples are all equal; expected data that vary")
        deviation = (variances.clamp(min=0) + self.spec.floor * variances.mean()).sqrt()
        self.shift.copy_(mean)
        self.matrix.copy_((directions / deviation) @ directions.T)
        self.inverse.copy_((directions * deviation) @ directions.T)

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b f"]:
        return (x - self.shift) @ self.matrix

    def undo(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b f"]:
        return x @ self.inverse + self.shift


Known = Identity | Standardise | StandardiseFeatures | Centre | Whiten
if TYPE_CHECKING:
    Normaliser = Known | NormaliserLike
else:
    Normaliser = opened(Known, NormaliserLike)
