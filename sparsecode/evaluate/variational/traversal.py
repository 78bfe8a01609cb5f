"""New codes made from given ones, to be decoded: edits, sweeps, redrawn codes, paths from one to another.

All take codes z [n_code] of one sample and return codes [n, n_code], for any decoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["between", "between_supports", "edited", "most_used", "redrawn", "swept", "there_and_back", "through_zero"]


def most_used(codes: Float[Tensor, "n k"], floor: float = 0.01) -> Tensor:
    """Codes in the order of their mean square over samples [n, n_code], those above `floor` times the largest alone.

    A code that is rarely on, or hardly moves from 0, comes late; `floor` leaves out what only lies near 0.
    """
    power = codes.square().mean(dim=0)
    order = power.argsort(descending=True, stable=True)
    return order[power[order] > floor * power.max()]


def edited(z: Float[Tensor, " k"], factors: Sequence[float] = (1.0, 0.01, -0.5)) -> Float[Tensor, "n k"]:
    """z with its code of the largest magnitude times each factor.

    Source: Tonolini, Jensen & Murray-Smith, "Variational sparse coding", UAI 2019, and its replication (which takes
    the largest signed code).
    """
    j = int(z.abs().argmax())
    return swept(z, j, [float(z[j]) * factor for factor in factors])


def swept(z: Float[Tensor, " k"], j: int, values: Sequence[float]) -> Float[Tensor, "n k"]:
    """z with code j at each of the values, the rest kept."""
    rows = z.repeat(len(values), 1)
    rows[:, j] = torch.tensor(values, dtype=z.dtype)
    return rows


def through_zero(value: float, step: float, n: int) -> list[float]:
    """`value`, then n - 1 steps towards 0 and beyond it."""
    sign = -1.0 if value >= 0 else 1.0
    return [value + sign * step * i for i in range(n)]


def there_and_back(reach: float, n: int) -> list[float]:
    """n values from -reach to reach and back, slow at the ends: a loop without a jump."""
    return (-reach * torch.cos(2 * torch.pi * torch.arange(n, dtype=torch.float64) / n)).tolist()


def redrawn(
    z: Float[Tensor, " k"], prior: Float[Tensor, "m k"], share: float, n: int, rng: torch.Generator
) -> Float[Tensor, "n k"]:
    """n times z with its support kept and a share of its active codes drawn anew from the prior, given that they are on.

    `prior` are draws of p(z): the new value of a code is one of its values there other than 0, or the old one where the
    prior never had it on. At least one code changes. Source: as `edited`; the replication picks codes with replacement.
    """
    active = z.nonzero()[:, 0]
    count = min(len(active), max(1, round(share * len(active))))
    rows = z.repeat(n, 1)
    for row in rows:
        for j in active[torch.randperm(len(active), generator=rng)[:count]].tolist():
            pool = prior[:, j][prior[:, j] != 0]
            if len(pool):
                row[j] = pool[int(torch.randint(len(pool), (), generator=rng))]
    return rows


def between(a: Float[Tensor, " k"], b: Float[Tensor, " k"], n: int) -> Float[Tensor, "n k"]:
    """(1 - t) a + t b for n values of t from 0 to 1. Half way, all codes of both are on, at half their size."""
    t = torch.linspace(0, 1, n, dtype=a.dtype)[:, None]
    return (1 - t) * a + t * b


def between_supports(a: Float[Tensor, " k"], b: Float[Tensor, " k"], n: int) -> Float[Tensor, "n k"]:
    """From a to b with codes that are on or off, never half: gates and slabs are interpolated each by themselves.

    A code that is on in both moves linearly. One that is on in one of them keeps its value there, and its gate
    (1 - t) 1[a_j != 0] + t 1[b_j != 0] is compared with a threshold of its own: those of m codes that leave are (i + 1/2) / m,
    the i-th largest magnitude first, and likewise those of codes that come, so that the weak leave first and the strong
    come first. Both ends are exact, and every code between has about as many active codes as they have.
    """
    on_a, on_b = a != 0, b != 0
    threshold = torch.full_like(a, 0.5)
    for group, z in ((on_a & ~on_b, a), (on_b & ~on_a, b)):
        members = group.nonzero()[:, 0]
        ranked = members[z[members].abs().argsort(descending=True, stable=True)]
        threshold[ranked] = (torch.arange(len(ranked)).to(a) + 0.5) / max(1, len(ranked))
    t = torch.linspace(0, 1, n, dtype=a.dtype)[:, None]
    gate = (1 - t) * on_a + t * on_b > threshold
    slab = torch.where(on_a & on_b, (1 - t) * a + t * b, torch.where(on_a, a, b))
    return torch.where(gate, slab, 0.0)
