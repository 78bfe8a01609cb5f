"""How units are used, summed over samples."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.evaluate.metrics import hoyer, treves_rolls

__all__ = ["UnitUse", "mean_of_finite"]


class UnitUse:
    """How units are used, summed over samples on the device of the codes, in float64, without waiting for any batch."""

    class Use(NamedTuple):
        """Fields of `Activity` by their first names."""

        active: float
        dead: int
        dead_share: float
        hoyer: float | None
        population: float | None
        lifetime: float | None
        entropy: float | None

    def __init__(self, n_code: int, theta: float, device: torch.device) -> None:
        def zeros(n: int) -> Tensor:
            return torch.zeros(n, dtype=torch.float64, device=device)

        self.n, self.theta = 0, theta
        self.counts, self.total, self.squares = zeros(n_code), zeros(n_code), zeros(n_code)
        self.uneven, self.known = zeros(2), zeros(2)  # Hoyer and Treves-Rolls: sums, and how many samples have them

    def update(self, z: Float[Tensor, "b k"]) -> None:
        size = z.abs().double()
        self.n += len(z)
        self.counts += (size > self.theta).sum(dim=0)
        self.total += size.sum(dim=0)
        self.squares += size.square().sum(dim=0)
        uneven = torch.stack([hoyer(size), treves_rolls(size)])
        self.uneven += uneven.nan_to_num(0.0).sum(dim=1)
        self.known += uneven.isfinite().sum(dim=1)

    def result(self) -> Use:
        n_code, counts = len(self.counts), self.counts.cpu()
        alive = counts[counts > 0]
        share = alive / alive.sum()
        (h, known), (population, _) = torch.stack([self.uneven, self.known], dim=1).tolist()
        lifetime = (1 - self.total.square() / self.squares / self.n) / (1 - 1 / max(self.n, 2))
        return self.Use(
            active=float(counts.sum()) / self.n / n_code,
            dead=n_code - len(alive),
            dead_share=1 - len(alive) / n_code,
            hoyer=h / known if known and n_code > 1 else None,
            population=population / known if known and n_code > 1 else None,
            lifetime=mean_of_finite(lifetime) if self.n > 1 else None,
            entropy=float(-(share * share.log()).sum()) / math.log(n_code) if len(alive) and n_code > 1 else None,
        )


def mean_of_finite(values: Tensor) -> float | None:
    """The mean of the finite values; None if there are none."""
    sound = values[values.isfinite()]
    return float(sound.mean()) if len(sound) else None
