"""Problems in any units: where squares leave the range of the dtype, powers of two, which are exact, bring them back.

With x = 2^a x', D = 2^b D' and z = 2^(a - b) z', 1/2 |x - z D|^2 + w p(z) is 4^a times 1/2 |x' - z' D'|^2 + w' p'(z'), with
w' = 2^(-a - b) w and 2^(a - b) p'(z') = p(z); gaps are relative and stay what they are.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sparsecode.penalties import Convex, Proximal, Rescales
from sparsecode.records import Solution
from sparsecode.solvers.energy import QuadraticEnergy
from sparsecode.solvers.evtimova_fista import EvtimovaFISTA
from sparsecode.solvers.gradient import FISTA, ISTA, AdamDescent, Stops
from sparsecode.solvers.loop import Solver, solve

__all__ = ["exponents", "lost", "reach", "shifted", "solve_in_any_units", "squares_fit"]

SMALL = 2.0**-10  # of |x| |D|: at lower weights a bound on rounding is added to gaps in float64
REACH = {torch.float32: 30, torch.float64: 250}  # a product of four numbers up to 2^reach is still in range


def reach(dtype: torch.dtype) -> int:
    """Problems whose rows of x and D have norms from 2^-reach to 2^reach are solved as they are."""
    return REACH[dtype]


def squares_fit(squares: Tensor, rows: Tensor) -> float:
    """The largest of `squares`, of the norms of `rows`, if they are far enough from both ends of the range or 0; else 0."""
    most = 2.0 ** (2 * reach(squares.dtype))
    least, largest = (float(part) for part in torch.aminmax(squares))
    fit = largest <= most and (least >= 1 / most or not bool(rows[squares < 1 / most].any()))
    return largest if fit else 0.0


def exponents(rows: Tensor) -> Tensor:
    """The least e [n] with |rows_ij| < 2^e for all j; 0 for rows of zeros."""
    return torch.frexp(torch.linalg.vector_norm(rows, torch.inf, dim=1)).exponent


def shifted(a: Tensor, exponent: Tensor | int) -> Tensor:
    """2^exponent a, rounded once at most."""
    by = exponent.cpu().numpy() if isinstance(exponent, Tensor) else exponent
    with np.errstate(over="ignore", under="ignore"):
        return torch.from_numpy(np.asarray(np.ldexp(a.cpu().numpy(), by))).to(a.device)


def lost(z: Tensor, stored: Tensor) -> Tensor:
    """Rows [n] of `z` whose largest value has overflowed, or is not a normal number any more, in the copy `stored`."""
    kind = torch.finfo(stored.dtype)
    before, after = (torch.linalg.vector_norm(part.to(z), torch.inf, dim=1) for part in (z, stored))
    return ~(after <= kind.max) | ((before > 0) & (after < kind.tiny))


@torch.no_grad()
def solve_in_any_units(
    energy: QuadraticEnergy, solver: Solver | None, z0: Tensor, *, max_steps: int, tol: float
) -> Solution[Tensor]:
    """`solve`, whatever powers of ten the units of x, D and z are; x and D are finite and the weight is > 0.

    A code whose largest value is no normal number of its dtype has an infinite gap. Raises ValueError where the range of
    the dtype is too narrow for the problem in any units: for a weight that vanishes beside |x_i| |D|, for atoms that vanish
    beside the largest one but may have codes, and for solvers with parameters in the units of the problem.
    """
    if energy.x.dtype not in REACH or not energy.x.numel():
        return solve(energy, solver, z0, max_steps=max_steps, tol=tol)
    if product := _product_of_sizes(energy, z0):
        solution = solve(energy, solver, z0, max_steps=max_steps, tol=tol)
        return _recertified(energy, solver, solution, max_steps, tol) if energy.weight < SMALL * product else solution
    x, atoms, gram = energy.x, energy.dictionary, energy.gram
    n_code, n_features = atoms.shape
    bits, up = reach(x.dtype), 0
    if not squares_fit(gram.diagonal().amax()[None], atoms.reshape(1, -1)):
        up = int(exponents(atoms.reshape(1, -1)))
        atoms = shifted(atoms, -up)
        gram = atoms @ atoms.T
    size, atom_size = exponents(x), exponents(atoms)
    # |u_j| <= |x| |d_j| < 2^(margin + size + atom size) at code 0; the margin also covers norms of groups of codes.
    margin = math.ceil((2 * math.log2(n_features) + math.log2(n_code)) / 2)
    certain = math.frexp(energy.weight)[1] - 1 - margin - up
    is_zero = (x == 0).all(dim=1) | (size + atom_size.amax() <= certain)
    left, result = ~is_zero, None
    while bool(left.any()):
        top = int(size[left].amax())
        solved = left & (size > top - 2 * bits)
        left &= ~solved
        down = top - bits + margin
        if not up and top <= bits - margin and int(size[solved].amin()) >= -bits:
            down = 0
        # Rows of zeros come along with the largest, so that the products have the shapes that they have in other units.
        group = solved | is_zero if top == int(size[~is_zero].amax()) else solved
        weight = math.ldexp(energy.weight, -up - down)
        if weight < torch.finfo(x.dtype).tiny:
            raise ValueError(
                f"the penalty weight (alpha) is {energy.weight:g} and vanishes in {_name(x)} beside values of x up to 2^{top} and of "
                f"D up to 2^{int(atom_size.amax()) + up}; expected at least 2^{up + down + _least(x)}: raise it{_wider(x)}"
            )
        _refuse_small_atoms(atoms, gram, atom_size, int(size[solved].amax()) - down + margin, weight)
        if up or down:
            _refuse_units(solver)
            penalty = _rescaled(energy.penalty, down - up)
            part = energy.rows(group).in_units(shifted(x[group], -down), atoms, penalty, weight, gram)
            start = shifted(z0[group], up - down)
            start = start.masked_fill((start.abs() > 2.0**bits).any(dim=1, keepdim=True), 0)  # too far off to help
        else:
            part, start = (energy, z0) if bool(group.all()) else (energy.rows(group), z0[group])
        if bool(start[is_zero[group]].any()):
            start = start.masked_fill(is_zero[group][:, None], 0)
        solution = solve(part, solver, start, max_steps=max_steps, tol=tol)
        if weight < SMALL * math.sqrt(float(part.half_square.amax()) * float(part.gram.diagonal().amax())):
            solution = _recertified(part, solver, solution, max_steps, tol)
        if up or down:
            z = shifted(solution.z, down - up)
            gone = lost(solution.z, z)
            gap = solution.gap.masked_fill(gone, torch.inf)
            solution = Solution(
                z, shifted(solution.objective, 2 * down), gap, solution.steps, solution.converged & ~gone
            )
        if bool(group.all()):
            return solution
        result = _zeros(energy, z0) if result is None else result
        for whole, some in zip(result, solution, strict=True):
            whole[solved] = some[solved[group]]
    return _zeros(energy, z0) if result is None else result


def _zeros(energy: QuadraticEnergy, z0: Tensor) -> Solution[Tensor]:
    """Codes of zeros where these are the optimum."""
    objective = energy.half_square.clone()
    steps = torch.zeros(len(z0), dtype=torch.long, device=z0.device)
    return Solution(torch.zeros_like(z0), objective, torch.zeros_like(objective), steps, steps == 0)


def _product_of_sizes(energy: QuadraticEnergy, z0: Tensor) -> float:
    """At least max |x_i| max |d_j| / 2 if nothing comes near the ends of the range; else 0."""
    squares, bits = energy.half_square, reach(z0.dtype)
    if not 2.0 ** (-3 * bits) <= energy.weight <= 2.0 ** (3 * bits):
        return 0.0
    product = squares_fit(squares, energy.x) * squares_fit(energy.gram.diagonal(), energy.dictionary)
    fits = product and (float(squares.amin()) > 0 or not bool(z0[squares == 0].any()))
    return math.sqrt(product) if fits else 0.0


def _recertified(
    energy: QuadraticEnergy, solver: Solver | None, solution: Solution[Tensor], max_steps: int, tol: float
) -> Solution[Tensor]:
    """In float64, gaps with a bound on what rounding of D r hides beside a small weight; float32 has proven gaps anyway.

    Codes that this bound, of 7/8 tol at most, lifts above `tol` are solved on to tol / 8.
    """
    if not isinstance(energy.penalty, Convex) or energy.x.dtype != torch.float64:
        return solution
    size = (2 * energy.half_square * energy.gram.diagonal().amax()).sqrt()
    hidden = 128 * torch.finfo(size.dtype).eps * size / energy.weight
    gap = solution.gap + hidden * (solution.z != 0).any(dim=1)
    lifted = (solution.gap <= tol) & (gap > tol) & (hidden <= tol * 7 / 8) & (solution.steps < max_steps)
    if bool(lifted.any()) and not isinstance(solver, Stops):
        again = solve(energy.rows(lifted), solver, solution.z[lifted], max_steps=max_steps, tol=tol / 8)
        solution = Solution(*(each.clone() for each in solution))
        for whole, part in zip(solution, again._replace(steps=solution.steps[lifted] + again.steps), strict=True):
            whole[lifted] = part
        gap = solution.gap + hidden * (solution.z != 0).any(dim=1)
    return solution._replace(gap=gap, converged=gap <= tol)


def _rescaled(penalty: Proximal, exponent: int) -> Proximal:
    if not isinstance(penalty, Rescales):
        raise ValueError(
            f"penalty is {penalty!r}, and squares of x or D leave the range of its dtype; expected a penalty with `rescaled`, or "
            "values of about 1: rescale x, D and alpha"
        )
    return penalty.rescaled(exponent)


def _refuse_units(solver: Solver | None) -> None:
    fixed = isinstance(solver, FISTA | ISTA) and isinstance(solver.step_size, float)
    if fixed or isinstance(solver, AdamDescent | EvtimovaFISTA):
        raise ValueError(
            f"solver is {solver!r}, whose parameters are in the units of the problem, and squares of x or D leave the range of its "
            "dtype; expected a solver without a number for its step: rescale x, D and alpha, or choose FISTA()"
        )


def _refuse_small_atoms(atoms: Tensor, gram: Tensor, sizes: Tensor, row_size: int, weight: float) -> None:
    """Raise ValueError if an atom may have a code and is so small that its square is not a normal number."""
    kind = torch.finfo(atoms.dtype)
    small = (gram.diagonal() < kind.tiny / kind.eps) & (sizes + row_size >= math.frexp(weight)[1])
    small &= (atoms != 0).any(dim=1)
    if bool(small.any()):
        j = int(torch.nonzero(small)[0])
        raise ValueError(
            f"row {j} of D is too small for {_name(atoms)}: its square underflows beside that of the largest row; expected values "
            f"above 2^{math.frexp(kind.tiny / kind.eps)[1] // 2} of the largest one: leave the row out{_wider(atoms)}"
        )


def _least(a: Tensor) -> int:
    return math.frexp(torch.finfo(a.dtype).tiny)[1] - 1


def _wider(a: Tensor) -> str:
    return ", or pass x as float64" if a.dtype == torch.float32 else ""


def _name(a: Tensor) -> str:
    return str(a.dtype).removeprefix("torch.")
