"""Codes of samples with missing entries, by the observed ones alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sparsecode.records import Solution
from sparsecode.solvers.energy import QuadraticEnergy
from sparsecode.solvers.loop import Solver
from sparsecode.solvers.masked_energy import MaskedEnergy
from sparsecode.solvers.scaling import solve_in_any_units

__all__ = ["by_mask", "solve_observed"]

SHARED = 32  # rows with one mask from which they are solved with a Gram matrix of its columns


def by_mask(mask: Tensor) -> tuple[list[Tensor], Tensor]:
    """Rows of each group of many with one mask that is not empty, and the rows of all others."""
    packed = np.packbits(mask.cpu().numpy(), axis=1)
    _, first, group, size = np.unique(packed, axis=0, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(group.reshape(-1), kind="stable")
    ends = np.cumsum(size)
    shared = (size >= SHARED) & packed[first].any(axis=1)
    groups = [
        torch.from_numpy(order[end - n : end]).to(mask.device)
        for end, n in zip(ends[shared], size[shared], strict=True)
    ]
    return groups, torch.from_numpy(np.flatnonzero(~shared[group.reshape(-1)])).to(mask.device)


def solve_observed(
    energy: QuadraticEnergy, mask: Tensor | None, solver: Solver | None, z0: Tensor, *, max_steps: int, tol: float
) -> Solution[Tensor]:
    """`solve_in_any_units` for the entries that `mask` [B, f] names: argmin 1/2 |m (x - z D)|^2 + weight penalty(z).

    With one mask for many rows these are quadratic energies of its columns; all others are solved by `MaskedEnergy`.
    `energy.x` is 0 where it is not observed.
    """
    if mask is None:
        return solve_in_any_units(energy, solver, z0, max_steps=max_steps, tol=tol)
    parts: list[tuple[Tensor, Solution[Tensor]]] = []
    for rows, part in _parts(energy, mask):
        parts.append((rows, solve_in_any_units(part, solver, z0[rows], max_steps=max_steps, tol=tol)))
    if len(parts) == 1:
        return parts[0][1]
    order = torch.argsort(torch.cat([rows for rows, _ in parts]))
    return Solution(*(torch.cat(values)[order] for values in zip(*(solution for _, solution in parts), strict=True)))


def _parts(energy: QuadraticEnergy, mask: Tensor) -> Iterator[tuple[Tensor, QuadraticEnergy]]:
    x, atoms, penalty, weight = energy.x, energy.dictionary, energy.penalty, energy.weight
    groups, others = by_mask(mask)
    for rows in groups:
        columns = mask[int(rows[0])]
        yield rows, QuadraticEnergy(x[rows][:, columns], atoms[:, columns], penalty, weight)
    if len(others):
        yield others, MaskedEnergy.of(energy, others, mask[others])
