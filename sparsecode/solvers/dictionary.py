"""`learn_dictionary`: atoms for the rows of an array, a memory-mapped file or a stream of batches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from sparsecode.nn.constraints import Bounded, UnitNorm
from sparsecode.nn.online import Statistics, gather_, replace_idle_, update_
from sparsecode.penalties import L1, GroupL2, Proximal
from sparsecode.schedules import Schedule, ScheduleLike, at
from sparsecode.solvers.batch_sources import Array, Rows, Source, array_source, checked, refuse_too_small, stream_source
from sparsecode.solvers.checks import above_zero, refuse_too_many, whole, working_dtype
from sparsecode.solvers.energy import QuadraticEnergy
from sparsecode.solvers.first_atoms import first_atoms
from sparsecode.solvers.loop import Solver, checked_penalty, checked_solver, solve
from sparsecode.solvers.missing import solve_observed
from sparsecode.solvers.observed import checked_missing
from sparsecode.solvers.scaling import reach
from sparsecode.specs import check_seed

__all__ = ["DictionaryFit", "learn_dictionary"]

A = TypeVar("A")
CODE_STEPS = 1000


class DictionaryFit(NamedTuple, Generic[A]):
    """A learned dictionary, and the state needed to continue.

    `atoms` [n_code, n_features]; `objective` [steps], of each batch before its update; `replaced`, the number of atoms
    replaced by samples; `steps`, their number; `finished`, False if interrupted; `state`, the running statistics.
    """

    atoms: A
    objective: A
    replaced: int
    steps: int
    finished: bool
    state: Statistics


def learn_dictionary(
    x: Array | Iterable[Array],
    n_code: int,
    alpha: float,
    *,
    positive: bool = False,
    penalty: Proximal | None = None,
    batch_size: int = 512,
    epochs: float | None = None,
    max_steps: int | None = None,
    forgetting: float | Schedule = 0.9,
    constraint: Bounded | None = None,
    init: Literal["samples"] | Array = "samples",
    patience: int = 100,
    tol: float = 1e-2,
    seed: int = 0,
    solver: Solver | None = None,
    mask: Any = None,
    missing: str | None = None,
    sample_weight: Any = None,
    resume: DictionaryFit[Any] | None = None,
    progress: bool = False,
    callback: Callable[[DictionaryFit[Any]], object] | None = None,
) -> DictionaryFit[Any]:
    """Atoms D in which the rows of `x` have sparse codes, learned batch by batch.

    min over D and z_i of the mean of 1/2 |x_i - z_i D|_2^2 + alpha penalty(z_i), atoms within the constraint: codes of
    a batch under the present atoms, running statistics A <- forgetting A + Z^T Z and B <- forgetting B + Z^T X, then
    one pass of d_j <- project(d_j + (b_j - a_j D) / a_jj) over the atoms.
    Source: Mairal, Bach, Ponce & Sapiro, JMLR 2010.

    With missing entries the first term is 1/2 |m_i (x_i - z_i D)|_2^2, codes are its minimisers, and B takes
    m_i x_i + (1 - m_i) z_i D in place of x_i, D the present atoms: 1/2 |m_i x_i + (1 - m_i) z_i D - z_i D'|^2 is never below
    1/2 |m_i (x_i - z_i D')|^2 and equal at D' = D, so that atoms that lower it lower the objective of what is observed. With
    sample_weight w_i, the mean is weighted, A gets sum_i w_i z_i^T z_i and B sum_i w_i z_i^T x_i.

    Parameters
    ----------
    x: samples [n, n_features], an array (memory-mapped ones are read batch by batch) or a tensor, visited in an order
        drawn anew for each epoch; or an iterable of batches, each [b, n_features], read once, one step each.
    n_code: number of atoms.
    alpha: penalty weight > 0, as in `sparse_encode`.
    positive: hold codes to z >= 0. penalty: another shape than |z|_1, e.g. `ElasticNet()`.
    batch_size: samples per step of an array; a stream's batches stay as they are.
    epochs, max_steps: how long, in this call; one of the two. Default: 10 epochs of an array, and at least 300 steps;
        all of a stream.
    forgetting: weight of the statistics so far at each step, a number in [0, 1] or a schedule of steps. The memory is
        about batch_size / (1 - forgetting) samples; a few times n_code is little, 1 forgets nothing.
    constraint: `UnitNorm()` (default) or `UnitBall()`, from `sparsecode.nn.constraints`; both take positive=True.
    init: first atoms [n_code, n_features], or "samples": random rows of `x` (of a stream's first batches).
    patience: an atom without a code in so many batches is replaced by the worst reconstructed sample.
    tol: a code stops at this duality gap relative to 1/2 |x|^2. Atoms need no exact codes: for whitened data 0.1 will do.
    seed: from 0 to 2^32 - 1, of the order and of the first atoms; nothing else is random.
    solver: as in `sparse_encode`.
    mask, missing: which entries of x are observed, as in `sparse_encode`. sample_weight: numbers >= 0 [n]. Of a stream
        mask and sample_weight are iterables of arrays, one for each batch.
    resume: an earlier result to learn on from, with the same x (order and epochs go on) or new data.
    progress: show a progress bar.
    callback: called after each step with the result so far; a true answer ends the learning. Its arrays are
        overwritten two steps later: copy what is kept.

    Returns
    -------
    `DictionaryFit`; atoms of the kind, dtype and device of `x` (half precision: float32). Ctrl-C ends the learning
    with a warning and returns the last whole step; pass that as `resume` to go on. A warning also says so if no sample has
    had a code other than 0, with the weight below which some have.

    Raises
    ------
    TypeError for the wrong kinds and dtypes, ValueError for wrong shapes, values out of range, empty or constant data,
    too few samples to start from, samples that are not finite or whose squares overflow, or underflow while alpha is as
    small (with the row), and more atoms than have a Gram matrix in memory.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> import sparsecode as sc
    >>> fitted = sc.learn_dictionary(load_digits().data / 16, 20, alpha=0.5, max_steps=20)
    >>> fitted.atoms.shape
    (20, 64)
    """
    n_code, batch_size, patience = (
        whole("n_code", n_code),
        whole("batch_size", batch_size),
        whole("patience", patience),
    )
    alpha, tol = above_zero("alpha", alpha), above_zero("tol", tol)
    max_steps = None if max_steps is None else whole("max_steps", max_steps)
    epochs = None if epochs is None else above_zero("epochs", epochs)
    if epochs is not None and max_steps is not None:
        raise ValueError("epochs and max_steps are both given; expected one of them")
    if positive and penalty is not None:
        raise ValueError("positive and penalty are both given; expected one: penalties have a field `positive`")
    penalty, solver = checked_penalty(penalty) or L1(positive=positive), checked_solver(solver)
    _check_types(forgetting, constraint, resume, seed, callback)
    constraint = UnitNorm() if constraint is None else constraint

    done = 0 if resume is None else resume.steps
    nan_is_missing = checked_missing(missing)
    if hasattr(x, "__array__") or hasattr(x, "toarray"):  # arrays, tensors and data frames; sparse matrices are refused
        source = array_source(cast("Array", x), batch_size, seed, done, epochs, max_steps, mask, sample_weight)
    else:
        source = stream_source(x, epochs, max_steps, mask, sample_weight)
    dtype = working_dtype(source.first)
    refuse_too_many(n_code, dtype)
    if resume is None:
        atoms = first_atoms(source, init, n_code, seed, nan_is_missing)
        constraint.apply_(atoms)
        now = _Point(Statistics.of(atoms), 0, 0)
        history: list[float] = []
    else:
        now = _Point(_resumed(resume, n_code, source.first), resume.replaced, done)
        history = torch.as_tensor(resume.objective).tolist()
    spare = Statistics(*(part.clone() for part in now.state))
    radius = constraint.norms()[1]
    narrow = alpha < radius * 2.0 ** -reach(dtype)  # else samples whose squares underflow have codes of 0
    used, most = False, 0.0

    def result(finished: bool) -> DictionaryFit[Any]:
        atoms, objective = now.state.atoms, torch.tensor(history[: now.steps], dtype=torch.float64)
        if isinstance(source.first, Tensor):
            return DictionaryFit(atoms, objective, now.replaced, now.steps, finished, now.state)
        return DictionaryFit(atoms.numpy(), objective.numpy(), now.replaced, now.steps, finished, now.state)

    try:
        for rows in _track(source, progress):
            samples = checked(rows, now.state.atoms, nan_is_missing)
            batch = samples.x
            if narrow:
                refuse_too_small(batch, rows.name, alpha / radius)
            energy = QuadraticEnergy(batch, now.state.atoms, penalty, alpha)
            start = batch.new_zeros(len(batch), n_code)
            if samples.observed is None:
                solution = solve(energy, solver, start, max_steps=CODE_STEPS, tol=tol)
            else:
                solution = solve_observed(energy, samples.observed, solver, start, max_steps=CODE_STEPS, tol=tol)
            history[now.steps :] = [samples.mean(solution.objective)]
            x_seen, z_seen = samples.completed(solution.z, now.state.atoms)
            # A copy is updated and bound at once, so that an interrupt at any point leaves the last whole step.
            for new, old in zip(spare, now.state, strict=True):
                new.copy_(old)
            gather_(spare, x_seen, z_seen, at(forgetting, now.steps))
            if not used:
                used = not bool(spare.idle.all())  # an atom with a code in this batch has waited for 0 batches
                most = max(most, 0.0 if used else _critical_weight(energy))
            replaced = now.replaced + replace_idle_(spare, x_seen, z_seen, constraint, patience)
            update_(spare, constraint)
            spare, now = now.state, _Point(spare, replaced, now.steps + 1)
            if callback is not None and callback(result(finished=True)):
                break
    except KeyboardInterrupt:
        warnings.warn(f"interrupted after {now.steps} steps; pass the result as `resume` to go on", stacklevel=2)
        return result(finished=False)
    if most and not used:
        warnings.warn(
            f"alpha is {alpha:g}, and every code is 0: nothing was learned, and the atoms are the initial ones or samples; "
            f"expected less than {most:.3g}, above which no sample seen has another code: lower alpha",
            stacklevel=2,
        )
    return result(finished=True)


def _check_types(forgetting: Any, constraint: Any, resume: Any, seed: Any, callback: Any) -> None:
    numbers = forgetting.extremes() if isinstance(forgetting, ScheduleLike) else (forgetting,)
    if not all(isinstance(value, int | float) for value in numbers):
        raise TypeError(f"forgetting is {forgetting!r}; expected a number in [0, 1] or a schedule of them")
    if not all(0 <= value <= 1 for value in numbers):
        raise ValueError(f"forgetting is {forgetting!r}; expected numbers in [0, 1]")
    if constraint is not None and not isinstance(constraint, Bounded):
        raise TypeError(
            f"constraint is {constraint!r}; expected UnitNorm() or UnitBall() from sparsecode.nn.constraints, or None"
        )
    if resume is not None and not isinstance(resume, DictionaryFit):
        raise TypeError(
            f"resume has type {type(resume).__name__}; expected the DictionaryFit of an earlier call, or None"
        )
    check_seed(seed)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is {callback!r}; expected a function of a DictionaryFit, or None")


def _critical_weight(energy: QuadraticEnergy) -> float:
    """The least weight at which codes of zeros are stationary: every penalty has the slope of L1 at 0, or of norms of groups."""
    penalty = energy.penalty
    shape = penalty if isinstance(penalty, GroupL2) else L1(positive=penalty.positive)
    return 1 / float(shape.dual_scale(energy.corr, 1.0).amin())


class _Point(NamedTuple):
    """The current position of the training."""

    state: Statistics
    replaced: int
    steps: int


def _resumed(fit: DictionaryFit[Any], n_code: int, first: Array) -> Statistics:
    expected = (n_code, first.shape[1])
    if tuple(fit.state.atoms.shape) != expected:
        raise ValueError(
            f"resume has atoms of shape {tuple(fit.state.atoms.shape)}; expected [n_code, n_features] = {expected}"
        )
    device = first.device if isinstance(first, Tensor) else torch.device("cpu")
    kinds = (working_dtype(first),) * 3 + (torch.long,)
    return Statistics(*(part.to(device, kind, copy=True) for part, kind in zip(fit.state, kinds, strict=True)))


def _track(source: Source, progress: bool) -> Iterable[Rows]:
    if not progress:
        return source.batches
    from rich.progress import track

    return track(source.batches, description="learning", total=source.total)
