"""A lower bound on the standard deviation of every code, and the squared error."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.ops.collective import mean_over_ranks, world_size
from sparsecode.specs import Positive, Spec

__all__ = ["BatchVariance", "squared_error"]


def squared_error(out: Float[Tensor, "b f"], target: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
    """sum_f (out_f - target_f)^2 per sample: summed over features, no 1/2."""
    return (out - target).square().sum(dim=1)


class Spread(NamedTuple):
    """Codes minus their mean over the batch [B, k], standard deviations [k], and the number of samples in the global batch."""

    centred: Tensor
    deviation: Tensor
    n: int


class BatchVariance(Spec, tag="batch_variance"):
    """A hinge that keeps every code's standard deviation over the batch above `floor`.

    Per sample: weight / 2 sum_j max(0, floor - s_j)^2, s_j = |z_.j - mean_j|_2 / sqrt(n - 1) over the global batch:
    its gradient with respect to a code does not depend on the batch size. Where s_j = 0 its gradient is 0: it cannot revive a dead
    code. Source: VDL in Evtimova & LeCun, TMLR 2022.
    """

    weight: Annotated[float, Meta(gt=0, description="weight beside 1/2 |.|^2")]
    floor: Positive = 0.5

    def spread(self, z: Float[Tensor, "b k"]) -> Spread:
        """Standard deviations of the codes. Raises ValueError for a batch of one sample."""
        n = len(z) * world_size()
        if n < 2:
            raise ValueError(
                "BatchVariance: the batch has one sample; expected at least two, or the standard deviation is undefined"
            )
        centred = z - mean_over_ranks(z.mean(dim=0))
        variance = mean_over_ranks(centred.square().mean(dim=0)) * (n / (n - 1))
        return Spread(centred, variance.sqrt(), n)

    def value(self, z: Float[Tensor, "b k"]) -> Tensor:
        """Each sample's share: a scalar."""
        return self._value(self.spread(z))

    def value_and_grad(self, z: Float[Tensor, "b k"]) -> tuple[Tensor, Float[Tensor, "b k"]]:
        """Each sample's share, and the gradient of the sum over all samples."""
        spread = self.spread(z)
        below = (self.floor - spread.deviation).clamp(min=0)
        factor = torch.where(spread.deviation > 0, below / spread.deviation, 0.0 * below)
        return self._value(spread), spread.centred * (factor * (-self.weight * spread.n / (spread.n - 1)))

    def curvature(self, rows: int) -> float:
        """An upper bound on the second derivative of the sum over samples, for `rows` samples in each process."""
        n = rows * world_size()
        return self.weight * n / max(n - 1, 1)

    def _value(self, spread: Spread) -> Tensor:
        return self.weight / 2 * (self.floor - spread.deviation).clamp(min=0).square().sum()
