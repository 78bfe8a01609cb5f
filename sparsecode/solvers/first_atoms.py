"""First atoms of `learn_dictionary`: given ones, checked, or samples."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sparsecode.ops.arrays import matrix, native
from sparsecode.ops.rng import generator
from sparsecode.solvers.batch_sources import Array, Source, checked
from sparsecode.solvers.checks import working_dtype

__all__ = ["first_atoms"]


def first_atoms(
    source: Source, init: Literal["samples"] | Array, n_code: int, seed: int, nan_is_missing: bool
) -> Tensor:
    """The atoms of `init` [n_code, n_features], or nonzero samples in a random order, with the mean of their batch where they are not
    observed.

    Raises ValueError for an `init` of another shape, without a direction or not finite, and for too few or constant samples.
    """
    like = torch.empty(0, source.first.shape[1], dtype=working_dtype(source.first))
    like = like.to(source.first.device) if isinstance(source.first, Tensor) else like
    if not isinstance(init, str):
        atoms = torch.as_tensor(native(matrix("init", init))).to(like, copy=True)
        if atoms.shape != (n_code, like.shape[1]):
            raise ValueError(
                f"init has shape {tuple(atoms.shape)}; expected [n_code, n_features] = {(n_code, like.shape[1])}"
            )
        if not bool(torch.isfinite(atoms).all()):
            raise ValueError("init contains NaN or infinity; expected finite atoms")
        squares = atoms.square().sum(dim=1)
        bad = ~(squares >= torch.finfo(atoms.dtype).tiny) | squares.isinf()
        if bool(bad.any()):
            row = int(bad.int().argmax())
            given = (
                "is all 0" if not bool(atoms[row].any()) else "has a norm whose square leaves the range of its dtype"
            )
            raise ValueError(f"init: row {row} {given}; expected atoms with a direction: replace or rescale it")
        return atoms
    if init != "samples":
        raise ValueError(f"init is {init!r}; expected 'samples' or an array of atoms [n_code, n_features]")
    pool = like
    for rows in source.candidates(n_code):
        batch, observed, weight = checked(rows, like, nan_is_missing)
        kept = batch.square().sum(dim=1) >= torch.finfo(batch.dtype).tiny
        if observed is not None:
            batch = torch.where(observed, batch, batch.sum(dim=0) / observed.sum(dim=0).clamp(min=1))
        pool = torch.cat([pool, batch[kept if weight is None else kept & (weight > 0)]])
        if len(pool) >= n_code:
            break
    if len(pool) < n_code:
        raise ValueError(
            f"x has {len(pool)} rows that are not all 0; expected n_code = {n_code} to start from: pass init"
        )
    if len(pool) > 1 and bool((pool == pool[0]).all()):
        raise ValueError(f"the first {len(pool)} samples looked at are all equal; expected data that vary")
    return pool[torch.randperm(len(pool), generator=generator(seed, "atoms"))[:n_code].to(pool.device)]
