"""The choice of a solver, and the solver loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sparsecode.leaves import opened, unfit
from sparsecode.ops.collective import any_rank
from sparsecode.penalties import Convex, Proximal
from sparsecode.records import Solution
from sparsecode.solvers.coordinate import CoordinateDescent
from sparsecode.solvers.coupled_energy import CoupledEnergy
from sparsecode.solvers.decoder_energy import DecoderEnergy
from sparsecode.solvers.energy import Energy, QuadraticEnergy
from sparsecode.solvers.evtimova_fista import EvtimovaFISTA
from sparsecode.solvers.gradient import FISTA, ISTA, AdamDescent, Algorithm, Stops

__all__ = ["CHECK_EVERY", "Solver", "checked_penalty", "checked_solver", "solve"]

Known = CoordinateDescent | FISTA | ISTA | AdamDescent | EvtimovaFISTA
if TYPE_CHECKING:
    Solver = Known | Algorithm[Any]
else:
    Solver = opened(Known, Algorithm)

CHECK_EVERY = 10  # steps between evaluations of the gap, fewer at the start: each costs about as much as a step
REFINED = 4  # times closer to the optimum than `tol` before codes are rounded to float32, which loses some of it


def checked_solver(solver: Any) -> Solver | None:
    """`solver`; raises TypeError if it is neither a solver nor None."""
    known = "CoordinateDescent(), FISTA() or ISTA() from sparsecode.solvers"
    if solver is not None and (problem := unfit(solver, Solver, "solver", known)):
        raise TypeError(problem)
    return solver


def checked_penalty(penalty: Any) -> Proximal | None:
    """`penalty`; raises TypeError if it is neither a penalty nor None."""
    if penalty is not None and (isinstance(penalty, type) or not isinstance(penalty, Proximal)):
        raise TypeError(f"penalty is {penalty!r}; expected one of sparsecode.penalties, such as ElasticNet(ratio=0.5)")
    return penalty


@torch.no_grad()
def solve(energy: Energy, solver: Solver | None, z0: Tensor, *, max_steps: int, tol: float) -> Solution[Tensor]:
    """Minimise every row of `energy` from `z0` [B, n_code] until its relative gap is at most `tol`.

    Without a solver the fastest applicable one is used: coordinate descent for L1 and the elastic net on a CPU, else FISTA
    with restarts, and with backtracking where the decoder is not linear. The start is first projected to the penalty's domain. The gap
    (see the energy's `gap`) is read before the first step, then every few steps and at `max_steps`; a row that has
    converged keeps its code and leaves the batch, so its result does not depend on the others. Rows of a coupled energy
    stop together, and so do those of a solver with a stopping rule of its own (`Stops`), which then replaces the gap.
    """
    if bool(z0.any()):
        z0 = energy.prox(z0, z0.new_zeros(len(z0), 1))  # gaps hold only within the domain
    solver = _fastest(energy, z0.device) if solver is None else solver
    compiled = isinstance(solver, CoordinateDescent)  # the loop, which also proves the gaps
    result = (
        solver.complete(energy, z0, max_steps=max_steps, tol=tol)
        if compiled
        else _iterate(energy, solver, z0, max_steps, tol)
    )
    if z0.dtype == torch.float64 or not len(z0) or not isinstance(energy, QuadraticEnergy):
        return result
    if not compiled:
        if not isinstance(energy.penalty, Convex):
            return result
        gap = energy.proven_gap(result.z)
        result = result._replace(gap=gap, converged=gap.double() <= tol)
    if isinstance(solver, EvtimovaFISTA) or bool(result.converged.all()):
        return result
    return _refined(energy, result, max_steps, tol)


def _refined(energy: QuadraticEnergy, solution: Solution[Tensor], max_steps: int, tol: float) -> Solution[Tensor]:
    """Codes that have stopped before `max_steps` and whose proven gap is above `tol`, solved on in float64.

    A code is replaced where it is better after its rounding to the dtype, which sets the least gap that can be had.
    """
    left = ~solution.converged & (solution.steps < max_steps) & solution.gap.isfinite()
    if not bool(left.any()):
        return solution
    part = energy.rows(left)
    wide = part.wide()
    start = solution.z[left].to(wide.x)
    exact = solve(wide, None, start, max_steps=max_steps, tol=tol / REFINED)
    z = exact.z.to(solution.z)
    gap = part.proven_gap(z)
    better = gap < solution.gap[left]
    rows = torch.nonzero(left).squeeze(1)[better]
    result = Solution(*(each.clone() for each in solution))
    result.z[rows], result.gap[rows] = z[better], gap[better]
    result.objective[rows] = part.per_sample(z)[better]
    result.steps[left] += exact.steps.to(solution.steps)
    return result._replace(converged=result.gap.double() <= tol)


def _fastest(energy: Energy, device: torch.device) -> Solver:
    if CoordinateDescent.fits(energy, device):
        return CoordinateDescent()
    base = energy.base if isinstance(energy, CoupledEnergy) else energy
    curved = isinstance(base, DecoderEnergy) and not base.linear
    return FISTA(step_size="backtracking" if curved else None, restart=True)


def _iterate(energy: Energy, solver: Algorithm[Any], z0: Tensor, max_steps: int, tol: float) -> Solution[Tensor]:
    state = solver.init(energy, z0)
    stopped = solver.stopped if isinstance(solver, Stops) else None
    z_out, gap_out = z0.clone(), energy.gap(z0, state[0])
    steps_out = torch.zeros(len(z0), dtype=torch.long, device=z0.device)
    whole = energy
    active = torch.nonzero(~(gap_out <= tol) if stopped is None else torch.ones_like(gap_out)).squeeze(1)
    if 0 < len(active) < len(z0):
        energy, z0, state = energy.rows(active), z0[active], type(state)(*(part[active] for part in state))
    z, steps = z0, 0
    while steps < max_steps and len(active):
        burst = min(max(steps, 2), CHECK_EVERY, max_steps - steps) if stopped is None else 1
        for _ in range(burst):
            z, state = solver.step(energy, z, state)
        steps += burst
        if stopped is not None:
            running = ~stopped(state)
            steps_out += running
            if steps < max_steps and any_rank(bool(running.any()), z.device):
                continue
        gap = energy.gap(z, state[0])
        left = ~(gap <= tol)  # NaN counts as not converged
        last = steps == max_steps or stopped is not None
        if last or not bool(left.all()):
            done = torch.ones_like(left) if last else ~left
            rows = active[done]
            gap_out[rows] = gap[done]
            if len(rows) == len(z_out):
                z_out = z  # the same tensor: energies remember what they computed of it
            else:
                z_out[rows] = z[done]
            if stopped is None:
                steps_out[rows] = steps
            keep = ~done
            active = active[keep]
            if len(active):
                z, energy, state = z[keep], energy.rows(keep), type(state)(*(part[keep] for part in state))
    return Solution(z_out, whole.per_sample(z_out), gap_out, steps_out, gap_out <= tol)
