"""Synthetic samples of a known dictionary and known codes, to test whether models recover them."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple, Protocol, runtime_checkable

import torch
from msgspec import Meta
from torch import Tensor

from sparsecode.choices import Part
from sparsecode.data.splits import Split, Splits
from sparsecode.ops.rng import generator
from sparsecode.specs import Count, NonNegative, Positive, Seed, Spec

__all__ = ["ExponentialAmplitude", "Firing", "KnowsTruth", "Part", "Synthetic", "Truth", "UniformAmplitude"]

CHUNK = 4096  # samples drawn together


class Truth(NamedTuple):
    """The ground truth of samples: `atoms` [n_atoms, n_features] of norm 1 and `codes` [N, n_atoms]."""

    atoms: Tensor
    codes: Tensor


@runtime_checkable
class KnowsTruth(Protocol):
    """A data source with a known ground truth."""

    def truth(self, part: Part) -> Truth: ...


class UniformAmplitude(Spec, tag="uniform"):
    """Amplitudes spread evenly between `low` and `high`."""

    low: NonNegative = 0.5
    high: Positive = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ValueError(f"UniformAmplitude: low is {self.low:g} and high is {self.high:g}; expected low <= high")

    def of(self, share: Tensor) -> Tensor:
        """The amplitude below which this share of them lies."""
        return self.low + (self.high - self.low) * share


class ExponentialAmplitude(Spec, tag="exponential"):
    """Amplitudes low + e, e exponential with mean `scale`: most small, some large."""

    low: NonNegative = 0.1
    scale: Positive = 1.0

    def of(self, share: Tensor) -> Tensor:
        return self.low - self.scale * torch.log1p(-share)


class Firing(Spec, tag="firing"):
    """Which atoms a sample is made of: `active` of them on average.

    Atom j (from 1) is active on a share of the samples proportional to j^-zipf. Within groups of `group` atoms in
    succession, atoms are active together: thresholds on Gaussians with this `correlation`.
    """

    active: Annotated[float, Meta(gt=0, description="mean number of active atoms per sample")]
    zipf: Annotated[float, Meta(ge=0, description="0: all equally often")] = 0.0
    correlation: Annotated[float, Meta(ge=0, lt=1, description="0: independent of each other")] = 0.0
    group: Count = 8

    def rates(self, n_atoms: int) -> Tensor:
        """The share of samples on which each atom is active [n_atoms]. Raises ValueError where one would be above 1."""
        weights = torch.arange(1, n_atoms + 1, dtype=torch.float64) ** -self.zipf
        rates = self.active * weights / weights.sum()
        if float(rates.max()) > 1:
            raise ValueError(
                f"Firing: with active {self.active:g} and zipf {self.zipf:g}, the first of {n_atoms} atoms would be active on "
                f"{float(rates.max()):.2f} of the samples; expected at most 1: lower active or zipf"
            )
        return rates

    def draw(self, n: int, n_atoms: int, rng: torch.Generator) -> Tensor:
        """Which atoms are active, [n, n_atoms]."""
        u = torch.randn(n, n_atoms, generator=rng)
        if self.correlation:
            shared = torch.randn(n, -(-n_atoms // self.group), generator=rng).repeat_interleave(self.group, dim=1)
            u = math.sqrt(self.correlation) * shared[:, :n_atoms] + math.sqrt(1 - self.correlation) * u
        return u < torch.special.ndtri(self.rates(n_atoms)).float()


class Synthetic(Spec, tag="synthetic"):
    """x = z D + noise, with a dictionary D of random directions and sparse codes z that `truth` gives back.

    Atoms are uniform on the sphere; active codes have amplitudes of the given distribution, with random signs if `signed`; the noise
    is Gaussian. Everything is a function of this spec. The range for pictures and PSNR is that of the training samples.
    """

    n_atoms: Count
    n_features: Annotated[int, Meta(ge=2)]
    firing: Firing
    amplitude: UniformAmplitude | ExponentialAmplitude = UniformAmplitude()
    signed: Annotated[bool, Meta(description="codes of either sign; else >= 0")] = False
    noise: Annotated[float, Meta(ge=0, description="standard deviation of each feature's noise")] = 0.0
    n_train: Count = 20_000
    n_valid: Count = 2_000
    n_test: Count = 2_000
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.firing.rates(self.n_atoms)

    def load(self) -> Splits:
        train, valid, test = (Split(self._samples(part)) for part in ("train", "valid", "test"))
        return Splits(train, valid, test, float(train.x.min()), float(train.x.max()))

    def atoms(self) -> Tensor:
        """The dictionary [n_atoms, n_features], rows of norm 1."""
        rng = generator(self.seed, "synthetic, atoms")
        atoms = torch.randn(self.n_atoms, self.n_features, generator=rng)
        return atoms / torch.linalg.vector_norm(atoms, dim=1, keepdim=True)

    def truth(self, part: Part) -> Truth:
        """The dictionary, and the codes of the samples of a split in their order."""
        return Truth(self.atoms(), torch.cat([self._codes(part, start) for start in range(0, self._size(part), CHUNK)]))

    def _size(self, part: Part) -> int:
        return {"train": self.n_train, "valid": self.n_valid, "test": self.n_test}[part]

    def _codes(self, part: Part, start: int) -> Tensor:
        n = min(CHUNK, self._size(part) - start)
        rng = generator(self.seed, f"synthetic, {part}", start)
        active = self.firing.draw(n, self.n_atoms, rng)
        size = self.amplitude.of(torch.rand(n, self.n_atoms, generator=rng))
        if self.signed:
            size = size * (2 * torch.randint(2, size.shape, generator=rng) - 1)
        return torch.where(active, size, 0.0)

    def _samples(self, part: Part) -> Tensor:
        atoms, parts = self.atoms(), list[Tensor]()
        for start in range(0, self._size(part), CHUNK):
            x = self._codes(part, start) @ atoms
            rng = generator(self.seed, f"synthetic, {part}, noise", start)
            parts.append(x + self.noise * torch.randn(x.shape, generator=rng))
        return torch.cat(parts)
