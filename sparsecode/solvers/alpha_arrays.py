"""Penalty weights that differ from atom to atom and from row to row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsecode.penalties import L1
from sparsecode.records import Solution
from sparsecode.solvers.energy import QuadraticEnergy, duality_gap, rounded_up
from sparsecode.solvers.loop import REFINED, Solver
from sparsecode.solvers.missing import solve_observed

__all__ = ["Alphas", "checked_alphas", "solve_scaled"]


class Alphas(NamedTuple):
    """alpha_ij = rows_i atoms_j: `rows` [n, 1] or [1, 1], `atoms` [n_code] or [1], float64."""

    rows: Tensor
    atoms: Tensor


def checked_alphas(alpha: Any, n: int, n_code: int) -> Alphas | None:
    """Weights per atom or per row; None for a single number. Raises ValueError for other shapes and values that are not > 0."""
    values = alpha.detach().cpu().numpy() if isinstance(alpha, Tensor) else np.asarray(alpha)
    if values.ndim == 0:
        return None
    shapes = f"a number, [n_code] = ({n_code},), [n_samples] = ({n},), or with both axes (1, {n_code}) or ({n}, 1)"
    if values.dtype.kind not in "fiu":
        raise ValueError(f"alpha has dtype {values.dtype}; expected real numbers > 0: {shapes}")
    if values.shape == (n,) == (n_code,):
        raise ValueError(
            f"alpha has shape {values.shape}, and there are as many samples as atoms; expected both axes: alpha[None] is one per atom, "
            "alpha[:, None] one per sample"
        )
    values = values.astype(np.float64)
    if not (np.isfinite(values) & (values > 0)).all():
        wrong = values[~(np.isfinite(values) & (values > 0))][0]
        raise ValueError(f"alpha has an entry {wrong:g}; expected finite numbers > 0")
    one = torch.ones(1, dtype=torch.float64)
    if values.shape in ((n_code,), (1, n_code)):
        return Alphas(one[None], torch.from_numpy(values.reshape(-1)))
    if values.shape in ((n,), (n, 1)):
        return Alphas(torch.from_numpy(values.reshape(-1, 1)), one)
    raise ValueError(f"alpha has shape {values.shape}; expected {shapes}")


def _power_of_two(values: Tensor) -> Tensor:
    """The power of two above each value; 1 for 0."""
    return torch.ldexp(torch.ones_like(values), torch.frexp(values).exponent)


def solve_scaled(
    rows: Tensor, atoms: Tensor, positive: bool, alphas: Alphas, observed: Tensor | None, solver: Solver | None, z0: Tensor,
    *, max_steps: int, tol: float,
) -> Solution[Tensor]:  # fmt: skip
    """argmin_z 1/2 |m (x - z D)|^2 + sum_j r a_j |z_j| per row, in float64: with z_j = r z'_j / a_j that of x / r and d_j / a_j at weight 1.

    The gap is that of the codes in the dtype of `rows`, computed in float64 from x, D and alpha themselves.
    """
    wide = torch.float64 if rows.device.type != "mps" else torch.float32
    x, D, start = (part.to(wide) for part in (rows, atoms, z0))
    # In units of powers of two near the largest entries of each row and of a: the problem is the same, and no square underflows.
    unit, unit_a = _power_of_two(x.abs().amax(dim=1, keepdim=True)), _power_of_two(alphas.atoms.amax())
    r, a = alphas.rows.to(x) * unit_a.to(x), (alphas.atoms / unit_a).to(x)
    x, start, r = x / unit, start / unit, r / unit
    shape = L1(positive=positive)
    energy = QuadraticEnergy(x / r, D / a[:, None], shape, 1.0)
    exact = solve_observed(energy, observed, solver, start * a / r, max_steps=max_steps, tol=tol / REFINED)
    z = (exact.z * r / a * unit).to(rows)
    code = z.to(x) / unit
    left = torch.addmm(x, code, D, alpha=-1)
    left = left if observed is None else left * observed
    u, x_dot_r, r_dot_r = left @ D.T / (r * a), (x * left).sum(dim=1), left.square().sum(dim=1)
    half_square = x.square().sum(dim=1) / 2
    # In units of r, where every weight is 1.
    square = r.squeeze(1).square()
    gap = duality_gap(
        code * a / r, u, x_dot_r / square, r_dot_r / square, half_square / square, shape, 1.0, half_square / square
    )
    objective = (r_dot_r / 2 + (r * a * code.abs()).sum(dim=1)) * unit.squeeze(1).square()
    gap = rounded_up(gap, rows)
    return Solution(z, objective.to(rows), gap, exact.steps, gap.double() <= tol)
