"""Online dictionary learning: running statistics of codes and data, and the atoms that fit them best.

With samples X and codes Z of each batch, A <- rho A + Z^T Z and B <- rho B + Z^T X; the atoms then lower
1/2 tr(D^T A D) - tr(D^T B), the samples' squared error under a memory of about 1 / (1 - rho) batches.
Source: Mairal, Bach, Ponce & Sapiro, JMLR 2010, algorithms 1 and 2.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.kernels import on_device
from sparsecode.nn.constraints import Bounded, UnitNorm
from sparsecode.nn.init import uniform_fan_in
from sparsecode.ops.collective import gather_over_ranks, sum_over_ranks
from sparsecode.ops.norms import largest_eigenvalue_bound
from sparsecode.schedules import Schedule, at
from sparsecode.specs import Count, Spec

__all__ = [
    "Forgetting",
    "OnlineDictionary",
    "OnlineDictionaryModule",
    "Statistics",
    "descend_",
    "gather_",
    "replace_idle_",
    "sweep_",
    "update_",
    "update_atom_by_atom_",
]

Forgetting = Annotated[
    Annotated[float, Meta(ge=0, le=1)] | Schedule,
    Meta(description="weight of the past statistics at each new batch; 1: no forgetting"),
]

BLOCK = 128  # atoms updated one after the other between two matrix products, which are slower in smaller parts
FEW = 1 / 8  # share of nonzero codes up to which statistics are faster without the zeros
STEPS = 3  # of gradient descent, where there is no kernel


class Statistics(NamedTuple):
    """Atoms D, the statistics A and B, and the number of batches since each atom had a nonzero code."""

    atoms: Float[Tensor, "k f"]
    codes: Float[Tensor, "k k"]
    cross: Float[Tensor, "k f"]
    idle: Int[Tensor, " k"]

    @classmethod
    def of(cls, atoms: Float[Tensor, "k f"]) -> Statistics:
        """Statistics before the first batch."""
        k = len(atoms)
        idle = torch.zeros(k, dtype=torch.long, device=atoms.device)
        return cls(atoms, atoms.new_zeros(k, k), torch.zeros_like(atoms), idle)


@torch.no_grad()
def gather_(state: Statistics, x: Float[Tensor, "b f"], z: Float[Tensor, "b k"], forgetting: float) -> None:
    """A <- forgetting A + Z^T Z and B <- forgetting B + Z^T X, over the batches of all processes."""
    codes, cross = (sum_over_ranks(part) for part in _products(x, z))
    state.codes.mul_(forgetting).add_(codes)
    state.cross.mul_(forgetting).add_(cross)
    state.idle.add_(1).masked_fill_(codes.diagonal() > 0, 0)


def _products(x: Float[Tensor, "b f"], z: Float[Tensor, "b k"]) -> tuple[Tensor, Tensor]:
    """Z^T Z and Z^T X; on a CPU without the zeros where these are most of the codes."""
    if z.device.type != "cpu" or int(np.count_nonzero(z.numpy() != 0)) > FEW * z.numel():
        return z.T @ z, z.T @ x
    from sparsecode.kernels.sparse_rows import row_sums  # numba is slow to import

    n, k = z.shape
    by_atom = z.T.contiguous().numpy()
    entries = np.flatnonzero(by_atom != 0)  # twice as fast as of the numbers
    values, samples = by_atom.ravel()[entries], (entries % n).astype(np.int32)
    starts = np.searchsorted(entries, np.arange(k + 1) * n)

    def times(table: Tensor) -> Tensor:
        rows, out = table.contiguous().numpy(), torch.empty(k, table.shape[1], dtype=z.dtype)
        row_sums(
            values, samples, starts, rows, np.zeros(rows.shape[1], rows.dtype), out.numpy(), torch.get_num_threads()
        )
        return out

    return times(z), times(x)


@torch.no_grad()
def replace_idle_(
    state: Statistics, x: Float[Tensor, "b f"], z: Float[Tensor, "b k"], constraint: Bounded, patience: int
) -> int:
    """Put the worst reconstructed samples in place of atoms without a code for `patience` batches; returns how many.

    The statistics of these atoms are reset. At most one atom per sample, and none for a sample of error 0.
    """
    dead = torch.nonzero(state.idle >= patience).squeeze(1)
    if not len(dead):
        return 0
    error = gather_over_ranks((x - z @ state.atoms).square().sum(dim=1))
    samples = gather_over_ranks(x)
    worst = torch.sort(error, descending=True, stable=True).indices[: len(dead)]
    worst = worst[error[worst] > 0]
    dead = dead[: len(worst)]
    fresh = samples[worst].contiguous()
    constraint.apply_(fresh)
    state.atoms[dead] = fresh
    state.codes[dead] = 0
    state.codes[:, dead] = 0
    state.cross[dead] = 0
    state.idle[dead] = 0
    return len(dead)


def _floor(codes: Tensor) -> float:
    """Diagonal entries up to this are treated as 0: they have decayed to where floating-point precision is lost."""
    info = torch.finfo(codes.dtype)
    return info.tiny / info.eps


@torch.no_grad()
def update_atom_by_atom_(state: Statistics, constraint: Bounded) -> None:
    """d_j <- project(d_j + (b_j - a_j D) / a_jj), one atom after the other: the reference for `sweep_`.

    Each step gives the optimal d_j within the constraint, the other atoms fixed. Source: algorithm 2.
    """
    for j in range(len(state.atoms)):
        squares = state.codes[j, j]
        if squares > _floor(state.codes):
            state.atoms[j] += (state.cross[j] - state.codes[j] @ state.atoms) / squares
            constraint.apply_(state.atoms[j : j + 1])


@torch.no_grad()
def sweep_(state: Statistics, constraint: Bounded) -> None:
    """The same atoms as `update_atom_by_atom_`, up to rounding, by blocks with matrix products between them, on a CPU."""
    from sparsecode.kernels.dictionary import update_block  # numba is slow to import

    atoms, codes, number = state.atoms.numpy(), state.codes.numpy(), state.atoms.numpy().dtype.type
    least, greatest = constraint.norms()
    limits = number(_floor(state.codes)), number(least), number(greatest)
    room, change = torch.empty_like(state.atoms[:BLOCK]), np.empty(atoms.shape[1], atoms.dtype)
    for first in range(0, len(atoms), BLOCK):
        rows = slice(first, first + BLOCK)
        residual = room[: len(atoms[rows])]
        torch.addmm(state.cross[rows], state.codes[rows], state.atoms, alpha=-1, out=residual)
        update_block(atoms, codes, residual.numpy(), change, first, *limits, constraint.positive)


@torch.no_grad()
def descend_(state: Statistics, constraint: Bounded, steps: int = STEPS) -> None:
    """Gradient steps on all atoms at once, for devices without a kernel.

    Along project(D + diag(A)^-1 R) - D with R = B - A D, by exact line search up to the projection.
    Fixed points are those of `sweep_`; a step makes less progress, hence several.
    """
    atoms, codes = state.atoms, state.codes
    squares = codes.diagonal()[:, None]
    used = squares > _floor(codes)
    residual = torch.addmm(state.cross, codes, atoms, alpha=-1)
    for _ in range(steps):
        goal = torch.where(used, atoms + residual / squares, atoms)
        constraint.apply_(goal)
        way = goal - atoms
        bend = codes @ way
        length = ((residual * way).sum() / (way * bend).sum()).nan_to_num(0.0).clamp(0, 1)
        atoms.add_(way * length)
        residual.sub_(bend * length)
    constraint.apply_(atoms)  # points between two points of a sphere lie inside it


def update_(state: Statistics, constraint: Bounded) -> None:
    """Update the atoms in place by the method that is fastest on their device."""
    if state.atoms.device.type == "cpu":
        sweep_(state, constraint)
    elif kernel := on_device("dictionary", "update_", state.atoms.device.type):
        kernel(state, constraint)
    else:
        descend_(state, constraint)


class OnlineDictionary(Spec, tag="online_dictionary"):
    """x = z D, with atoms in the rows of D fitted to running statistics of codes and data, not by gradients.

    `forgetting`, a number or a schedule over dictionary updates, is the weight of past statistics at each batch; after
    `patience` batches without a code an atom is replaced by the worst reconstructed sample of the batch.
    Source: Mairal, Bach, Ponce & Sapiro, JMLR 2010.
    """

    forgetting: Forgetting = 0.9
    constraint: Bounded = UnitNorm()
    patience: Annotated[Count, Meta(description="batches without a code after which an atom is replaced")] = 100

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> OnlineDictionaryModule:
        return OnlineDictionaryModule(self, n_code, math.prod(shape), rng)


class OnlineDictionaryModule(nn.Module):
    """The module of `OnlineDictionary`: `atoms` D, the statistics, and counts of updates and replacements."""

    def __init__(self, spec: OnlineDictionary, n_code: int, n_features: int, rng: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        self._observed = False
        state = Statistics.of(uniform_fan_in((n_code, n_features), n_code, rng))
        self.atoms = nn.Parameter(state.atoms, requires_grad=False)  # a weight that no optimiser trains
        for name in ("codes", "cross", "idle"):
            self.register_buffer(name, getattr(state, name))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.register_buffer("replaced", torch.zeros((), dtype=torch.long))
        self.codes: Tensor
        self.cross: Tensor
        self.idle: Tensor
        self.updates: Tensor
        self.replaced: Tensor
        self.constrain_()

    @property
    def statistics(self) -> Statistics:
        return Statistics(self.atoms, self.codes, self.cross, self.idle)

    def mean(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b f"]:
        return z @ self.atoms

    def curvature_bound(self) -> float:
        return largest_eigenvalue_bound(self.atoms @ self.atoms.T)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {}

    @torch.no_grad()
    def observe_(self, x: Float[Tensor, "b f"], z: Float[Tensor, "b k"]) -> None:
        """Accumulate the samples and codes of a training batch; atoms are updated at the next `constrain_`.

        Idle atoms are replaced here: `z` has no code for them.
        """
        gather_(self.statistics, x, z, at(self.spec.forgetting, int(self.updates)))
        self.replaced += replace_idle_(self.statistics, x, z, self.spec.constraint, self.spec.patience)
        self.updates += 1
        self._observed = True

    @torch.no_grad()
    def constrain_(self) -> None:
        """Update the atoms if a batch was observed since the last call, else project them onto the constraint."""
        if self._observed:
            update_(self.statistics, self.spec.constraint)
            self._observed = False
        else:
            self.spec.constraint.apply_(self.atoms)
